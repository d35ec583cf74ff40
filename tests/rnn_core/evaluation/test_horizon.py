"""Returns of labels of several sessions, shown a session. Oracle: a drift that is known."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from rnn_core.evaluation import (
    compare_signals,
    forward_returns,
    html_report,
    report,
    report_figures,
    signal_analysis,
)
from rnn_core.evaluation.plots import per_session
from rnn_core.workflow.records import analyse_signal
from rnn_core.workflow.spec import SignalSpec

DRIFT = np.linspace(-1e-3, 1e-3, 50)  # a session: the top fifth earns 16.3 bp more than the last


@pytest.fixture(scope="module", params=[1, 20])
def market(request) -> tuple[int, pd.Series, pd.Series]:
    """The horizon, scores that know the drift, and the labels; prices have no noise."""
    days = pd.bdate_range("2023-01-02", periods=120)
    index = pd.MultiIndex.from_product([days, range(50)], names=["datetime", "instrument"])
    close = np.exp(np.tile(DRIFT, (120, 1)).cumsum(0))
    bars = pd.DataFrame({"close": close.ravel()}, index)
    labels = forward_returns(bars, horizon=request.param)
    return request.param, pd.Series(np.tile(DRIFT, 120), index), labels


def test_a_page_and_its_pictures_show_returns_a_session(market, monkeypatch):
    horizon, scores, labels = market
    analysis = signal_analysis(scores, labels, horizon=horizon)
    expected = 1e4 * (DRIFT[-10:].mean() - DRIFT[:10].mean())
    own = 1e4 * analysis.summary.loc["long_short", "mean"]
    assert own == pytest.approx(horizon * expected, rel=0.01)
    shown = f"+{own / horizon:.1f}"
    comparison = compare_signals(
        {"a": scores, "b": -scores}, labels, horizon=horizon, ensemble=False, draws=9
    )
    text = html_report({"a": analysis}, comparison=comparison, figures={"ic": b""})
    assert text.count(f">{shown}<") == 3  # the headline, the year, the comparison
    drawn = {}
    for name in ("plot_quantile_returns", "plot_quantile_curves"):
        real = getattr(report, name)

        def kept(frames, real=real, name=name, **options):
            drawn[name] = frames["a"]
            return real(frames, **options)

        monkeypatch.setattr(report, name, kept)
    report_figures({"a": analysis})
    for frame in drawn.values():
        assert 1e4 * frame["long_short"].mean() == pytest.approx(own / horizon)
        assert 1e4 * (frame["q5"] - frame["q1"]).mean() == pytest.approx(own / horizon)
    assert len(drawn) == 2


def test_labels_of_one_session_stay_as_they_are(market):
    _, scores, labels = market
    sessions = signal_analysis(scores, labels).sessions
    assert per_session(sessions, 1) is sessions
    halved = per_session(sessions, 2)
    changed = [name for name in sessions if not halved[name].equals(sessions[name])]
    assert changed == ["mean_label", "q1", "q2", "q3", "q4", "q5", "long_short"]


def test_a_run_annualises_a_session_and_with_qlibs_semantics_the_label(market):
    horizon, scores, labels = market
    spec = SignalSpec(long_short=True, sessions_per_year=252)
    strict = analyse_signal(scores, labels, spec, horizon, "strict")
    qlib = analyse_signal(scores, labels, spec, horizon, "qlib")
    mean = qlib.daily["long_short"].mean()
    key = "long_short_annualized_return"
    assert qlib.summary[key] == mean * 252
    assert strict.summary[key] == mean * (252 / horizon)
    assert strict.summary[key] == pytest.approx(252 * 8.16e-4, rel=0.01)  # half of 16.3 bp
