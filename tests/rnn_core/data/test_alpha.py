"""Alpha158 and Alpha360 as handlers over bars.

Oracles: `alpha158` and `compute_features` on the same bars, and pyqlib's recorded frames (golden).
"""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import Alpha158, Alpha360, DataHandlerLP, Panel, Universe, simulate_market
from rnn_core.features import FeatureSet, alpha158, alpha158_set, alpha360, compute_features

SESSIONS = pd.bdate_range("2020-01-01", periods=120)
START, END = SESSIONS[70], SESSIONS[110]
LABEL = "Ref($close, -2) / Ref($close, -1) - 1"
FIELDS = ["open", "high", "low", "close", "volume", "vwap"]
FIT = {"fit_start_time": START, "fit_end_time": SESSIONS[90]}
SMALL = FeatureSet({"MOVE": "$close/Ref($close, 1)", "MEAN": "Mean($close, 60)/$close"})


@pytest.fixture(scope="module")
def bars():
    traded = simulate_market(6, SESSIONS, 5, suspension_rate=0.1)
    traded["vwap"] = (traded["high"] + traded["low"] + traded["close"]) / 3
    return traded[["date", "instrument", *FIELDS]].reset_index(drop=True)


def small(bars, **kwargs):
    """A handler of two features, without processors."""
    return Alpha158(**{"bars": bars, "feature_set": SMALL, "learn_processors": [], **kwargs})


def test_defaults_are_qlibs(bars):
    handler = Alpha158(bars=bars, start_time=START, end_time=END)
    got = handler.fetch(col_set="__raw")
    want = alpha158(bars).loc[START:END]
    pd.testing.assert_frame_equal(got["feature"], want)
    label = compute_features(bars, [("LABEL0", LABEL)]).loc[START:END]
    pd.testing.assert_frame_equal(got["label"], label)
    assert (got.dtypes == np.float32).all()
    learn = handler.fetch(data_key="learn")
    day = label["LABEL0"].groupby(level="datetime")
    scores = ((label["LABEL0"] - day.transform("mean")) / day.transform("std")).dropna()
    np.testing.assert_allclose(learn["LABEL0"].dropna(), scores, rtol=1e-4, atol=1e-6)
    assert handler.fetch(data_key="raw").shape == got.shape


def test_alpha360_leaves_the_label_alone(bars):
    """Q14: in qlib ZScoreNorm and Fillna of the defaults also change the label."""
    handler = Alpha360(bars=bars, start_time=START, end_time=END, **FIT)
    infer = handler.fetch(col_set="__raw")
    raw = handler.fetch(col_set="__raw", data_key="raw")
    assert infer["feature"].columns.tolist() == alpha360(bars).columns.tolist()
    pd.testing.assert_frame_equal(infer["label"], raw["label"])
    assert not infer["feature"].isna().any(axis=None)
    inside = raw["feature"].loc[: FIT["fit_end_time"], "CLOSE1"].astype("float64")
    want = (raw["feature"]["CLOSE1"] - inside.mean()) / inside.std(ddof=0)
    np.testing.assert_allclose(infer["feature"]["CLOSE1"], want.fillna(0), rtol=1e-3, atol=1e-4)
    with pytest.raises(ValueError, match="ZScoreNorm is fitted: give the handler"):
        Alpha360(bars=bars)


@pytest.mark.parametrize(
    ("label", "names"),
    [
        (None, ["LABEL0"]),
        (LABEL, ["LABEL0"]),
        ([LABEL], ["LABEL0"]),
        (([LABEL], ["LABEL0"]), ["LABEL0"]),
        ([LABEL, "Ref($open, -2)/Ref($open, -1) - 1"], ["LABEL0", "LABEL1"]),
    ],
)
def test_labels_have_one_name_however_they_are_written(label, names, bars):
    """Q23: a list of texts gives qlib columns named by the texts."""
    handler = small(bars, label=label)
    assert handler.get_cols("label") == names
    want = compute_features(bars, [("LABEL0", LABEL)])["LABEL0"]
    pd.testing.assert_series_equal(handler.fetch(col_set="label")["LABEL0"], want)


def test_rows_are_cut_after_the_features_are_computed(bars):
    """The first row is warm, and the last label reads bars after end_time."""
    whole = small(bars).fetch()
    got = small(bars, start_time=START, end_time=f"{END:%Y-%m-%d}").fetch()
    pd.testing.assert_frame_equal(got, whole.loc[START:END])
    assert got.loc[END, "LABEL0"].notna().any()
    known = bars[bars["date"] <= END]
    assert small(known, start_time=START).fetch().loc[END, "LABEL0"].isna().all()


def test_membership_masks_rows_of_full_history(bars, tmp_path, caplog):
    path = tmp_path / "members.txt"
    day = SESSIONS.strftime("%Y-%m-%d")
    path.write_text(
        f"S0001\t{day[80]}\t{day[90]}\nS0001\t{day[100]}\t{day[119]}\n"
        f"S0003\t{day[0]}\t{day[119]}\nGONE\t{day[0]}\t{day[119]}\n"
    )
    whole = small(bars).fetch()
    universe = Universe.from_file(path)
    dates, names = (whole.index.get_level_values(k) for k in (0, 1))
    mask = universe.mask(SESSIONS, ["S0001", "S0003"])
    place = SESSIONS.get_indexer(dates)
    held = ((names == "S0001") & mask[0][place]) | ((names == "S0003") & mask[1][place])
    with caplog.at_level(logging.WARNING):
        for given in (universe, path, str(path)):
            got = small(bars, instruments=given).fetch()
            pd.testing.assert_frame_equal(got, whole[held])
    assert "1 of 3 instruments have no bars, the first are GONE" in caplog.text
    with pytest.raises(FileNotFoundError, match="instruments='csi300' is no file"):
        small(bars, instruments="csi300")


def test_instruments_by_name(bars):
    whole = small(bars).fetch()
    got = small(bars, instruments=["S0004", "S0002"]).fetch()
    pd.testing.assert_frame_equal(got, whole[whole.index.isin(["S0002", "S0004"], level=1)])
    with pytest.raises(KeyError, match=r"no instrument 'S004'.*did you mean 'S0004'"):
        small(bars, instruments=["S004"])


def test_an_expression_may_name_an_instrument_that_has_no_row(bars):
    pairs = [("OTHER", 'Mask($close, "S0005")'), ("OWN", "$close")]
    features = FeatureSet(pairs)
    want = compute_features(bars, pairs)
    got = small(bars, feature_set=features, instruments=["S0001"], end_time=END).fetch()
    want = want[want.index.isin(["S0001"], level=1)].loc[:END]
    pd.testing.assert_frame_equal(got[["OTHER", "OWN"]], want)


def test_chunks_do_not_show(bars, monkeypatch):
    want = small(bars).fetch()
    monkeypatch.setattr("rnn_core.data.bars.BUFFER_VALUES", 1)
    pd.testing.assert_frame_equal(small(bars, threads=1).fetch(), want)


def test_sources_of_bars(bars, tmp_path):
    codes = {"S0001": "000001", "S0002": "NA"}
    bars = bars.assign(instrument=bars["instrument"].replace(codes))
    want = small(bars).fetch()
    bars.to_parquet(tmp_path / "bars.parquet")
    bars.to_csv(tmp_path / "bars.csv", index=False)
    indexed = bars.rename(columns={"date": "datetime"}).set_index(["datetime", "instrument"])
    panel = Panel.from_frame(bars)
    for source in (indexed, panel, tmp_path / "bars.parquet", str(tmp_path / "bars.csv")):
        pd.testing.assert_frame_equal(small(source).fetch(), want)
    assert {"000001", "NA"} <= set(want.index.get_level_values(1))
    with pytest.raises(ValueError, match=r"expected \.parquet or \.csv"):
        small("bars.feather")
    with pytest.raises(TypeError, match="expected a frame, a Panel or a path"):
        small([1])


def test_a_field_without_values_is_an_error(bars):
    """Q8: in qlib a missing vwap becomes a column of NaN, and a constant 0 after Fillna."""
    message = r"no values of \['vwap'\].*\(high \+ low \+ close\) / 3.*without_field\('vwap'\)"
    for given in (
        bars.drop(columns="vwap"),
        bars.assign(vwap=np.nan),
        Panel.from_frame(bars.assign(vwap=np.nan)),
    ):
        with pytest.raises(ValueError, match=message):
            Alpha158(bars=given)
    less = alpha158_set().without_field("vwap")
    handler = Alpha158(bars=bars.drop(columns="vwap"), feature_set=less)
    assert len(handler.get_cols("feature")) == 157


def test_errors(bars):
    with pytest.raises(ValueError, match="looks 1 sessions ahead: features must be known"):
        small(bars, feature_set=FeatureSet({"NEXT": "Ref($close, -1)"}))
    with pytest.raises(ValueError, match="no row is left of"):
        small(bars, start_time="2031-01-01")
    with pytest.raises(ValueError, match="the label has 1 expressions and 2 names"):
        small(bars, label=([LABEL], ["RETURN", "OTHER"]))
    with pytest.raises(ValueError, match="expected an expression or a list"):
        small(bars, label=[])
    with pytest.raises(TypeError, match=r"no setting 'start'.*did you mean 'start_time'"):
        small(bars).config(start="2020-01-01")


def test_suspended_sessions_have_rows_in_qlib_semantics_only(bars):
    strict, qlib = (small(bars, semantics=s).fetch() for s in ("strict", "qlib"))
    assert len(strict) == len(bars)
    span = bars.groupby("instrument")["date"].agg(["min", "max"])
    slots = sum(len(SESSIONS[SESSIONS.slice_indexer(a, b)]) for a, b in span.to_numpy())
    assert len(qlib) == slots > len(strict)
    pd.testing.assert_frame_equal(
        qlib.loc[strict.index, ["LABEL0"]].dropna(), strict[["LABEL0"]].dropna(), atol=1e-6
    )


def test_a_saved_handler_serves_new_bars_with_the_same_bits(bars, tmp_path):
    steps = [
        {"class": "RobustZScoreNorm", "kwargs": {"fields_group": "feature"}},
        {"class": "Fillna", "kwargs": {"fields_group": "feature"}},
    ]
    past = small(bars[bars["date"] <= SESSIONS[100]], infer_processors=steps, **FIT)
    past.save(tmp_path / "state.json")
    served = Alpha158.load(tmp_path / "state.json", bars=bars, start_time=SESSIONS[100])
    assert served.feature_set == SMALL
    features = [h.fetch(SESSIONS[100], col_set="feature") for h in (past, served)]
    pd.testing.assert_frame_equal(*features, check_exact=True)
    past.config(bars=bars, start_time=SESSIONS[100])
    past.setup_data("load_state")
    pd.testing.assert_frame_equal(past.fetch(), served.fetch(), check_exact=True)
    DataHandlerLP(past.fetch(col_set="__raw")).save(tmp_path / "plain.json")
    with pytest.raises(ValueError, match=r"use DataHandlerLP\.load"):
        Alpha158.load(tmp_path / "plain.json", bars=bars)


def test_the_bars_are_left_alone(bars):
    before = bars.copy(deep=True)
    handler = Alpha158(bars=bars)
    fetched = handler.fetch()
    fetched.iloc[:, :] = 0
    pd.testing.assert_frame_equal(bars, before)


def test_raw_features_are_computed_again_when_asked_for(bars):
    """Once another view needs them no more; labels stay. Oracle: a handler that keeps them."""
    want = small(bars, start_time=START).fetch(data_key="raw", col_set="__raw")
    norm = {"class": "ZScoreNorm", "kwargs": {"fields_group": "feature"}}
    handler = small(bars, start_time=START, infer_processors=[norm], **FIT)
    handler.config(start_time=SESSIONS[100])  # for the next setup_data only
    pd.testing.assert_frame_equal(handler.fetch(data_key="raw", col_set=["label"]), want[["label"]])
    assert "raw" not in handler._views
    got = handler.fetch(data_key="raw", col_set="__raw")
    pd.testing.assert_frame_equal(got, want, check_exact=True)
    pd.testing.assert_frame_equal(handler.fetch(col_set=["label"]), want[["label"]])
    dropped = small(bars, infer_processors=[norm], drop_raw=True, **FIT)
    with pytest.raises(AttributeError, match="drop_raw=False"):
        dropped.fetch(data_key="raw", col_set="label")
