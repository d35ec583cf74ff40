"""The table of docs/deviations.md against the code: each exception of qlib semantics, shown.

Oracle: the page. A row without a check, or a check without a row, fails too.
"""

from __future__ import annotations

import re

import pandas as pd
import pytest

from rnn_core.data import (
    PROCESSORS,
    DataHandlerLP,
    DatasetH,
    TSDatasetH,
    simulate_market,
)
from rnn_core.data.steps import build_steps
from rnn_core.workflow import load_document, read_workflow
from tests.rnn_core import (
    deviation_checks_data,
    deviation_checks_evaluation,
    deviation_checks_models,
)
from tests.rnn_core.deviation_cases import (
    CHECKS,
    PAGE,
    SEGMENTS,
    WORKFLOW,
    S,
    Two,
    frames,
)

__all__ = ["deviation_checks_data", "deviation_checks_evaluation", "deviation_checks_models"]


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    raw = simulate_market(8, S, 5, late_listing_share=0.0)
    raw["vwap"] = (raw["high"] + raw["low"] + raw["close"]) / 3
    return raw


@pytest.fixture
def handler(bars: pd.DataFrame) -> DataHandlerLP:
    return Two(bars=bars, semantics="qlib")


@pytest.fixture
def dataset(handler: DataHandlerLP) -> TSDatasetH:
    return TSDatasetH(handler, SEGMENTS, step_len=3)


def rows() -> list[str]:
    """The exceptions of the page, in order."""
    text = PAGE.read_text(encoding="utf-8").partition("in qlib semantics too\n")[2]
    return re.findall(r"^\| `([a-z0-9-]+)` \|", text, flags=re.MULTILINE)


def test_every_row_has_its_check() -> None:
    assert rows() == list(dict.fromkeys(rows()))
    assert set(rows()) == set(CHECKS)


@pytest.mark.parametrize("exception", rows())
def test_the_row_is_true(exception: str, request: pytest.FixtureRequest) -> None:
    check = CHECKS[exception]
    names = check.__code__.co_varnames[: check.__code__.co_argcount]
    check(**{name: request.getfixturevalue(name) for name in names})


REFUSED = {
    "DropCol": "empty-col-list",
    "FilterCol": "empty-col-list",
    "TimeRangeFlt": "time-range-filter",
}


@pytest.mark.filterwarnings("ignore:.*takes every column")
@pytest.mark.parametrize("name", PROCESSORS)
def test_what_qlib_semantics_refuses_of_qlibs_processors_is_on_the_page(name: str) -> None:
    """Each class, with qlib's defaults, in a handler of qlib semantics: built, or a row."""
    window = {"fit_start_time": S[0], "fit_end_time": S[40], "semantics": "qlib"}
    if name not in REFUSED:
        assert len(build_steps([{"class": name}], "learn", window)) == 1
        return
    assert REFUSED[name] in rows()
    with pytest.raises(ValueError, match=name):
        build_steps([{"class": name}], "learn", window)


def test_no_group_and_krnn_are_no_exceptions(handler: DataHandlerLP) -> None:
    """qlib semantics once refused the one and repaired the other; the page no longer lists them."""
    with pytest.warns(UserWarning, match="takes every column"):
        DataHandlerLP(frames(handler), infer_processors=["Fillna"], semantics="qlib")
    assert "in nothing else" not in PAGE.read_text(encoding="utf-8")
    krnn = WORKFLOW.with_name("krnn_alpha360.yaml")
    assert read_workflow(load_document(krnn)).model.arguments["legacy_layout"] is True
    strict = read_workflow(load_document(krnn), semantics="strict")
    assert strict.model.arguments["legacy_layout"] is False
    assert isinstance(DatasetH(handler, SEGMENTS), DatasetH)
