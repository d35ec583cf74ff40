"""The README's example, as written."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd


def test_the_library_example_runs_as_written() -> None:
    page = (Path(__file__).parents[2] / "README.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    namespace: dict[str, object] = {}
    exec(compile(example, "README.md", "exec"), namespace)  # noqa: S102
    features, ic, scores = (namespace[name] for name in ("features", "ic", "scores"))
    assert isinstance(features, pd.DataFrame) and features.shape[1] == 158
    assert isinstance(scores, pd.Series) and scores.notna().all()
    assert scores.index.get_level_values("datetime").min() == pd.Timestamp("2012-01-03")
    assert isinstance(ic, pd.Series) and ic.notna().sum() > 250
