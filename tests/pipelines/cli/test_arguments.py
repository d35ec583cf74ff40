"""The command line of every command: misspelt words, repeated options, help without the extras.

Oracle: the words that were typed, and the table of arguments of each command.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli.main import COMMANDS, main, parse

ROOT = Path(__file__).parents[3]
VALUES = {
    "--top": "3",
    "--format": "csv",
    "--port": "4000",
    "--semantics": "strict",
    "--vwap": "typical",
    "--header": "none",
    "--bundles": "3",
    "--days": "30",
}
REQUIRED = {
    "backfill": ["--start", "2020-05-11", "--end", "2020-05-12"],
    "refresh": ["--since", "2020-05-11"],
    "sql": ["FROM latest_signal"],
    "qrun": ["some.yaml"],
    "compare": ["lstm", "gru"],
    "export-qlib": ["folder"],
    "backup": ["folder"],
    "restore": ["folder"],
}


def options(*, switches: bool) -> list[tuple[str, str]]:
    """Every command with every option of it that takes a value, or that takes none."""
    return [
        (name, flag)
        for name, module in COMMANDS.items()
        for flag, settings in module.ARGUMENTS.items()
        if flag.startswith("--") and (settings.get("action") == "store_true") is switches
    ]


def value(flag: str, number: int = 0) -> str:
    default = f"K{number}=2020-05-1{number}" if flag in ("--set", "--column") else None
    return default or VALUES.get(flag, f"2020-05-1{number}")


def without(words: list[str], flag: str) -> list[str]:
    """The words, less an option and its value."""
    at = words.index(flag) if flag in words else len(words)
    return [*words[:at], *words[at + 2 :]]


def refused(words: list[str], capsys) -> str:
    """The message of a command line that is wrong."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize(("name", "flag"), options(switches=False))
def test_no_value_is_dropped_without_a_word(name, flag, capsys):
    """An option that is given twice adds up or is refused, and the message has both values."""
    words = [name, *without(REQUIRED.get(name, []), flag)]
    once = parse([*words, flag, value(flag, 1)])
    twice = [*words, flag, value(flag, 1), flag, value(flag, 2)]
    settings = COMMANDS[name].ARGUMENTS[flag]
    adds_up = flag in ("--select", "--set", "--column", "--ignore", "--from-qlib")
    if adds_up or settings.get("nargs") == "+":
        dest = settings.get("dest", flag[2:].replace("-", "_"))
        assert getattr(once, dest) == [value(flag, 1)]
        assert getattr(parse(twice), dest) == [value(flag, 1), value(flag, 2)]
    else:
        said = refused(twice, capsys)
        assert f"argument {flag}: given twice, as {value(flag, 1)} and {value(flag, 2)}" in said
        assert value(flag, 1) in map(str, vars(parse([*words, flag, value(flag, 1)])).values())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["init", "--column", "close=Last", "--column", "close=Adj"], "close=Last and close=Adj"),
        (["qrun", "a.yaml", "--set", "a.b=1", "--set", "a.b = 2"], "a.b=1 and a.b = 2"),
        (["status", "--config=a", "--config=a"], "given twice, as a and a"),
    ],
)
def test_one_key_has_one_value(words, said, capsys):
    assert said in refused(words, capsys)


def test_patterns_add_up_whatever_they_hold():
    words = ["--ignore", "symbol=^GSPC/*", "--ignore", "symbol=^DJI/*"]
    assert parse(["init", *words]).ignore == ["symbol=^GSPC/*", "symbol=^DJI/*"]


def test_a_selection_that_is_given_twice_adds_up(monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "pipelines.operations.backfill.run_backfill", lambda *_, **given: seen.update(given)
    )
    select = ["--select", "krnn_model", "--select", "krnn_prediction, gru_model"]
    assert main(["backfill", *REQUIRED["backfill"], *select]) == 0
    assert seen["select"] == "krnn_model,krnn_prediction, gru_model"
    assert main(["backfill", *REQUIRED["backfill"]]) == 0
    assert seen["select"] is None


@pytest.mark.parametrize(("name", "flag"), options(switches=True))
def test_a_switch_may_be_repeated(name, flag):
    words = [name, *REQUIRED.get(name, []), flag]
    assert vars(parse([*words, flag])) == vars(parse(words))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["statsu"], "unknown command 'statsu'; did you mean 'status'?"),
        (["back-fill"], "unknown command 'back-fill'; did you mean 'backfill' or 'backup'?"),
        (["xyz"], "unknown command 'xyz'; one of: backfill, backup, compare,"),
        (["backfill", "--strat", "2020-05-11", "--end", "x"], "--strat; did you mean '--start'"),
        (["backfill", "--sel=gru_model"], "unknown option --sel; did you mean '--select'"),
        (["demo", "--fres"], "unknown option --fres; did you mean '--fresh'"),
        (["init", "--date_format", "x"], "--date_format; did you mean '--date-format'"),
        (["status", "-json"], "unknown option -json; did you mean '--json'"),
        (["--verison"], "unknown option --verison; did you mean '--version'?"),
    ],
)
def test_the_nearest_name_is_told(words, said, capsys):
    assert said in refused(words, capsys)


@pytest.mark.parametrize(("name", "flag"), options(switches=False) + options(switches=True))
def test_no_option_is_shortened(name, flag, capsys):
    """An option that is added later would change what a shortened one means."""
    if flag[:-1] in COMMANDS[name].ARGUMENTS:
        pytest.skip(f"{flag[:-1]} is an option of its own")
    said = refused([name, *REQUIRED.get(name, []), flag[:-1]], capsys)
    assert f"unknown option {flag[:-1]}; did you mean" in said
    assert f"'{flag}'" in said


@pytest.mark.parametrize("words", [["--version"], ["--version", "statsu"], ["--help", "--jsn"]])
def test_the_first_word_decides(words):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 0


def test_texts_that_begin_with_a_dash_are_no_options():
    assert parse(["sql", "-- all of it\nFROM latest_signal"]).query.startswith("-- all")
    assert parse(["init", "--decimal", "-", "--skip-lines=-+"]).decimal == "-"
    assert parse(["sql", "--", "--x"]).query == "--x"


def test_help_needs_nothing_that_takes_long():
    """Neither the engines nor a library of numbers is loaded to print the help."""
    code = (
        "import sys; from pipelines.cli.main import main\n"
        "try: main(['qrun', '--help'])\n"
        "finally: print([m for m in ('dagster', 'torch', 'pandas', 'numpy', 'duckdb', 'pydantic',"
        " 'rich', 'numba') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_names_every_argument(name, capsys):
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    text = capsys.readouterr().out
    assert text.count(f"`rnn-pipelines {name}") == 1
    for flag, settings in COMMANDS[name].ARGUMENTS.items():
        assert settings.get("metavar", flag) in text
    with pytest.raises(SystemExit):
        main(["--help"])
    assert name in capsys.readouterr().out
