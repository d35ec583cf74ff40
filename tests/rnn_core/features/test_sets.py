"""Feature sets. Oracle: names and expressions that pyqlib generated (tests/fixtures/make_sets.py).

Expressions are compared as parsed nodes: spaces do not count. Values are compared with those of
the expressions one by one, which test_operators_* hold to their own oracles.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from rnn_core.features import (
    ALPHA158_EXPRESSIONS,
    ALPHA158_LABEL,
    ALPHA158_LOOK_BACK,
    ALPHA158_NAMES,
    ALPHA158VWAP_LABEL,
    ALPHA360_NAMES,
    ExpressionError,
    FeatureSet,
    alpha158_set,
    alpha360,
    alpha360_panel,
    alpha360_set,
    compute_features,
    compute_set,
    load_feature_set,
    parse,
    set_panel,
)
from rnn_core.panel.panel import Panel

RECORDED: dict[str, Any] = json.loads(
    (Path(__file__).resolve().parents[2] / "fixtures" / "sets.json").read_text()
)


def groups(config: dict[str, Any]) -> dict[str, Any]:
    """qlib's configuration, where a group left out is off, as keyword arguments."""
    return {group: config.get(group) for group in ("kbar", "price", "volume", "rolling")}


def same(ours: FeatureSet, recorded: dict[str, list[str]]) -> None:
    assert list(ours.names) == recorded["names"]
    for name, node, text in zip(ours.names, ours.nodes, recorded["expressions"], strict=True):
        assert node == parse(text), name


@pytest.mark.parametrize("recorded", RECORDED["alpha158"], ids=lambda r: json.dumps(r["config"]))
def test_alpha158_has_pyqlibs_names_order_and_formulas(recorded: dict[str, Any]) -> None:
    same(alpha158_set(**groups(recorded["config"])), recorded)


def test_the_default_is_the_handlers() -> None:
    ours = alpha158_set()
    same(ours, RECORDED["alpha158"][0])
    assert dict(ours) == dict(ALPHA158_EXPRESSIONS)
    assert ours.names == ALPHA158_NAMES
    assert (ours.look_back, ours.look_ahead) == (ALPHA158_LOOK_BACK, 0)
    assert ours.fields == {"open", "high", "low", "close", "volume", "vwap"}


def test_alpha360_has_pyqlibs_names_order_and_formulas() -> None:
    same(alpha360_set(), RECORDED["alpha360"])
    assert alpha360_set().names == ALPHA360_NAMES
    assert (alpha360_set().look_back, alpha360_set().look_ahead) == (59, 0)


@pytest.mark.parametrize(
    ("handler", "label"),
    [
        ("Alpha158", ALPHA158_LABEL),
        ("Alpha360", ALPHA158_LABEL),
        ("Alpha158vwap", ALPHA158VWAP_LABEL),
        ("Alpha360vwap", ALPHA158VWAP_LABEL),
    ],
)
def test_labels_are_pyqlibs(handler: str, label: tuple[str, str]) -> None:
    same(FeatureSet([label]), RECORDED["labels"][handler])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kbar": {"windows": [1]}}, "kbar has no option 'windows'; it has none"),
        ({"price": {"window": [1]}}, "price has no option 'window'; did you mean 'windows'"),
        ({"price": {"windows": [0, -1]}}, "price.windows holds -1.*from 0 on; a negative lag"),
        ({"price": {"feature": ["VWPA"]}}, "price.feature has no 'VWPA'; did you mean 'VWAP'"),
        ({"price": {"feature": ["open", "OPEN"]}}, "price.feature lists 'OPEN' twice"),
        ({"volume": {"windows": 5}}, "volume.windows is 5, expected a list"),
        ({"rolling": {"windows": [5, 0]}}, "rolling.windows holds 0.*from 1 on$"),
        ({"rolling": {"windows": [2.5]}}, "rolling.windows holds 2.5, expected whole numbers"),
        ({"rolling": {"windows": [True]}}, "rolling.windows holds True, expected whole numbers"),
        ({"rolling": {"windows": [5, 5]}}, "rolling.windows lists 5 twice"),
        ({"rolling": {"include": ["MIN"]}}, "no 'MIN': qlib's switch of MIN5, .* is 'LOW'"),
        ({"rolling": {"exclude": ["RSQ"]}}, "rolling.exclude has no 'RSQ'; did you mean 'RSQR'"),
        ({"rolling": {"include": ["?"]}}, "rolling.include has no '\\?'; known: ROC, MA, "),
        ({"rolling": {"include": "ROC"}}, "rolling.include is 'ROC', expected a list"),
        ({"rolling": 5}, "rolling is 5, expected true, false or a mapping"),
        ({"kbar": False, "price": None, "rolling": False}, "Alpha158 holds no feature"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        alpha158_set(**options)


def test_a_set_is_an_ordered_mapping_that_knows_its_reach() -> None:
    pairs = [("b", "Ref($close, 3)/$vwap"), ("a", "Ref($open, -2)"), ("c", "$close")]
    ours = FeatureSet(pairs)
    assert list(ours.items()) == pairs
    assert (ours.look_back, ours.look_ahead) == (3, 2)
    assert ours.fields == {"close", "open", "vwap"}
    assert ours == FeatureSet(dict(pairs)) != FeatureSet(pairs[::-1])
    assert {ours: 1}[FeatureSet(pairs)] == 1
    assert ours.without_field("vwap").names == ("a", "c")
    assert ours.without_field("amount") is ours
    with pytest.raises(ValueError, match=r"every feature reads \$close, so none is left"):
        FeatureSet([("c", "$close")]).without_field("close")
    with pytest.raises(KeyError, match="no feature 'KMIDD'; did you mean 'KMID'"):
        alpha158_set()["KMIDD"]


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("$close", None),
        ("Mean($close, 0.3) + EMA($close, 5) + Sum($close, 0)", None),
        ("Quantile(Std($close, 9), 20, 0.5)", 9),
        ("Ref($close, 2) - Corr($close, Mean($volume, 30), 12)", 12),
    ],
)
def test_the_shortest_window(text: str, length: int | None) -> None:
    assert FeatureSet({"a": text}).shortest_window == length
    assert alpha158_set().shortest_window == 5


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([], "holds no feature"),
        ([("a", "$close"), ("a", "$open")], "a is given twice"),
        ([("a", 5)], "a is 5, expected the text of an expression"),
        ([(True, "$close")], "True is no name of a feature"),
        ([(" ", "$close")], "' ' is no name of a feature"),
    ],
)
def test_wrong_features_are_named(pairs: list[tuple[Any, Any]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FeatureSet(pairs)


def test_sets_are_read_by_name_from_a_mapping_and_from_a_file(tmp_path: Path) -> None:
    assert load_feature_set("alpha158") == load_feature_set({"set": "alpha158"}) == alpha158_set()
    assert load_feature_set("alpha360") == alpha360_set()
    file = tmp_path / "mine.yaml"
    file.write_text(
        "set: alpha158\n"
        "kbar: false\n"
        "price: false\n"
        "rolling: {windows: [5, 10], include: [LOW, ROC]}\n"
        "features:\n"
        '  GAP: "$open/Ref($close, 1)-1"\n'
        "  ABOVE: $close/Mean($close, 20)\n"
    )
    ours = load_feature_set(file)
    assert ours.names == ("ROC5", "ROC10", "MIN5", "MIN10", "GAP", "ABOVE")
    assert ours["GAP"] == "$open/Ref($close, 1)-1"
    assert load_feature_set(str(file)) == ours
    assert load_feature_set({"features": {"b": "$open", "a": "$low"}}).names == ("b", "a")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sett: alpha158", "unknown key 'sett'; did you mean 'set'"),
        ("set: alpha185", "no feature set 'alpha185'; did you mean 'alpha158'"),
        ("set: alpha158\nrolling: {windows: [0]}", "rolling.windows holds 0"),
        ("set: alpha360\nrolling: {}", "rolling configure the set alpha158, and `set` is 'alpha"),
        ("volume: {}", "volume configure the set alpha158, and `set` is not given"),
        ("{}", "neither `set` .alpha158 or alpha360. nor `features`"),
        ("features: {}", "features holds no feature"),
        ("features: [$close]", "features: expected names with expressions"),
        ("- alpha158", "expected a mapping with `set` or `features`"),
        ("features: {a: $close, a: $open}", "the key 'a' is written twice"),
        ("features: {NO: $close}", "False is no name of a feature.*quotation marks"),
        ("features: {a: 5}", "a is 5, expected the text of an expression: .*quotation marks"),
        ("set: alpha158\nfeatures: {ROC5: $close}", "ROC5 is a feature of alpha158 already"),
        ("features: [", "is not valid YAML"),
    ],
)
def test_a_wrong_file_is_named(tmp_path: Path, content: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(content)
    with pytest.raises(ValueError, match=rf"(?s)mine\.yaml.*{message}"):
        load_feature_set(file)


def test_a_wrong_expression_is_named_with_its_file_and_place(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text('features:\n  GAP: "$open/Reff($close, 1)"\n')
    with pytest.raises(ExpressionError) as caught:
        load_feature_set(file)
    first, text, caret = str(caught.value).splitlines()
    assert first == f"{file}: features: GAP: unknown operator `Reff`; did you mean `Ref`?"
    assert text[caret.index("^") :] == "Reff($close, 1)"


def test_neither_a_name_nor_a_file() -> None:
    with pytest.raises(ValueError, match=r"no feature set 'alpha159'; did you mean 'alpha158'"):
        load_feature_set("alpha159")
    with pytest.raises(FileNotFoundError, match=r"nowhere\.yaml"):
        load_feature_set("nowhere.yaml")


@pytest.mark.parametrize("semantics", ["strict", "qlib"])
def test_a_set_is_computed_as_its_expressions(gapped_market, same_bits, semantics) -> None:
    panel = gapped_market(2, sessions=40)
    ours = load_feature_set({"features": {"m": "Mean($close, 5)", "v": "Std($volume, 9)/$close"}})
    frame = compute_set(panel, ours, semantics=semantics, threads=1)
    expected = compute_features(panel, ours.items(), semantics=semantics)
    pd.testing.assert_frame_equal(frame, expected)
    out = np.full((2, *panel.shape), 7, dtype=np.float32)
    assert set_panel(panel, ours, semantics=semantics, out=out) is out
    assert same_bits(out, set_panel(panel, ours, semantics=semantics))


def test_min_periods_and_fields_are_checked(gapped_market) -> None:
    panel = gapped_market(2, sessions=40, gap_share=0.0, holes=0.0)
    ours = FeatureSet({"m": "Mean($close, 5)"}, name="mine")
    whole = set_panel(panel, ours)
    late = set_panel(panel, ours, min_periods=5)
    assert np.isnan(late[0, 0]).sum() > np.isnan(whole[0, 0]).sum()
    fields = {k: v for k, v in panel.fields.items() if k != "close"}
    lacking = Panel(panel.sessions, panel.instruments, fields, panel.present)
    with pytest.raises(ValueError, match=r"mine needs the fields \['close'\], the panel has"):
        set_panel(lacking, ours)
    with pytest.raises(ValueError, match=r"`out` is float64 .* expected a C-contiguous float32"):
        set_panel(panel, ours, out=np.empty((1, *panel.shape)))


def test_alpha360_divides_by_the_present_bar(gapped_market) -> None:
    """The newest close over itself is 1, and CLOSE3 is the close of three sessions ago."""
    panel = gapped_market(3, sessions=70, gap_share=0.0, holes=0.0)
    values = alpha360_panel(panel)  # [360, N, T]
    frame = alpha360(panel.to_frame(np.stack(list(panel.fields.values())), list(panel.fields)))
    assert list(frame.columns) == list(ALPHA360_NAMES)
    close = panel.fields["close"]
    there = panel.present[:, 3:] & panel.present[:, :-3]
    expected = (close[:, :-3] / close[:, 3:]).astype(np.float32)
    got = values[ALPHA360_NAMES.index("CLOSE3")][:, 3:]
    np.testing.assert_array_equal(got[there], expected[there])
    assert (values[ALPHA360_NAMES.index("CLOSE0")][panel.present] == 1.0).all()
    pd.testing.assert_frame_equal(frame, panel.to_frame(values, ALPHA360_NAMES))
