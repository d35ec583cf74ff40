"""DataHandlerLP: three views of a frame.

Oracles: pyqlib's own handler (fixtures/make_handler.py), processors applied by hand, pandas' loc.
"""

from __future__ import annotations

import datetime
import json

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import (
    CSRankNorm,
    DataHandlerLP,
    DropnaLabel,
    Fillna,
    MinMaxNorm,
    Processor,
    ProcessorChain,
    RobustZScoreNorm,
    ZScoreNorm,
)

FIT = {"fit_start_time": "2020-01-10", "fit_end_time": "2020-02-14"}
FEATURES = ["NORMAL", "TIES", "HOLES", "TINY"]
SELECTIONS = [
    (slice("2020-02-03", "2020-02-28"), "datetime"),
    (slice(None, "2020-01"), "datetime"),
    (("2020-01-10", "2020-01-20"), "datetime"),
    ("2020-02", "datetime"),
    (pd.Timestamp("2020-02-03"), "datetime"),
    ("I3", "instrument"),
    (slice("I3", "I5"), "instrument"),
]
COL_SETS = ["__all", "__raw", "label", ["feature"], ["label", "feature"]]


def step(name, **kwargs):
    return {"class": name, "kwargs": kwargs}


def steps():
    """The steps of fixtures/make_handler.py; the handler adds fit window and semantics."""
    return {
        "shared_processors": [step("ZScoreNorm", fields_group="feature")],
        "infer_processors": [
            step("MinMaxNorm", fields_group="feature"),
            step("Fillna", fields_group="feature"),
        ],
        "learn_processors": [
            "DropnaLabel",
            step("RobustZScoreNorm", fields_group="feature"),
            step("CSRankNorm", fields_group="label"),
        ],
    }


@pytest.fixture(scope="module")
def made(fixtures_dir):
    with np.load(fixtures_dir / "handler.npz") as stored:
        return dict(stored)


@pytest.fixture
def data(frame):
    """The frame of fixtures/make_handler.py."""
    df = frame[[("feature", n) for n in FEATURES] + [("label", "LABEL0")]].copy()
    df[("keep", "KEEP")] = (df[("feature", "NORMAL")] > 0).astype("float32")
    return df


def label_only(data, **kwargs):
    """A handler whose learn processors touch the label only."""
    kwargs = {"learn_processors": [DropnaLabel(), CSRankNorm("label")], **kwargs}
    infer = [RobustZScoreNorm(*FIT.values(), "feature"), Fillna("feature")]
    return DataHandlerLP(data, infer_processors=infer, **kwargs)


@pytest.mark.parametrize("process_type", ["append", "independent"])
@pytest.mark.parametrize("init_type", ["fit_seq", "fit_ind"])
def test_views_equal_pyqlibs(init_type, process_type, data, made):
    handler = DataHandlerLP(
        data, **steps(), **FIT, process_type=process_type, init_type=init_type, semantics="qlib"
    )
    for key in ("infer", "learn"):
        got = handler.fetch(col_set="__raw", data_key=key)
        base = f"{init_type}/{process_type}/{key}"
        pd.testing.assert_index_equal(got.index, data.index[made[f"{base}/row"]])
        assert got.columns.tolist() == data.columns.tolist()
        assert (got.dtypes == np.float32).all()  # Q9: there CSRankNorm leaves float64
        np.testing.assert_allclose(got.to_numpy(), made[f"{base}/values"], rtol=2e-5, atol=2e-6)
    pd.testing.assert_frame_equal(handler.fetch(data_key="raw", col_set="__raw"), data)


def test_the_recorded_process_and_init_types_differ(made):
    """Else the test above would not tell them apart."""
    keys = [f"{i}/{p}" for i in ("fit_seq", "fit_ind") for p in ("append", "independent")]
    values = [made[f"{k}/learn/values"].tobytes() for k in keys]
    assert len(set(values)) == 4


@pytest.mark.parametrize("k", range(len(SELECTIONS)))
def test_fetch_selects_pyqlibs_rows(k, data, made):
    handler = DataHandlerLP(data, **steps(), **FIT, semantics="qlib")
    selector, level = SELECTIONS[k]
    got = handler.fetch(selector, level, data_key="learn")
    pd.testing.assert_index_equal(got.index, data.index[made[f"fetch/{k}/row"]])
    whole = handler.fetch(data_key="learn")
    pd.testing.assert_frame_equal(got, whole.loc[got.index])


@pytest.mark.parametrize("k", range(len(COL_SETS)))
def test_fetch_selects_pyqlibs_columns(k, data, made):
    handler = DataHandlerLP(data)
    for columns in (handler.fetch(col_set=COL_SETS[k]).columns, handler.get_cols(COL_SETS[k])):
        assert ["/".join(np.atleast_1d(c)) for c in columns] == made[f"columns/{k}"].tolist()


@pytest.mark.parametrize(
    ("selector", "level"),
    [
        (["2020-02-05", "2020-02-03", "2020-02-04"], 0),
        (pd.DatetimeIndex(["2020-02-05", "2020-02-03"]), "datetime"),
        (["I7", "I2"], "instrument"),
        (pd.Index(["I7", "I2"]), 1),
    ],
)
def test_fetch_takes_lists_of_labels(selector, level, data):
    """Oracle: isin. A pair of names is two names (in qlib all from the first to the second)."""
    handler = DataHandlerLP(data)
    wanted = pd.to_datetime(selector) if level in (0, "datetime") else selector
    inside = data.index.get_level_values(level).isin(wanted)
    pd.testing.assert_frame_equal(handler.fetch(selector, level, "__raw"), data[inside])


def test_fetch_takes_dates_and_rows(data):
    handler = DataHandlerLP(data)
    day = datetime.date(2020, 2, 3)
    rows = data.loc["2020-02-03":"2020-02-04"]
    got = handler.fetch(slice(day, pd.Timestamp("2020-02-04")), col_set="__raw")
    pd.testing.assert_frame_equal(got, rows)
    for level in (None, "datetime"):
        got = handler.fetch(rows.index[::2], level=level, col_set="__raw")
        pd.testing.assert_frame_equal(got, rows[::2])
    assert handler.fetch(slice("2021-01-01", None)).empty


def test_columns_can_be_named_one_by_one(data):
    handler = label_only(data)
    wanted = [("label", "LABEL0"), ("feature", "TIES"), ("feature", "NORMAL")]
    got = handler.fetch(slice("2020-02-03", None), col_set=wanted, data_key="learn")
    assert got.columns.tolist() == wanted
    whole = handler.fetch(slice("2020-02-03", None), col_set="__raw", data_key="learn")
    pd.testing.assert_frame_equal(got, whole[wanted])


def test_views_are_the_chains_by_hand(data):
    handler = label_only(data)
    infer = ProcessorChain([RobustZScoreNorm(*FIT.values(), "feature"), Fillna("feature")])
    want = infer.fit(data)
    pd.testing.assert_frame_equal(handler.fetch(col_set="__raw"), want)
    want = ProcessorChain([DropnaLabel(), CSRankNorm("label")]).fit(want)
    pd.testing.assert_frame_equal(handler.fetch(col_set="__raw", data_key="learn"), want)


def blocks(handler, key):
    """The frames behind a view."""
    return handler._views[key].frames


def test_views_share_what_they_have_in_common(data):
    """Learn holds the features of infer, not a copy, although it has fewer rows."""
    handler = label_only(data)
    features = [f for f in blocks(handler, "learn") if ("feature", "TIES") in f.columns]
    assert any(features[0] is f for f in blocks(handler, "infer"))
    assert len(handler.fetch(data_key="learn")) < len(handler.fetch())
    plain = DataHandlerLP(data)
    assert blocks(plain, "raw")[0] is blocks(plain, "infer")[0] is blocks(plain, "learn")[0]
    part = plain.fetch(slice("2020-02-03", None), col_set="feature")
    whole = blocks(plain, "raw")[0]
    assert np.shares_memory(part["TIES"].to_numpy(), whole[("feature", "TIES")].to_numpy())


def test_drop_raw_lets_go_of_the_raw_frame(data):
    want = label_only(data)
    handler = label_only(data, drop_raw=True)
    for key in ("infer", "learn"):
        for held in blocks(handler, key):
            for column in held.columns:
                assert not np.shares_memory(held[column].to_numpy(), data[column].to_numpy())
        got, whole = (h.fetch(col_set="__raw", data_key=key) for h in (handler, want))
        pd.testing.assert_frame_equal(got, whole)
    with pytest.raises(AttributeError, match="drop_raw=False"):
        handler.fetch(data_key="raw")
    with pytest.raises(ValueError, match="give it again as data="):
        handler.setup_data()
    handler.setup_data("load_state", data)
    pd.testing.assert_frame_equal(handler.fetch(), want.fetch())


def test_the_callers_frame_is_left_alone(data):
    before = data.copy(deep=True)
    handler = DataHandlerLP(data, **steps(), **FIT)
    fetched = handler.fetch(data_key="raw", col_set="__raw")
    fetched.iloc[:, :] = 7.0
    pd.testing.assert_frame_equal(data, before)
    pd.testing.assert_frame_equal(handler.fetch(data_key="raw", col_set="__raw"), before)
    data.iloc[:, :] = 8.0
    pd.testing.assert_frame_equal(handler.fetch(data_key="raw", col_set="__raw"), before)


def test_rows_of_any_order_are_sorted(data):
    shuffled = data.sample(frac=1.0, random_state=3)
    for given in (shuffled, shuffled.swaplevel()):
        got = DataHandlerLP(given).fetch(col_set="__raw", data_key="raw")
        pd.testing.assert_frame_equal(got, data, check_index_type=False)


def test_a_fit_is_blind_to_the_future(data):
    """Changing every row after the fit window changes no state; one inside changes it."""
    state = DataHandlerLP(data, **steps(), **FIT).state()
    future = data.copy()
    later = future.index.get_level_values(0) > FIT["fit_end_time"]
    future.loc[later, "feature"] = 99.0
    future.loc[later, "label"] = -99.0
    assert DataHandlerLP(future, **steps(), **FIT).state() == state
    past = data.copy()
    past.loc["2020-01-15", ("feature", "NORMAL")] = 99.0
    assert DataHandlerLP(past, **steps(), **FIT).state() != state


@pytest.mark.parametrize("process_type", ["append", "independent"])
def test_state_round_trip(process_type, data, tmp_path):
    past = data.loc[:"2020-02-28"]
    fitted = DataHandlerLP(past, **steps(), **FIT, process_type=process_type)
    fitted.save(tmp_path / "state.json")
    served = DataHandlerLP.load(tmp_path / "state.json", data)
    assert served.state() == fitted.state()
    assert served.process_type == process_type
    for key in ("infer", "learn"):
        for again in (served, fitted):
            got = again.fetch(slice(None, "2020-02-28"), data_key=key)
            assert got.to_numpy().tobytes() == fitted.fetch(data_key=key).to_numpy().tobytes()
    assert served.sessions()[-1] == data.index.get_level_values(0).max()
    fitted.setup_data("load_state", data)
    pd.testing.assert_frame_equal(fitted.fetch(data_key="learn"), served.fetch(data_key="learn"))


def test_a_state_is_refused_where_it_does_not_fit(data, tmp_path):
    handler = DataHandlerLP(data, **steps(), **FIT)
    path = tmp_path / "state.json"
    handler.save(path)
    with pytest.raises(ValueError, match=r"process_type: held by state\.json"):
        DataHandlerLP.load(path, data, process_type="append")
    path.write_text(json.dumps({**handler.state(), "format": 9}))
    with pytest.raises(ValueError, match="format 9, expected 1"):
        DataHandlerLP.load(path, data)
    with pytest.raises(RuntimeError, match="ZScoreNorm is not fitted"):
        DataHandlerLP(data, **steps(), **FIT, init_type="load_state")


class Centred(Processor):
    """A processor of one's own, which reads another group than it names."""

    def __init__(self, fields_group="label"):
        self.fields_group = fields_group

    def __call__(self, df):
        out = df.copy()
        out[("label", "LABEL0")] = df[("label", "LABEL0")] - df[("feature", "NORMAL")]
        return out.iloc[::2]


def test_a_processor_of_ones_own_sees_the_whole_frame(data):
    handler = DataHandlerLP(data, learn_processors=[Centred(), DropnaLabel()])
    want = DropnaLabel()(Centred()(data))
    pd.testing.assert_frame_equal(handler.fetch(col_set="__raw", data_key="learn"), want)


def test_the_handlers_window_and_semantics_reach_the_steps(data):
    handler = DataHandlerLP(data, **steps(), **FIT, semantics="qlib")
    fitted = [p for p in handler.get_all_processors() if hasattr(p, "fit_end_time")]
    assert {p.fit_end_time for p in fitted} == {pd.Timestamp("2020-02-14")}
    assert {p.semantics for p in fitted} == {"qlib"}
    own = step("MinMaxNorm", fields_group="feature", semantics="strict", **FIT)
    handler = DataHandlerLP(data, infer_processors=[own], semantics="qlib")
    assert isinstance(handler.infer_processors[0], MinMaxNorm)
    assert handler.infer_processors[0].semantics == "strict"
    given = ZScoreNorm(*FIT.values(), "feature")
    assert DataHandlerLP(data, infer_processors=[given]).infer_processors[0] is given


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"process_type": "apend"}, ValueError, r"process_type is 'apend'.*mean 'append'"),
        ({"init_type": "fit"}, ValueError, r"init_type is 'fit', expected one of 'fit_seq'"),
        ({"semantics": "strct"}, ValueError, r"semantics is 'strct'.*mean 'strict'"),
        ({"infer_processors": ["DropnaLabel"]}, TypeError, r"move it from infer_processors"),
        ({"shared_processors": [DropnaLabel()]}, TypeError, r"move it from shared_processors"),
        ({"infer_processors": ["Filna"]}, KeyError, r"'Filna' .*did you mean 'Fillna'"),
        ({"infer_processors": "Fillna"}, TypeError, r"is 'Fillna', expected a list"),
        ({"infer_processors": [3]}, TypeError, r"holds 3, expected a processor or a mapping"),
        ({"infer_processors": ["Fillna"]}, ValueError, r"the label included"),  # Q14
        (
            {"infer_processors": [{"class": "Fillna", "module_path": "os"}]},
            TypeError,
            r"a class of your own: give an instance",
        ),
        (
            {"infer_processors": [step("ZScoreNorm", fields_group="feature")]},
            ValueError,
            r"ZScoreNorm is fitted: give the handler fit_start_time and fit_end_time",
        ),
        (
            {
                "infer_processors": [step("ZScoreNorm", fields_group="feature", **FIT)],
                "fit_end_time": "2020-03-01",
            },
            ValueError,
            r"fit_end_time=2020-02-14 and the handler 2020-03-01: state it once",
        ),
        (
            {"infer_processors": [step("Fillna", fields_group="featur")]},
            KeyError,
            r"group 'featur', the frame has \['feature', 'label', 'keep'\]; did you mean 'feature'",
        ),
        (  # Q24
            {"infer_processors": [step("FilterCol", col_list=["NORMA", "TIES"])]},
            KeyError,
            r"'NORMA'; did you mean 'NORMAL'",
        ),
    ],
)
def test_errors_of_the_constructor(kwargs, error, message, data):
    with pytest.raises(error, match=message):
        DataHandlerLP(data, **kwargs)


def test_errors_of_the_frame(data):
    with pytest.raises(ValueError, match=r"expected two-level columns \(group, name\)"):
        DataHandlerLP(data["feature"])
    with pytest.raises(ValueError, match="rows are repeated, the first is"):
        DataHandlerLP(pd.concat([data, data.iloc[:1]]))
    with pytest.raises(ValueError, match=r"columns .*LABEL0.* are repeated"):
        DataHandlerLP(pd.concat([data, data[["label"]]], axis=1))
    with pytest.raises(ValueError, match="levels 'datetime' and 'instrument'"):
        DataHandlerLP(data.reset_index(drop=True))
    with pytest.raises(TypeError, match="data is list, expected a pandas DataFrame"):
        DataHandlerLP([1])
    with pytest.raises(TypeError, match=r"no settings \['start_time'\]"):
        DataHandlerLP(data).config(start_time="2020-01-01")


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"data_key": "lern"}, KeyError, "expected 'raw', 'infer' or 'learn'; did you mean"),
        ({"col_set": "lable"}, KeyError, "no column group 'lable'.*did you mean 'label'"),
        ({"col_set": [("feature", "NORMA")]}, KeyError, "did you mean 'NORMAL'"),
        ({"col_set": []}, ValueError, "expected a group or more"),
        ({"selector": "2020-02-01"}, KeyError, "no session 2020-02-01 among 60, they span"),
        ({"selector": pd.DatetimeIndex(["2020-02-01"])}, KeyError, "no session 2020-02-01"),
        ({"selector": "I33", "level": "instrument"}, KeyError, "'I33' among 9; did you mean"),
        ({"selector": 3}, TypeError, "3 is no date"),
        ({"selector": slice(None, None, 2)}, ValueError, "a slice with step 2"),
        ({"selector": "I3", "level": "name"}, ValueError, "level is 'name', expected"),
    ],
)
def test_errors_of_fetch(kwargs, error, message, data):
    with pytest.raises(error, match=message):
        DataHandlerLP(data).fetch(**kwargs)
