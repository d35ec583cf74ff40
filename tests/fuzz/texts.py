"""Targets that are texts: expressions, the YAML of a market, of qlib and of Dagster, arguments."""

from __future__ import annotations

import copy
import datetime as dt
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from hypothesis import strategies as st

from pipelines.config.loader import load_config
from pipelines.errors import ConfigError
from pipelines.instance.settings import complete_settings, shipped_settings
from rnn_core.data import TSDataSampler
from rnn_core.features import ExpressionError, parse
from rnn_core.features.evaluate import evaluate_frame
from rnn_core.features.operators import OPERATORS
from rnn_core.panel.panel import Panel
from rnn_core.workflow.problems import WorkflowError
from rnn_core.workflow.read import read_workflow
from rnn_core.workflow.yaml_document import load_document
from tests.fuzz.harness import ROOT, Target, raised_by_the_project, refusal

Inputs = st.SearchStrategy[Any]

ODD = (
    *(None, True, False, 0, -1, 1, 2, 3, 60, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**9),
    *(0.5, -0.0, 1e308, 1e-320, math.inf, -math.inf, math.nan),
    *("", " ", "yes", "1", "1e-3", "x" * 5_000, "\0", "a\u202eb", "\x1b[2J", "\ud7ff", "~", "a:b"),
    *("../../etc/passwd", "/", "no.such.module:Name", "${HOME}", "$close", "Ref($close, -1)"),
    *("Mean($close, 1000000000)", "2024-13-01", "2024-01-02", "LSTM", "strict", "*", "s3://b/k"),
    *(dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(2012, 2, 29), dt.datetime(2012, 1, 1)),
    *([], {}, [[]], {"a": 1}, {"class": "Fillna"}, [None], ["Fillna"], {"kwargs": {}}, {1: 2}),
)
"""Values that somebody may write where another is expected."""
_PIECES = (
    "&a ",
    "*a",
    "<<: *a",
    "- ",
    "? ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    "|",
    ">",
    "'",
    '"',
    "!!int ",
)
_PIECES = (
    *_PIECES,
    "!!python/name:os.system ",
    "\n",
    "\t",
    "---\n",
    "%YAML 1.1\n",
    "\0",
    "\ufeff",
    "#",
)


@st.composite
def edited(draw: st.DrawFn, base: str, pieces: tuple[str, ...] = _PIECES) -> str:
    """A text with a few places changed."""
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(base)))
        to = min(len(base), at + draw(st.integers(0, 40)))
        piece = draw(st.sampled_from(pieces) | st.text(max_size=6) | st.just(base[at:to]))
        base = base[:at] + piece + base[draw(st.sampled_from([at, to])) :]
    return base


def _paths(tree: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = (
        tree.items()
        if isinstance(tree, dict)
        else enumerate(tree)
        if isinstance(tree, list)
        else ()
    )
    for key, value in items:
        yield (*at, key)
        yield from _paths(value, (*at, key))


_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


@cache
def tree_of(text: str) -> Any:
    """The values of a right YAML, read fast."""
    return yaml.load(text, _LOADER)  # noqa: S506 - a safe loader


@st.composite
def changed(draw: st.DrawFn, text: str) -> str:
    """A YAML with a few values exchanged, taken out or added."""
    tree = copy.deepcopy(tree_of(text))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(_paths(tree)) or [()]))
        if not path:
            break
        place = tree
        for key in path[:-1]:
            place = place[key]
        value = copy.deepcopy(
            draw(st.sampled_from(ODD) | st.integers() | st.floats() | st.text(max_size=8))
        )
        how = draw(st.sampled_from(["exchange", "exchange", "exchange", "remove", "add", "wrap"]))
        if how == "remove":
            del place[path[-1]]
        elif how == "add" and isinstance(place, dict):
            place[
                draw(st.text(max_size=8) | st.sampled_from([1, None, True, "extra", "kwargs"]))
            ] = value
        else:
            place[path[-1]] = [place[path[-1]]] if how == "wrap" else value
    options = {"sort_keys": False, "allow_unicode": draw(st.booleans())}
    try:
        return yaml.dump(tree, Dumper=_DUMPER, **options)
    except yaml.YAMLError:  # half a surrogate, which C refuses to write
        return yaml.safe_dump(tree, **options)


# --- expressions -----------------------------------------------------------------------------

_WORDS = (*OPERATORS, "$close", "$volume", "$a", "1", "0", "-3", "5", "0.5", "1e400", "10", "60")
_WORDS = (
    *_WORDS,
    "(",
    ")",
    ",",
    "+",
    "-",
    "*",
    "/",
    "**",
    "&",
    "|",
    ">",
    "==",
    "'A'",
    " ",
    "\n",
    "$$a",
)
_FIELD = st.sampled_from(["$close", "$volume", "$open"])
_NUMBER = st.sampled_from(
    ["1", "0", "2", "5", "20", "-1", "-2", "0.5", "1e-12", "100000", "1e9", "1e308"]
)


def _calls(below: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    def call(name: str) -> st.SearchStrategy[str]:
        kinds = OPERATORS[name].arguments
        parts = [_FITTING.get(kind, below | below | _NUMBER) for kind in kinds]
        if name in ("If", "And", "Or", "Not"):
            parts[0] = st.tuples(below, below).map("({0[0]} > {0[1]})".format)
        return st.tuples(*parts).map(lambda given: f"{name}({', '.join(given)})")

    infix = st.tuples(below, st.sampled_from(["+", "-", "*", "/", "**", ">", "&"]), below | _NUMBER)
    return st.sampled_from(sorted(OPERATORS)).flatmap(call) | infix.map(
        "({0[0]} {0[1]} {0[2]})".format
    )


_FITTING = dict.fromkeys(("sessions", "window", "decay"), _NUMBER)
_FITTING |= {"share": st.sampled_from(["0", "0.2", "1", "2"]), "instrument": st.just("'A'")}


def _expressions() -> Inputs:
    whole = st.recursive(_FIELD, _calls, max_leaves=8)
    words = st.lists(st.sampled_from(_WORDS), max_size=30).map("".join)
    return (
        whole
        | whole
        | words
        | st.text(max_size=40)
        | whole.flatmap(lambda text: edited(text, _WORDS))
    )


@cache
def _panel() -> Panel:
    rng, shape = np.random.default_rng(0), (3, 40)
    present = rng.random(shape) > 0.1
    fields = {
        n: np.where(present, rng.lognormal(size=shape), np.nan) for n in ("open", "close", "volume")
    }
    days = pd.bdate_range("2020-01-01", periods=40, name="datetime")
    return Panel(days, pd.Index(list("ABC"), name="instrument"), fields, present)


def _check_expression(text: str, _folder: Path) -> None:
    try:
        node = parse(text)
    except ExpressionError as error:
        assert 0 <= error.at <= len(text)
        assert text[:20].split("\n", 1)[0] in str(error) or "\n" in text
        return
    assert parse(str(node)) == node
    assert node.look_back >= 0
    assert node.look_ahead >= 0
    whole = _panel()
    if not node.fields <= whole.fields.keys():
        return
    with refusal(ExpressionError, ValueError):
        values = evaluate_frame(whole, [node], ["X"])["X"]
        assert not np.isinf(values).any()
        # A value is that of the sessions that the expression says it reads, and of no later one.
        last = 30
        head = Panel(
            whole.sessions[:last],
            whole.instruments,
            {n: np.ascontiguousarray(x[:, :last]) for n, x in whole.fields.items()},
            np.ascontiguousarray(whole.present[:, :last]),
        )
        part = evaluate_frame(head, [node], ["X"])["X"]
        known = part[
            part.index.get_level_values(0) < whole.sessions[max(0, last - node.look_ahead)]
        ]
        pd.testing.assert_series_equal(known, values.reindex(known.index), check_exact=True)


# --- YAML ------------------------------------------------------------------------------------


_SHIPPED = ROOT / "pipelines" / "config" / "shipped"
_BENCHMARKS = ROOT / "tests" / "fixtures" / "workflow"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def _yamls(folder: Path) -> Inputs:
    one = st.sampled_from([_text(path) for path in sorted(folder.glob("*.yaml"))])
    return one.flatmap(changed) | one.flatmap(changed) | one.flatmap(edited)


def _markets() -> Inputs:
    return _yamls(_SHIPPED)


def _bounded(value: Any, at: str) -> None:
    """Every number of a market is one that the machine can hold."""
    if isinstance(value, dict):
        for key, below in value.items():
            _bounded(below, f"{at}.{key}")
    elif isinstance(value, list | tuple):
        for below in value:
            _bounded(below, at)
    elif isinstance(value, int):
        assert abs(value) < 2**63, f"{at}: {value} is accepted"
    elif isinstance(value, float):
        assert math.isfinite(value), f"{at}: {value} is accepted"


def _check_market(text: str, folder: Path) -> None:
    path = folder / "market.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with refusal(ConfigError, naming="market.yaml"):
        config = load_config(path)
        _bounded(config.model_dump(), "")
        assert config.name.isidentifier()
        assert config.training.window_sessions > config.training.valid_sessions
        assert config.dataset_specs


def _workflows() -> Inputs:
    return _yamls(_BENCHMARKS)


def _check_workflow(text: str, folder: Path) -> None:
    path = folder / "workflow.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with refusal(WorkflowError, naming="workflow.yaml"):
        spec = read_workflow(load_document(path))
        assert spec.model.name in ("LSTM", "GRU", "KRNN")


def _settings() -> Inputs:
    text = shipped_settings(Path("/home"))
    return st.just(text).flatmap(changed) | st.just(text).flatmap(edited)


def _check_settings(text: str, folder: Path) -> None:
    path = folder / "dagster.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with refusal(ConfigError, naming="dagster.yaml"):
        complete_settings(folder)
        assert path.read_bytes().startswith(text.encode("utf-8", "surrogatepass")), (
            "a key was changed"
        )


# --- arguments -------------------------------------------------------------------------------

_SOME = st.sampled_from(
    [*ODD, "float64", "float16", "object", np.float32, np.nan, pd.NaT, pd.Timestamp(0)]
)
_DAYS = st.sampled_from(
    [None, "2020-01-03", "2020", "20200106", pd.Timestamp("2020-01-08"), dt.date(2020, 1, 7)]
)


def _arguments() -> Inputs:
    return st.fixed_dictionaries(
        {
            "start": _DAYS | _SOME,
            "end": _DAYS | _SOME,
            "step_len": st.integers(1, 12) | st.integers(1, 12) | st.integers() | _SOME,
            "fillna_type": st.sampled_from(["none", "ffill", "ffill+bfill"]) | _SOME,
            "dtype": st.sampled_from([None, "float32", np.float64]) | _SOME,
            "flt_data": st.sampled_from(["none", "all", "some", "other", "none"]) | _SOME,
        }
    ).flatmap(lambda given: st.tuples(st.just(given), st.integers(-3, 40) | _SOME, _DAYS | _SOME))


_GOOD = {
    "start": None,
    "end": None,
    "step_len": 3,
    "fillna_type": "ffill",
    "dtype": None,
    "flt_data": None,
}


def _frame() -> pd.DataFrame:
    days = pd.bdate_range("2020-01-01", periods=8)
    index = pd.MultiIndex.from_product([days, ["A", "B"]], names=["datetime", "instrument"])
    return pd.DataFrame({"x": np.arange(16.0), "y": np.nan}, index=index).drop(index[[3, 8]])


def _check_arguments(given: tuple[dict[str, Any], Any, Any], _folder: Path) -> None:
    arguments, number, day = given
    frame = _frame()
    flags = pd.Series(True, index=frame.index)
    masks = {
        "none": None,
        "all": flags,
        "some": flags.where(frame["x"] > 4, False),
        "other": flags[:0],
    }
    mask = arguments["flt_data"]
    arguments = {**arguments, "flt_data": masks.get(mask, mask) if isinstance(mask, str) else mask}
    try:
        sampler = TSDataSampler(frame, **arguments)
        samples, shape = len(sampler), (arguments["step_len"], 2)
        assert len(sampler.get_index()) == samples <= len(frame)
        if samples:
            assert sampler[0].shape == shape
            assert tuple(sampler.batch([0, samples - 1]).shape) == (2, *shape)
        assert sampler[day, "A"].shape == shape
        sampler[number]
    except (ValueError, TypeError, KeyError) as error:
        if not raised_by_the_project(error):
            raise
        assert str(error).strip()


TARGETS = (
    Target("expressions", _expressions, _check_expression, "Mean($close, 5) > Ref($open, 1)"),
    Target("market YAML", _markets, _check_market, _text(_SHIPPED / "sample.yaml")),
    Target("qrun YAML", _workflows, _check_workflow, _text(_BENCHMARKS / "gru_alpha158.yaml")),
    Target("dagster.yaml", _settings, _check_settings, shipped_settings(Path("/home"))),
    Target("sampler arguments", _arguments, _check_arguments, (_GOOD, 0, "2020-01-06")),
)
