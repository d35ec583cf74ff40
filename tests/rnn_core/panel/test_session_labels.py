"""Session labels and bounds: one rule at every entrance of the library.

Oracle: the same call with midnights as labels, and days written out by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import (
    Alpha158,
    DataHandlerLP,
    DatasetH,
    TSDataSampler,
    TSDatasetH,
    Universe,
    finite_report,
    simulate_market,
)
from rnn_core.data.processors import CSRankNorm, RobustZScoreNorm
from rnn_core.estimators.estimator_data import FrameWindows
from rnn_core.evaluation import (
    PortfolioConfig,
    calc_ic,
    calc_long_short_return,
    compare_signals,
    equal_weight_benchmark,
    forward_returns,
    ic_decay,
    risk_analysis,
    signal_analysis,
    topk_dropout,
)
from rnn_core.evaluation.breakdown import by_period
from rnn_core.features import alpha158
from rnn_core.panel import Panel
from rnn_core.panel.session_labels import (
    session_codes,
    session_index,
    session_labels,
)

DAYS = pd.bdate_range("2022-01-03", periods=70)
NAMES = list("ABCDEF")

Change = Callable[[pd.DatetimeIndex], Any]

RIGHT: dict[str, Change] = {
    **{unit: (lambda d, unit=unit: d.as_unit(unit)) for unit in ("s", "ms", "us", "ns")},
    "numpy days": lambda d: d.to_numpy().astype("datetime64[D]"),
    "dates": lambda d: list(d.date),
    "datetimes": lambda d: list(d.to_pydatetime()),
    "text": lambda d: list(d.strftime("%Y-%m-%d")),
    "digits": lambda d: list(d.strftime("%Y%m%d")),
    "slashes": lambda d: list(d.strftime("%Y/%m/%d")),
    "text of midnights": lambda d: list(d.strftime("%Y-%m-%d %H:%M:%S")),
    "categories": lambda d: pd.Categorical(d.strftime("%Y-%m-%d")),
    "arrow dates": lambda d: pd.array(d.date, dtype="date32[pyarrow]"),
}

WRONG: dict[str, tuple[Change, str]] = {
    "one time of day": (lambda d: d + pd.Timedelta(hours=16), "times of day: .*16:00:00"),
    "mixed times": (
        lambda d: d + pd.to_timedelta(np.arange(len(d)) % 3, unit="h"), "times of day: .*01:00:00",
    ),
    "a nanosecond": (lambda d: d.as_unit("ns") + pd.Timedelta(1), "times of day"),
    "numbers": (lambda d: [int(x) for x in d.strftime("%Y%m%d")], "20220103.*format='%Y%m%d'"),
    "seconds": (lambda d: d.as_unit("s").asi8, "1641168000.*unit='s'"),
    "milliseconds": (lambda d: d.as_unit("ms").asi8, "1641168000000.*unit='ms'"),
    "float numbers": (lambda d: d.as_unit("s").asi8.astype(float), "unit='s'"),
    "a zone": (lambda d: d.tz_localize("Europe/Berlin"), "tz-aware .*Berlin.*tz_localize"),
    "a zone in objects": (
        lambda d: pd.Series(d.tz_localize("Asia/Tokyo")).astype(object), "tz-aware .*Tokyo",
    ),
    "periods": (lambda d: d.to_period("D"), "period 2022-01-03.*to_timestamp"),
    "American text": (lambda d: list(d.strftime("%m/%d/%Y")), "text '01/03/2022'.*format="),
    "text with times": (lambda d: list(d.strftime("%Y-%m-%d 16:00")), "text '2022-01-03 16:00'"),
    "words": (lambda d: ["today"] * len(d), "text 'today'"),
    "durations": (lambda d: d - d[0], "expected days"),
    "no such day": (lambda d: ["2022-02-30"] * len(d), "'2022-02-30', which is no day"),
    "truth": (lambda d: [True] * len(d), "number True"),
}  # fmt: skip


def _missing(days: pd.DatetimeIndex) -> pd.DatetimeIndex:
    return days.where(np.arange(len(days)) != 2)


def _bars() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = len(DAYS) * len(NAMES)
    close = np.exp(rng.normal(0, 0.01, rows).cumsum())
    return pd.DataFrame(
        {
            "date": np.repeat(DAYS, len(NAMES)),
            "instrument": NAMES * len(DAYS),
            "open": close,
            "high": close * 1.01,
            "low": close * 0.99,
            "close": close,
            "vwap": close,
            "volume": rng.integers(1, 9, rows) * 100.0,
        }
    )


BARS = _bars()
INDEX = pd.MultiIndex.from_product([DAYS, NAMES], names=["datetime", "instrument"])
SCORES = pd.Series(np.random.default_rng(1).normal(size=len(INDEX)), INDEX, name="score")
LABELS = pd.Series(np.random.default_rng(2).normal(0, 0.01, len(INDEX)), INDEX, name="label")
FRAME = pd.DataFrame({("feature", "X"): SCORES, ("label", "LABEL0"): LABELS})


def _columns(change: Change) -> pd.DataFrame:
    """Change the labels of the bars, which stand in a column."""
    days = pd.DatetimeIndex(BARS["date"])
    return BARS.assign(date=pd.Series(change(days), index=BARS.index))


def _level(rows: Any, change: Change) -> Any:
    """Change the labels of indexed rows, some of which are then cut away."""
    days = rows.index.get_level_values(0)
    keys = [pd.Index(change(days)), rows.index.get_level_values(1)]
    return rows.set_axis(pd.MultiIndex.from_arrays(keys, names=rows.index.names), axis=0)


def _plain(values: Any) -> Any:
    """Return the numbers of a result, whatever the resolution of its dates."""
    return values.to_numpy() if isinstance(values, (pd.Series, pd.DataFrame)) else values


ENTRANCES: dict[str, Callable[[Change], Any]] = {
    "panel of columns": lambda c: Panel.from_frame(_columns(c)).fields["close"],
    "panel of an index": lambda c: Panel.from_frame(
        _level(BARS.set_index(["date", "instrument"]), c)
    ).fields["close"],
    "calendar of a panel": lambda c: Panel.from_frame(BARS, sessions=c(DAYS)).fields["close"],
    "panel": lambda c: Panel(
        c(DAYS), pd.Index(["A"]), {"x": np.zeros((1, 70))}, np.ones((1, 70), bool)
    ).sessions.as_unit("us").to_numpy(),
    "features": lambda c: _plain(alpha158(_columns(c))),
    "processor of sessions": lambda c: _plain(CSRankNorm("label")(_level(FRAME, c))),
    "fitted processor": lambda c: _plain(
        RobustZScoreNorm("2022-01-04", "2022-02-01", "feature").fit(_level(FRAME, c)).centre
    ),
    "handler": lambda c: _plain(
        DataHandlerLP(_level(FRAME, c)).fetch(slice("2022-01-05", "2022-01-10"))
    ),
    "feature handler": lambda c: _plain(
        Alpha158(bars=_columns(c), start_time="2022-03-01").fetch(col_set="feature")
    ),
    "dataset": lambda c: _plain(
        DatasetH(DataHandlerLP(_level(FRAME, c)), {"test": ("2022-01-05", None)}).prepare("test")
    ),
    "windows": lambda c: TSDatasetH(
        DataHandlerLP(_level(FRAME, c)), {"test": ("2022-01-05", None)}, step_len=3
    ).prepare("test")[[0, 7]],
    "sampler": lambda c: TSDataSampler(_level(FRAME, c), "2022-01-05", None, 3)[[0, 9]],
    "filter of a sampler": lambda c: TSDataSampler(
        FRAME, None, None, 2, flt_data=_level(SCORES > 0, c)
    )[[0, 9]],
    "windows of rows": lambda c: FrameWindows(_level(FRAME[["feature"]], c), None, 1)
    .get_index().levels[0].as_unit("us").to_numpy(),
    "finite report": lambda c: _plain(
        finite_report(_level(FRAME, c))[["nan", "inf", "share"]]
    ),
    "IC": lambda c: _plain(calc_ic(_level(SCORES, c), LABELS)[0]),
    "IC, labels": lambda c: _plain(calc_ic(SCORES, _level(LABELS, c))[1]),
    "long-short": lambda c: _plain(calc_long_short_return(_level(SCORES, c), LABELS)[0]),
    "analysis": lambda c: _plain(signal_analysis(_level(SCORES, c), LABELS).summary),
    "analysis, labels": lambda c: _plain(signal_analysis(SCORES, _level(LABELS, c)).summary),
    "analysis, groups": lambda c: _plain(
        signal_analysis(
            SCORES, LABELS, groups=_level(pd.Series(["x", "y"] * 210, INDEX), c)
        ).by_group
    ),
    "decay": lambda c: _plain(ic_decay(SCORES, _columns(c), horizons=[1, 2])),
    "forward returns": lambda c: _plain(forward_returns(_columns(c))),
    "benchmark": lambda c: _plain(equal_weight_benchmark(_columns(c))),
    "portfolio": lambda c: _plain(topk_dropout(_level(SCORES, c), BARS, CONFIG).daily),
    "portfolio, bars": lambda c: _plain(topk_dropout(SCORES, _columns(c), CONFIG).daily),
    "portfolio, sessions": lambda c: _plain(
        topk_dropout(SCORES, BARS, CONFIG, sessions=c(DAYS)).daily
    ),
    "portfolio, benchmark": lambda c: _plain(
        topk_dropout(SCORES, BARS, CONFIG, benchmark=pd.Series(0.0, pd.Index(c(DAYS)))).daily
    ),
    "comparison": lambda c: _plain(
        compare_signals({"a": _level(SCORES, c), "b": SCORES}, LABELS, draws=9).ic
    ),
    "periods": lambda c: _plain(
        by_period(
            signal_analysis(SCORES, LABELS).sessions.set_axis(pd.Index(c(DAYS)), axis=0), "%Y-%m"
        )
    ),
    "universe": lambda c: Universe(
        pd.DataFrame({"instrument": ["A"], "start": ["2022-01-05"], "end": [None]})
    ).mask(c(DAYS), NAMES),
    "simulated market": lambda c: _plain(simulate_market(2, c(DAYS), 0)["close"]),
}  # fmt: skip

CONFIG = PortfolioConfig(topk=2, n_drop=1)


def _pairs(forms: Iterable[str], common: tuple[str, ...]) -> list[tuple[str, str]]:
    """Pair every form with a column, a level and an axis, common ones with all entrances."""
    kinds = ("panel of columns", "panel of an index", "calendar of a panel", "IC")
    return [(e, form) for e in ENTRANCES for form in forms if e in kinds or form in common]


@cache
def _expected(entrance: str) -> Any:
    """Return the result for plain midnights."""
    return ENTRANCES[entrance](lambda days: days)


@pytest.mark.parametrize(("entrance", "form"), _pairs(RIGHT, ("s", "text")))
def test_forms_of_a_day_are_the_same_day(entrance: str, form: str) -> None:
    np.testing.assert_array_equal(ENTRANCES[entrance](RIGHT[form]), _expected(entrance))


@pytest.mark.parametrize(("entrance", "form"), _pairs(WRONG, ("mixed times", "numbers", "a zone")))
def test_everything_else_is_refused(entrance: str, form: str) -> None:
    change, message = WRONG[form]
    with pytest.raises(ValueError, match=f"(?s){message}"):
        ENTRANCES[entrance](change)


@pytest.mark.parametrize("entrance", ENTRANCES)
def test_a_missing_session_is_refused(entrance: str) -> None:
    with pytest.raises(ValueError, match=r"is missing in|have no datetime"):
        ENTRANCES[entrance](_missing)


def test_one_day_written_in_two_ways_is_one_session() -> None:
    days, code = session_codes(["2022-01-04", "20220103", "2022-01-03", "2022/01/04"], "days")
    assert list(days.strftime("%d")) == ["04", "03"]
    assert code.tolist() == [0, 1, 1, 0]
    twice = _level(SCORES, lambda d: [x.strftime("%Y%m%d" if x.day % 2 else "%F") for x in d])
    pd.testing.assert_series_equal(calc_ic(twice, LABELS)[0], calc_ic(SCORES, LABELS)[0])


def test_labels_that_no_row_uses_are_not_judged() -> None:
    """An intraday frame of which only the midnights are left is a frame of sessions."""
    late = pd.concat([FRAME, _level(FRAME, lambda d: d + pd.Timedelta(hours=9))]).sort_index()
    midnights = late[late.index.get_level_values(0).hour == 0]
    assert len(midnights.index.levels[0]) == 2 * len(DAYS)
    pd.testing.assert_frame_equal(DataHandlerLP(midnights).fetch(), DataHandlerLP(FRAME).fetch())


def test_an_index_that_is_right_is_not_copied() -> None:
    assert session_labels(DAYS, "days") is DAYS
    assert session_index(INDEX, "rows") is INDEX


def test_csv_bars_with_digits_as_dates(tmp_path: Any) -> None:
    path = tmp_path / "bars.csv"
    BARS.assign(date=BARS["date"].dt.strftime("%Y%m%d")).to_csv(path, index=False)
    expected = Alpha158(bars=BARS).fetch()
    np.testing.assert_allclose(Alpha158(bars=path).fetch(), expected, rtol=1e-4, atol=1e-6)
    BARS.assign(date=BARS["date"].dt.strftime("%d/%m/%Y")).to_csv(path, index=False)
    with pytest.raises(ValueError, match="text '03/01/2022'"):
        Alpha158(bars=path)


def test_frames_of_one_column_count_as_their_column() -> None:
    """A frame is how pred.pkl and label.pkl of qlib hold scores and labels."""
    scores, labels = SCORES.to_frame("score"), LABELS.to_frame("LABEL0")
    for call in (
        lambda s, y: calc_ic(s, y)[1],
        lambda s, y: calc_long_short_return(s, y)[0],
        lambda s, y: signal_analysis(s, y).sessions,
        lambda s, y: compare_signals({"a": s}, y).ic,
        lambda s, y: ic_decay(s, BARS, horizons=[1]),
        lambda s, y: topk_dropout(s, BARS, CONFIG).daily,
    ):
        np.testing.assert_array_equal(_plain(call(scores, labels)), _plain(call(SCORES, LABELS)))
        wide = pd.concat([scores, scores.set_axis(["other"], axis=1)], axis=1)
        with pytest.raises(TypeError, match=r"frame of 2 columns \['score', 'other'\], expected a"):
            call(wide, LABELS)
        with pytest.raises(TypeError, match=r"is (ndarray|float64), expected a Series"):
            call(SCORES.to_numpy(), LABELS)
    daily = pd.Series([0.01, -0.02, 0.03], DAYS[:3])
    pd.testing.assert_series_equal(risk_analysis(daily.to_frame()), risk_analysis(daily))
    with pytest.raises(ValueError, match="in time order"):
        risk_analysis(daily[::-1])


def test_tables_that_share_no_row_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"flt_data and data share no row .*'A\.SH'.*'A'"):
        flags = (SCORES > 0).rename(index=lambda name: f"{name}.SH", level=1)
        TSDataSampler(FRAME, None, None, 2, flt_data=flags)
    foreign = LABELS.rename(index=lambda name: f"{name}.SH", level=1)
    for call in (calc_ic, calc_long_short_return, signal_analysis):
        with pytest.raises(ValueError, match=r"share no row .*'A' first.*'A\.SH' first.*spelt"):
            call(SCORES, foreign)
    other = LABELS.rename(index=lambda day: day + pd.Timedelta(days=700), level=0)
    with pytest.raises(ValueError, match=r"share no row .*2022-01-03 to 2022-04-08.*2023-12-04"):
        calc_ic(SCORES, other)
    notes = signal_analysis(SCORES, other).notes  # labels of served scores come later
    assert any("no label (yet)" in note for note in notes)
