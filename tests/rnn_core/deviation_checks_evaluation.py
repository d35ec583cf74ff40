"""Checks of docs/deviations.md: expressions, evaluation, workflow files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import (
    PortfolioConfig,
    calc_ic,
    calc_long_short_return,
    risk_analysis,
    topk_dropout,
)
from rnn_core.features import ExpressionError, compute_features, parse
from rnn_core.models import GRU
from rnn_core.workflow import WorkflowError, load_document, read_workflow
from rnn_core.workflow.build_data import _benchmark
from rnn_core.workflow.spec import PortfolioSpec
from tests.rnn_core.deviation_cases import (
    WORKFLOW,
    S,
    shows,
)


@shows("unsupported-in-a-file")
def _():
    wrong = ["qlib_init.region=tw", "task.model.class=ALSTM", "task.record.0.class=HFSignalRecord"]
    with pytest.raises(WorkflowError, match="has 4 problems"):  # and no SignalRecord is left
        read_workflow(load_document(WORKFLOW, wrong), semantics="qlib")


@shows("unknown-arguments-of-a-file")
def _():
    document = load_document(WORKFLOW, ["task.model.kwargs.hiden=3"])
    with pytest.raises(WorkflowError, match="GRU has no argument 'hiden'"):
        read_workflow(document, semantics="qlib")
    with pytest.warns(UserWarning, match="GRU has no argument 'hiden'"):
        GRU(hiden=3)


@shows("own-code-in-a-file")
def _():
    document = load_document(WORKFLOW, ["task.model.module_path=mine.models"])
    with pytest.raises(WorkflowError, match=r"'mine\.models' is not supported"):
        read_workflow(document, semantics="qlib")


@shows("benchmark-span")
def _():
    class Provider:
        def series(self, code: str, field: str) -> pd.Series:
            return pd.Series(1.0, index=S[:50])

    with pytest.raises(WorkflowError, match="benchmark SH000300 has closes from"):
        _benchmark(
            Provider(), PortfolioSpec(PortfolioConfig(), None, None, ("SH000300",)), S[10:], "qlib"
        )


@shows("whole-windows")
def _():
    for text in ("Mean($close, 2.5)", "Std($close, 0.5)"):
        with pytest.raises(ExpressionError):
            parse(text)
    assert parse("Mean($close, 0.5)") and parse("EMA($close, 0.5)")


@shows("conditions-only")
def _():
    for text in ("$close & $open", "$close | 3", "Not($close)"):
        with pytest.raises(ExpressionError):
            parse(text)


@shows("exact-reach")
def _():
    assert parse("Ref(Ref($close, -2), 1)").look_ahead == 1


@shows("parsed-text")
def _():
    for text in ("__import__('os')", "$close.real", "Mask($close, S0001)"):
        with pytest.raises(ExpressionError):
            parse(text)


def computed(bars: pd.DataFrame, text: str) -> pd.Series:
    return compute_features(bars, [("X", text)], semantics="qlib")["X"]


@shows("history-begins")
def _(bars):
    last = (S[-1], "S0001")
    late = bars[bars["date"] >= S[30]]
    for text in ("Sum($close, 0)", "EMA($close, 0.1)"):
        assert computed(bars, text)[last] != computed(late, text)[last]
    assert computed(bars, "Sum($close, 5)")[last] == pytest.approx(
        computed(late, "Sum($close, 5)")[last]
    )


@shows("corr-of-all-history")
def _(bars):
    one = bars[bars["instrument"] == "S0001"].set_index("date")
    want = one["close"].astype("float32").expanding(1).corr(one["volume"].astype("float32"))
    got = computed(bars, "Corr($close, $volume, 0)").xs("S0001", level="instrument")
    np.testing.assert_allclose(got[5:], want[5:], rtol=1e-4)


@shows("mask")
def _(bars):
    late = bars[(bars["instrument"] != "S0002") | (bars["date"] >= S[30])]
    got = computed(late, "$close/Mask($close, 'S0002')").xs("S0001", level="instrument")
    assert got[got.index < S[30]].isna().all() and got[got.index > S[30]].notna().any()
    with pytest.raises(ValueError, match="NONE"):
        computed(bars, "Mask($close, 'NONE')")


@shows("shifted-condition")
def _(bars):
    got = computed(bars, "Ref($close > $open, 1)")
    assert got.dtype == np.float32 and set(got.dropna()) == {0.0, 1.0}


@shows("flat-ic")
def _():
    index = pd.MultiIndex.from_product([S[:1], list("ABC")], names=["datetime", "instrument"])
    ic, rank_ic = calc_ic(pd.Series(0.1, index=index), pd.Series([1.0, 2.0, 3.0], index=index))
    assert ic.isna().all() and rank_ic.isna().all()


def traded(signal: dict[tuple[int, str], float], close: pd.DataFrame, **config: Any) -> Any:
    """A backtest of the last three of four sessions; nothing costs."""
    keys = [(S[t], name) for t, name in signal]
    index = pd.MultiIndex.from_tuples(keys, names=["datetime", "instrument"])
    bars = close.stack().rename("close").rename_axis(["datetime", "instrument"]).to_frame()  # noqa: PD013
    bars["change"] = 0.0
    settings = PortfolioConfig(
        semantics="qlib", open_cost=0, close_cost=0, min_cost=0, n_drop=1, **config
    )
    return topk_dropout(
        pd.Series(list(signal.values()), index=index), bars, settings, sessions=S[1:4]
    ).positions


@shows("held-without-score")
def _():
    close = pd.DataFrame(10.0, index=S[:4], columns=list("ABC"))
    first = {(0, "A"): 1.0, (0, "B"): 3.0, (0, "C"): 2.0}
    held = traded({**first, (1, "A"): 1.0}, close, topk=3)  # B and C have no score, nobody waits
    assert held.loc[held["datetime"] == S[1], "instrument"].tolist() == ["A", "B", "C"]
    assert held.loc[held["datetime"] == S[2], "instrument"].tolist() == ["A", "B"]


@shows("equal-scores")
def _():
    close = pd.DataFrame(10.0, index=S[:4], columns=list("ABCD"))
    alike = {(0, name): 1.0 for name in "DCBA"}  # whatever the order in which they come
    held = traded(alike, close, topk=2)
    assert held.loc[held["datetime"] == S[1], "instrument"].tolist() == ["A", "B"]


@shows("price-limits")
def _():
    close = pd.DataFrame(10.0, index=S[:4], columns=list("AB"))
    close.loc[S[1] :, "A"] = 11.0  # beyond the limit; the stored change says 0
    held = traded({(0, "A"): 2.0, (0, "B"): 1.0}, close, topk=2, limit_threshold=0.095)
    assert held.loc[held["datetime"] == S[1], "instrument"].tolist() == ["B"]


@shows("metric-options")
def _(handler):
    label = handler.fetch(col_set="label")["LABEL0"]
    for call, option in (
        (calc_ic, "date_col"),
        (calc_ic, "dropna"),
        (calc_long_short_return, "date_col"),
        (calc_long_short_return, "dropna"),
    ):
        with pytest.raises(TypeError, match=option):
            call(label, label, **{option: True})
    for option in ("N", "freq"):
        with pytest.raises(TypeError, match=option):
            risk_analysis(label, **{option: 252})


@shows("no-common-row")
def _():
    one, other = (
        pd.Series([1.0, 2.0], index=pd.MultiIndex.from_product([[S[t]], list("AB")]))
        for t in (0, 1)
    )
    with pytest.raises(ValueError, match="row"):
        calc_ic(one, other)
