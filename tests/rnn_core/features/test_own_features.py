"""Feature functions beside expressions. Oracle: the same feature written as an expression."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pandas as pd
import pytest

from rnn_core.data import Alpha158, Panel
from rnn_core.features import FeatureSet, compute_features, compute_set, load_feature_set, set_panel
from rnn_core.features.own_features import FeatureFunction, origins
from rnn_core.features.reach import reach_problems

FUNCTIONS = '''
import numpy as np


class Momentum:
    fields = ("close",)
    look_back = 2

    def __call__(self, panel):
        close = panel.fields["close"]
        out = np.full(close.shape, np.nan)
        out[:, 2:] = close[:, 2:] / close[:, :-2] - 1
        return out


class Rank:
    """The place of the volume among the names of its session: across instruments."""

    fields = ("volume",)
    look_back = 0

    def __call__(self, panel):
        volume = panel.fields["volume"]
        return (volume[:, None] > volume[None]).sum(axis=1).astype("float32")


class Peeks(Momentum):
    def __call__(self, panel):
        close = panel.fields["close"]
        out = np.full(close.shape, np.nan)
        out[:, :-1] = close[:, 1:] / close[:, :-1] - 1
        return out


class Scaled(Momentum):
    """Divides by the mean over all sessions, the later ones among them."""

    def __call__(self, panel):
        close = panel.fields["close"]
        return close / np.nanmean(close, axis=1, keepdims=True)


class Further(Momentum):
    look_back = 1


class Cumulated(Momentum):
    def __call__(self, panel):
        return np.cumsum(np.nan_to_num(panel.fields["close"]), axis=1)


class Chance(Momentum):
    def __call__(self, panel):
        return np.random.default_rng().normal(size=panel.shape)


class Undeclared(Momentum):
    def __call__(self, panel):
        return panel.fields["close"] / panel.fields["open"]


class Writes(Momentum):
    def __call__(self, panel):
        panel.fields["close"][:] = 0.0
        return panel.fields["close"]


class Turned(Momentum):
    def __call__(self, panel):
        return super().__call__(panel).T


class Infinite(Momentum):
    def __call__(self, panel):
        return panel.fields["close"] / 0.0


class NoFields:
    look_back = 1

    def __call__(self, panel):
        return panel


class OneField(NoFields):
    fields = "close"


class Backwards(Momentum):
    look_back = -1


class NotCalled:
    fields, look_back = ("close",), 1


class TwoArguments(Momentum):
    def __call__(self, panel, window):
        return panel


class NeedsArguments(Momentum):
    def __init__(self, window):
        self.window = window


def gap(panel):
    return panel.fields["open"] / panel.fields["close"]


gap.fields, gap.look_back = ("open", "close"), 0
CONSTANT = 3
'''


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of somebody else's, on the path; its modules are forgotten afterwards."""
    (tmp_path / "ownfeats.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("ownfeats", None)


def bars(sessions=30, names=5, seed=1):
    """Random walks with suspended names."""
    rng = np.random.default_rng(seed)
    days = pd.bdate_range("2020-01-01", periods=sessions)
    rows = pd.DataFrame(
        [(day, f"S{k}") for day in days for k in range(names)], columns=["date", "instrument"]
    )
    rows["close"] = np.exp(rng.normal(3.0, 0.1, len(rows)))
    rows["open"] = rows["close"] * rng.uniform(0.98, 1.02, len(rows))
    rows["volume"] = rng.integers(1_000, 9_000, len(rows)).astype(float)
    return rows[rng.random(len(rows)) > 0.1]


@pytest.mark.parametrize("semantics", ["strict", "qlib"])
def test_a_function_stands_where_an_expression_does(package, semantics):
    """Values, order and frame; oracle: the expressions."""
    texts = {
        "GAP": "ownfeats:gap",
        "RET": "$close/Ref($close, 1) - 1",
        "MOM": "ownfeats:Momentum",
        "VOL": "Log($volume)",
    }
    features = FeatureSet(texts)
    assert features.names == tuple(texts)
    assert features.fields == {"open", "close", "volume"}
    assert (features.look_back, features.look_ahead) == (2, 0)
    plain = FeatureSet(
        {**texts, "GAP": "$open/$close", "MOM": "$close/Ref($close, 2) - 1"}
    )  # fmt: skip
    panel = Panel.from_frame(bars())
    got = set_panel(panel, features, semantics=semantics)
    expected = set_panel(panel, plain, semantics=semantics)
    np.testing.assert_allclose(got[:, panel.present], expected[:, panel.present], atol=1e-6)
    assert np.isnan(got[:, ~panel.present][[0, 2]]).all()
    frame = compute_set(bars(), features, semantics=semantics, threads=2)
    pd.testing.assert_frame_equal(
        frame, panel.to_frame(got, features.names), check_exact=True
    )  # fmt: skip
    pd.testing.assert_frame_equal(compute_features(bars(), texts, semantics=semantics), frame)
    only = compute_set(bars(), FeatureSet({"MOM": "ownfeats:Momentum"}), semantics=semantics)
    pd.testing.assert_frame_equal(only, frame[["MOM"]])


def test_a_function_sees_all_instruments_in_a_handler(package):
    """Oracle: the ranks of pandas within each session, whatever chunks the frame is made in."""
    rows = bars()
    features = FeatureSet({"RANK": "ownfeats:Rank", "RET": "$close/Ref($close, 1) - 1"})
    handler = Alpha158(bars=rows, feature_set=features, label="Ref($close, -1)/$close - 1")
    got = handler.fetch(col_set="feature")["RANK"]
    expected = rows.groupby("date")["volume"].rank(method="min") - 1
    index = pd.MultiIndex.from_frame(rows[["date", "instrument"]])
    expected.index = index.set_names(["datetime", "instrument"])
    pd.testing.assert_series_equal(
        got.sort_index(), expected.sort_index(), check_dtype=False, check_names=False
    )


def test_a_set_file_names_functions(package, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("features:\n  MOM: ownfeats:Momentum\n  RET: $close/Ref($close, 1) - 1\n")
    features = load_feature_set(path)
    assert dict(features) == {"MOM": "ownfeats:Momentum", "RET": "$close/Ref($close, 1) - 1"}
    assert isinstance(features.nodes[0].function, FeatureFunction)
    code = origins(features.values())
    assert list(code) == ["ownfeats:Momentum"]
    assert code["ownfeats:Momentum"]["module"] == "ownfeats"
    # Other code is another origin.
    source = package / "ownfeats.py"
    source.write_text(source.read_text() + "\n# changed\n")
    FeatureSet({"MOM": "ownfeats:Momentum"})
    assert origins(features.values()) != code


def test_what_is_stored_imports_nothing(package):
    """The state of a handler names its functions; only a configuration makes them known."""
    features = FeatureSet({"GAP": "ownfeats:gap"})
    handler = Alpha158(bars=bars(), feature_set=features, label="Ref($close, -1)/$close - 1")
    state = handler.state()
    assert Alpha158._settings(state)["feature_set"] == features
    state["features"] = [["GAP", "elsewhere:gap"]]
    with pytest.raises(ValueError, match=r"call rnn_core\.features\.own_feature"):
        Alpha158._settings(state)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("absent:Momentum", "A: cannot import absent for 'absent:Momentum'"),
        ("ownfeats:Momentm", "nothing under the name 'Momentm', expected a class or a function"),
        ("ownfeats:CONSTANT", "ownfeats has int under the name 'CONSTANT'"),
        ("ownfeats:NoFields", r"has fields = None, expected the names of the fields"),
        ("ownfeats:OneField", r"has fields = 'close', expected the names"),
        ("ownfeats:Backwards", "has look_back = -1, expected a whole number of sessions from 0"),
        ("ownfeats:NotCalled", "ownfeats:NotCalled cannot be called"),
        ("ownfeats:TwoArguments", "cannot be called with a panel alone: missing a required arg"),
        ("ownfeats:NeedsArguments", "cannot be made: TypeError.*a class without arguments"),
    ],
)
def test_the_contract_is_checked_when_the_set_is_read(package, name, told):
    with pytest.raises(ValueError, match=f"mine: .*{told}"):
        FeatureSet({"A": name}, name="mine")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "Undeclared",
            r"failed: KeyError: 'open'; a field that it reads belongs into",
        ),
        ("Writes", "failed: ValueError: assignment destination is read-only"),
        ("Turned", r"gave float64 \(30, 5\), expected a float32 or float64 array \(5, 30\)"),
    ],
)
def test_a_function_that_breaks_its_contract_is_named(package, name, told):
    features = FeatureSet({"A": f"ownfeats:{name}"})
    with pytest.raises(ValueError, match=f"ownfeats:{name} {told}"):
        set_panel(Panel.from_frame(bars()), features)


def test_an_infinity_is_missing_in_strict_semantics(package):
    features = FeatureSet({"A": "ownfeats:Infinite"})
    with np.errstate(divide="ignore"):
        assert np.isnan(set_panel(Panel.from_frame(bars()), features)).all()


@pytest.mark.parametrize("name", ["Momentum", "Rank", "gap"])
def test_a_function_that_keeps_its_word_passes(package, name):
    features = FeatureSet({"A": f"ownfeats:{name}", "B": "Ref($close, 1)"})
    assert reach_problems(features) == []


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("Peeks", r"looks ahead: its value of S\d\d on 2020-\d\d-\d\d is nan when \2020"),
        ("Scaled", r"looks ahead: its value of S\d\d on 2020-\d\d-\d\d is [\d.]+ when"),
        ("Further", r"says look_back = 1 and reads further: its value of S\d\d on 2020-"),
        ("Cumulated", "says look_back = 2 and reads further"),
        ("Chance", "gives other values when it is called again"),
    ],
)
def test_a_function_that_reads_too_far_is_caught(package, name, told):
    """The planted faults, each named with a session and an instrument."""
    (problem,) = reach_problems(FeatureSet({"A": f"ownfeats:{name}", "B": "ownfeats:gap"}))
    assert problem.startswith(f"A: ownfeats:{name} ")
    told = told.replace(r"\2020", "2020")
    assert pd.Series([problem]).str.contains(told).all(), problem


def test_the_value_that_looks_ahead_is_of_the_day_before_the_cut(package):
    """Oracle: a function that reads one session ahead differs on the last session alone."""
    (problem,) = reach_problems(FeatureSet({"A": "ownfeats:Peeks"}))
    day = problem.split(" on ")[1].split(" is ")[0]
    assert f"when {day} is the last session" in problem
