"""Bounds of a YAML text: what ten lines may mean."""

from __future__ import annotations

import time

import pytest
import yaml

from rnn_core.yaml_text import MAX_CHARACTERS, MAX_DEPTH, BoundedLoader, UniqueKeyLoader, load_yaml


def _bomb(levels: int, width: int, form: str) -> str:
    """A text in which every level names the one before `width` times."""
    lines = ["l0: &l0 [x, y]"] if form == "list" else ["l0: &l0 {a: 1, b: 2}"]
    for n in range(1, levels):
        before = f"*l{n - 1}"
        if form == "list":
            lines.append(f"l{n}: &l{n} [{', '.join([before] * width)}]")
        elif form == "mapping":
            inside = ", ".join(f"k{k}: {before}" for k in range(width))
            lines.append(f"l{n}: &l{n} {{{inside}}}")
        else:
            lines.append(f"l{n}: &l{n} {{<<: [{', '.join([before] * width)}], k{n}: {n}}}")
    return "\n".join(lines)


@pytest.mark.parametrize("form", ["list", "mapping", "merge"])
@pytest.mark.parametrize(("levels", "width"), [(9, 9), (30, 2), (12, 40)])
@pytest.mark.parametrize("loader", [BoundedLoader, UniqueKeyLoader])
def test_aliases_that_multiply(form: str, levels: int, width: int, loader: type) -> None:
    """A billion values in ten lines are refused before any is built."""
    began = time.process_time()
    with pytest.raises(yaml.YAMLError, match=r"stands for more than 200,000 values"):
        load_yaml(_bomb(levels, width, form), loader=loader)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(("open_", "close"), [("[", "]"), ("{a: ", "}"), ("- ", "")])
def test_deep_nesting(open_: str, close: str) -> None:
    depth = 5_000
    with pytest.raises(yaml.YAMLError, match=f"deeper than {MAX_DEPTH}"):
        load_yaml(open_ * depth + "1" + close * depth, loader=BoundedLoader)


@pytest.mark.parametrize("text", ["a: &a [1, *a]", "a: &a {b: {c: *a}}", "&a [*a]"])
def test_a_value_that_holds_itself(text: str) -> None:
    with pytest.raises(yaml.YAMLError, match="refers to itself"):
        load_yaml(text, loader=BoundedLoader)


def test_a_long_text() -> None:
    with pytest.raises(yaml.YAMLError, match="characters"):
        load_yaml("a: " + "x" * MAX_CHARACTERS, loader=BoundedLoader)


def test_keys_that_are_no_names() -> None:
    with pytest.raises(yaml.YAMLError, match="a key is a list"):
        load_yaml("? [a, b]\n: 1")


def test_ordinary_aliases_and_merge_keys() -> None:
    """Sharing is allowed: the mapping's own keys are the stronger."""
    text = "base: &base {lr: 1, hidden: 64}\nlstm: {<<: *base, lr: 2}\nlist: [*base, *base]"
    assert load_yaml(text) == {
        "base": {"lr": 1, "hidden": 64},
        "lstm": {"lr": 2, "hidden": 64},
        "list": [{"lr": 1, "hidden": 64}] * 2,
    }
