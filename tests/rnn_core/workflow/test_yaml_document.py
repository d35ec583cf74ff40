"""A workflow file as text. Oracle: YAML 1.2's core schema, written out by hand."""

from __future__ import annotations

import datetime
import math

import pytest

from rnn_core.workflow import WorkflowError, load_document


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "flow.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return written


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E-3", 0.001),
        ("2e-4", 0.0002),
        ("-1.5e+3", -1500.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", -math.inf),
        ("012", 12),
        ("0o17", 15),
        ("0x1F", 31),
        ("100_000_000", 100000000),
        ("-3", -3),
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("e5", "e5"),
        ("'1e-3'", "1e-3"),
        ("2008-01-01", datetime.date(2008, 1, 1)),
        ("~", None),
        ("", None),
        ("<PRED>", "<PRED>"),
    ],
)
def test_values_are_those_of_yaml_1_2(text, value, write):
    got = load_document(write(f"key: {text}\n")).values["key"]
    assert got == value
    assert type(got) is type(value)


def test_anchors_and_merge_keys(write):
    text = "base: &base {a: 1, b: 2}\none: {<<: *base, b: 3}\ntwo: *base\nplain: 1\n"
    document = load_document(write(text))
    assert document.values["one"] == {"a": 1, "b": 3}
    assert document.values["two"] == {"a": 1, "b": 2}
    assert document.anchored == {"base"}
    assert document.text == text
    assert document.lines[("one", "b")] == 2


def test_an_override_reaches_every_alias(write):
    text = (
        "market: &market csi300\nhold: &h {x: *market, y: [1, {z: 2}]}\ntask: {m: *market, h: *h}"
    )
    path = write(text)
    overrides = ["market=csi500", "task.h.y.1.z=1e-2", "task.new=[2020-01-01]", "task.h.w="]
    document = load_document(path, overrides)
    held = {"x": "csi500", "y": [1, {"z": 0.01}], "w": None}
    new = [datetime.date(2020, 1, 1)]
    assert document.values["task"] == {"m": "csi500", "h": held, "new": new}
    assert document.values["hold"] == held
    assert document.overrides == tuple(overrides)
    assert document.lines[("task", "m")] == 3
    assert ("task", "new", 0) not in document.lines
    assert document.text == text


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("task.model", "expected KEY.KEY=VALUE"),
        ("task..a=1", "expected KEY.KEY=VALUE"),
        ("taks.model=1", r"the file has no taks; did you mean 'task'\?"),
        ("task.list.7=1", "the file has no task.list.7"),
        ("task.a=[1", "the value is not valid YAML"),
    ],
)
def test_an_override_that_names_nothing(override, message, write):
    with pytest.raises(WorkflowError, match=message):
        load_document(write("task: {a: 1, list: [1, 2]}\n"), [override])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\n", "is not valid YAML"),
        ("- a\n", "holds no mapping"),
        ("", "holds no mapping"),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", "line 4: the key 'b' is written twice"),
        ("a: 1\nb: {{ MARKET }}\n", r"line 2: \{\{ is a template, and templates are not rendered"),
        ("a: !!python/object/apply:os.system [ls]\n", "is not valid YAML"),
        ("a: &a [*a]\n", "(?s)is not valid YAML: .*the value of &a refers to itself"),
    ],
)
def test_files_that_are_none(text, message, write):
    with pytest.raises(WorkflowError, match=message):
        load_document(write(text))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(WorkflowError, match=r"no workflow file .*none.yaml: give the path"):
        load_document(tmp_path / "none.yaml")
    (tmp_path / "bytes.yaml").write_bytes(b"a: \xff")
    with pytest.raises(WorkflowError, match="is no UTF-8 text"):
        load_document(tmp_path / "bytes.yaml")
