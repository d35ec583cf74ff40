"""Panel: frames to dense arrays and back. Oracle: pandas' own pivot, and small frames by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnn_core.panel.panel import Panel

BARS = pd.DataFrame(
    {
        "date": pd.to_datetime(["2024-01-03", "2024-01-02", "2024-01-04", "2024-01-02"]),
        "instrument": ["B", "B", "B", "A"],
        "close": [2.0, 1.0, 3.0, 9.0],
        "volume": [20, 10, 30, 90],
    }
)


def test_rows_of_any_order_land_in_their_slots() -> None:
    panel = Panel.from_frame(BARS)
    assert list(panel.instruments) == ["A", "B"]
    assert list(panel.sessions.day) == [2, 3, 4]
    np.testing.assert_array_equal(panel.present, [[1, 0, 0], [1, 1, 1]])
    np.testing.assert_array_equal(panel.fields["close"], [[9, np.nan, np.nan], [1, 2, 3]])
    assert panel.fields["volume"].dtype == np.float64
    assert panel.shape == (2, 3)


@pytest.mark.parametrize("names", [("datetime", "instrument"), ("date", "instrument")])
@pytest.mark.parametrize("swapped", [False, True])
def test_keys_may_be_the_index_in_either_order(names: tuple[str, str], swapped: bool) -> None:
    bars = BARS.rename(columns={"date": names[0]}).set_index(list(names))
    panel = Panel.from_frame(bars.swaplevel() if swapped else bars)
    np.testing.assert_array_equal(panel.fields["close"], Panel.from_frame(BARS).fields["close"])


def test_float32_stays_float32() -> None:
    panel = Panel.from_frame(BARS.astype({"close": np.float32}))
    assert panel.fields["close"].dtype == np.float32
    assert panel.fields["volume"].dtype == np.float64


def test_a_given_calendar_holds_sessions_without_any_row() -> None:
    sessions = pd.bdate_range("2024-01-01", "2024-01-05")
    panel = Panel.from_frame(BARS, sessions=sessions)
    assert panel.shape == (2, 5)
    assert panel.present.sum() == 4
    assert not panel.present[:, [0, 4]].any()


def test_a_missing_value_in_a_row_is_not_a_missing_row() -> None:
    panel = Panel.from_frame(BARS.assign(close=np.nan))
    assert panel.present.sum() == 4
    assert np.isnan(panel.fields["close"]).all()


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_round_trip_sorts_and_keeps_every_cell(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid = pd.MultiIndex.from_product(
        [pd.bdate_range("2020-01-01", periods=7), [f"N{i}" for i in range(5)]],
        names=["datetime", "instrument"],
    )
    chosen = grid[rng.permutation(35)[: rng.integers(1, 36)]]
    frame = pd.DataFrame(rng.normal(size=(len(chosen), 2)), index=chosen, columns=["x", "y"])
    panel = Panel.from_frame(frame)
    back = panel.to_frame(np.stack([panel.fields["x"], panel.fields["y"]]), ["x", "y"])
    pd.testing.assert_frame_equal(back, frame.sort_index(), check_freq=False)


def test_to_frame_keeps_the_rows_and_sessions_asked_for() -> None:
    panel = Panel.from_frame(BARS)
    values = np.arange(6, dtype=np.float32).reshape(1, 2, 3)  # [1, N, T]
    last = panel.to_frame(values, ["x"], sessions=slice(-1, None))
    assert [(d.day, n) for d, n in last.index] == [(4, "B")]
    assert last["x"].tolist() == [5.0]
    assert last["x"].dtype == np.float32
    every = panel.to_frame(values, ["x"], rows=np.ones((2, 3), dtype=bool))
    assert every["x"].tolist() == [0, 3, 1, 4, 2, 5]
    assert list(last.index.get_level_values("instrument").unique()) == ["B"]
    none = panel.to_frame(values, ["x"], rows=np.zeros((2, 3), dtype=bool))
    assert none.shape == (0, 1)


def test_fields_cannot_be_replaced() -> None:
    panel = Panel.from_frame(BARS)
    with pytest.raises(TypeError):
        panel.fields["close"] = panel.fields["volume"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("bars", "message"),
    [
        (BARS.drop(columns="date"), r"lacks \['date'\]: expected the columns date and instrument"),
        (pd.concat([BARS, BARS.iloc[[1]]]), "1 duplicate rows, the first for B on 2024-01-02"),
        (BARS.assign(close=["a", "b", "c", "d"]), "column 'close' is str, expected numbers"),
        (BARS.assign(date=BARS["date"].dt.tz_localize("UTC")), "`date` is tz-aware"),
        (BARS.assign(instrument=["B", None, "B", "A"]), "`instrument` is missing in 1 rows"),
        (BARS.assign(instrument=[1, 2, 3, 4]), "`instrument` holds integer, expected str"),
        (pd.concat({"feature": BARS}, axis=1), "columns of several levels, expected one"),
        (
            BARS.set_index(["date", "instrument", "volume"]),
            "expected two levels .datetime, instrument",
        ),
    ],
)
def test_frames_that_are_refused(bars: pd.DataFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Panel.from_frame(bars)


def test_tz_aware_index_is_refused() -> None:
    bars = BARS.assign(date=BARS["date"].dt.tz_localize("UTC")).set_index(["date", "instrument"])
    with pytest.raises(ValueError, match="datetime level of bars is tz-aware"):
        Panel.from_frame(bars)


def test_sessions_that_are_refused() -> None:
    with pytest.raises(ValueError, match="1 rows lie outside `sessions`, the first on 2024-01-04"):
        Panel.from_frame(BARS, sessions=pd.bdate_range("2024-01-01", "2024-01-03"))
    with pytest.raises(ValueError, match="`sessions` must be sorted and unique"):
        Panel.from_frame(BARS, sessions=pd.DatetimeIndex(["2024-01-04", "2024-01-02"]))


def test_arrays_that_are_refused() -> None:
    panel = Panel.from_frame(BARS)
    axes = (panel.sessions, panel.instruments)
    with pytest.raises(ValueError, match=r"field 'x' is int64 \(2, 3\), expected float32"):
        Panel(*axes, {"x": np.ones((2, 3), dtype=int)}, panel.present)
    with pytest.raises(ValueError, match="field 'x' is not C-contiguous"):
        Panel(*axes, {"x": np.ones((3, 2)).T}, panel.present)
    with pytest.raises(ValueError, match=r"`present` is bool \(3, 2\), expected bool \(2, 3\)"):
        Panel(*axes, {}, panel.present.T)
    with pytest.raises(ValueError, match=r"`values` is \(2, 2, 3\), expected \(1, 2, 3\)"):
        panel.to_frame(np.ones((2, 2, 3)), ["x"])
    with pytest.raises(ValueError, match=r"`rows` is float64 \(2, 3\), expected bool"):
        panel.to_frame(np.ones((1, 2, 3)), ["x"], rows=np.ones((2, 3)))
