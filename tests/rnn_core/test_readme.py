"""The README's example, as written."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).parents[2]


def run_example(page: str) -> dict[str, object]:
    """The names that the one Python example of a page leaves."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), flags=re.DOTALL)
    namespace: dict[str, object] = {}
    exec(compile(example, page, "exec"), namespace)  # noqa: S102
    return namespace


def test_the_example_of_the_readme_runs_as_written() -> None:
    names = run_example("README.md")
    features, own = names["features"], names["own"]
    assert isinstance(features, pd.DataFrame) and features.shape == (120, 158)
    assert isinstance(own, pd.DataFrame) and list(own.columns) == ["GAP", "FIT"]


def test_the_example_of_the_library_runs_as_written() -> None:
    names = run_example("docs/library.md")
    features, ic, scores = (names[name] for name in ("features", "ic", "scores"))
    assert isinstance(features, pd.DataFrame) and features.shape[1] == 158
    assert isinstance(scores, pd.Series) and scores.notna().all()
    assert scores.index.get_level_values("datetime").min() == pd.Timestamp("2012-01-03")
    assert isinstance(ic, pd.Series) and ic.notna().sum() > 250
