"""`rnn-pipelines init`. Oracle: the file that was written, whose columns and days are known."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from pipelines.cli.init import ARGUMENTS, _asked, kind_of
from pipelines.cli.main import main
from pipelines.config.loader import CONFIGS, load_config
from pipelines.config.sources import FilesSource, TableSource
from pipelines.errors import PipelineError, SourceError
from pipelines.market.market import Market
from pipelines.onboarding.infer_market import market_name
from pipelines.onboarding.infer_source import describe
from pipelines.onboarding.sniff import peek
from pipelines.onboarding.training_windows import NEEDED
from pipelines.sources.fetch import fetch_sessions
from tests.pipelines.onboarding.conftest import SESSIONS


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch) -> Path:
    """A folder of its own, and nobody at the terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    return tmp_path


def init(*flags: str) -> int:
    return main(["init", *flags])


def test_a_vendors_csv_becomes_a_market_that_runs(bars, here, capsys):
    """Other names, semicolons, day before month, an adjusted close: found, written, valid."""
    given = pd.DataFrame({
        "Datum": pd.to_datetime(bars["date"]).dt.strftime("%d/%m/%Y"), "Ticker": bars["instrument"],
        "Open": bars["open"], "High": bars["high"], "Low": bars["low"], "Last": bars["close"],
        "Adj Close": bars["adj_close"], "Vol": bars["volume"] / 100.0, "Turnover": bars["amount"],
        "Note": "x",
    })  # fmt: skip
    given.to_csv(here / "My Bars.csv", index=False, sep=";")
    assert init("--path", "My Bars.csv", "--column", "date=Datum") == 0
    said = capsys.readouterr().out
    assert "date = Datum" in said
    assert "not used: Note (source.columns.extra takes them in)" in said
    assert "XNYS, 100.0% of days in common" in said
    assert "(volume × 100)" in said
    assert "rules      every row keeps them" in said
    assert "rnn-pipelines demo --config my_bars.yaml" in said
    config = load_config("my_bars.yaml")
    source = config.market.source
    assert source.columns["close"] == "Last"
    assert (source.delimiter, source.date_format) == (";", "%d/%m/%Y")
    assert source.basis.adj_close == "Adj Close"
    assert source.scale == {"volume": 100.0}
    assert (config.market.calendar, config.market.vwap) == ("XNYS", "amount")
    assert (str(config.market.start), str(config.market.end)) == (
        SESSIONS.keys[0], SESSIONS.keys[-1])  # fmt: skip
    market = Market(config, root=here / "state")
    got = fetch_sessions(market.source, market.sessions, market.sessions.keys)
    both = got.merge(bars, on=["date", "instrument"], suffixes=("", "_given"))
    assert len(both) == len(got) == len(bars)
    for name in ("close", "volume", "amount"):
        np.testing.assert_allclose(both[name], both[f"{name}_given"])
    first = ~both["instrument"].duplicated()
    np.testing.assert_allclose(both["adj_ratio"][~first], both["adj_ratio_given"][~first])
    assert main(["validate", "my_bars.yaml"]) == 0
    assert capsys.readouterr().out.endswith("my_bars.yaml: valid\n")


def test_every_key_of_the_draft_has_a_comment(bars, here):
    bars.to_parquet(here / "bars.parquet")
    assert init("--path", "bars.parquet", "--name", "mine") == 0
    sections = {"market", "features", "dataset", "training", "evaluation", "source", "schedule",
                "col_list", "universe", "bars"}  # fmt: skip
    for line in (here / "mine.yaml").read_text().splitlines():
        content, _, comment = line.partition("  #")
        key = content.split(":")[0].strip(" -")
        if ":" in content and key and not content.lstrip().startswith("#"):
            assert comment.strip() or key in sections, line


def test_nothing_is_written_over_a_file(bars, here, capsys):
    bars.to_parquet(here / "bars.parquet")
    (here / "bars.yaml").write_text("mine\n")
    assert init("--path", "bars.parquet") == 1
    assert "bars.yaml is there already, and nothing was written: --force" in capsys.readouterr().err
    assert (here / "bars.yaml").read_text() == "mine\n"
    assert init("--path", "bars.parquet", "--force") == 0
    assert load_config("bars.yaml").name == "bars"
    assert init("--path", "bars.parquet", "--out", str(here / "bars.yaml" / "x.yaml")) == 1
    assert "choose another place, --out" in capsys.readouterr().err
    assert sorted(p.name for p in here.iterdir()) == ["bars.parquet", "bars.yaml"]


def test_a_file_a_symbol_and_members_beside_them(bars, here):
    (here / "bars").mkdir()
    for name, rows in bars.groupby("instrument"):
        rows.drop(columns=["instrument", "amount", "adj_ratio", "adj_close"]).to_csv(
            here / "bars" / f"{name}.csv", index=False
        )
    spans = "".join(f"{name} 2018-01-01 2030-01-01\n" for name in bars["instrument"].unique())
    (here / "bars" / "universe.txt").write_text(spans)
    assert init("--path", "bars/*.csv", "--universe", str(here / "bars" / "universe.txt")) == 0
    market = load_config("bars.yaml").market
    assert (market.source.from_name, market.source.basis.factor) == ("instrument", "factor")
    assert (market.vwap, market.universe.spans.name) == ("typical", "universe.txt")


def test_the_universe_is_a_file_as_seen_from_here(bars, here):
    """The YAML is written elsewhere, and still finds it."""
    bars.to_parquet(here / "bars.parquet")
    names = sorted(set(bars["instrument"]))
    (here / "mine.txt").write_text("".join(f"{n} 2018-01-01 2030-01-01\n" for n in names))
    assert init("--path", "bars.parquet", "--universe", "mine.txt", "--out", "a/b/x.yaml") == 0
    config = load_config("a/b/x.yaml")
    assert config.market.universe.spans == here / "mine.txt"
    assert len(Market(config, root=here / "state").universe) == len(names)


def test_members_beside_a_folder_of_bars_are_offered(bars, here):
    """Those in it would be read as bars: they are none of the membership files."""
    for name, rows in bars.groupby("instrument"):
        (here / "bars").mkdir(exist_ok=True)
        rows.to_parquet(here / "bars" / f"{name}.parquet", index=False)
    spans = "".join(f"{n} 2018-01-01 2030-01-01\n" for n in sorted(set(bars["instrument"])))
    (here / "universe.txt").write_text(spans)
    assert init("--path", "bars") == 0
    assert load_config("bars.yaml").market.universe.spans == here / "universe.txt"
    members = pd.DataFrame({"instrument": ["S0001"], "start": ["2018-01-01"]})
    members.to_parquet(here / "bars" / "members.parquet")
    found = describe("files", str(here / "bars"))
    assert found.spans == (str(here / "universe.txt"),)
    assert found.section["ignore"] == ["members.parquet"]
    (here / "bars" / "members.parquet").write_bytes(b"damaged")
    with pytest.raises(SourceError, match=r"members\.parquet cannot be read as parquet"):
        describe("files", str(here / "bars"))


def test_closed_days_special_sessions_and_dirt_are_found(bars, here, capsys):
    """A day without rows is closed, a busy Saturday a session; a stray row on a Sunday is dirt."""
    day, saturday, sunday = "2018-06-01", "2018-06-09", "2018-06-17"
    rows = bars[bars["date"] != day]
    special = bars[bars["date"] == "2018-06-08"].assign(date=saturday)
    stray = bars[bars["date"] == "2018-06-15"].head(1).assign(date=sunday)
    future = bars.head(1).assign(date="2099-01-01")
    rows = pd.concat([rows, special, stray, future], ignore_index=True)
    rows.loc[3, "open"] = np.nan
    rows.drop(columns=["factor", "adj_ratio", "adj_close"]).to_parquet(here / "bars.parquet")
    assert init("--path", "bars.parquet", "--basis", "adjusted") == 0
    market = load_config("bars.yaml").market
    assert [str(d) for d in market.closed] == [day]
    assert [str(d) for d in market.extra_sessions] == [saturday]
    said = capsys.readouterr().out
    assert "1 missing_price (a price is missing or not finite), set aside: " in said
    assert f"1 off_calendar (dated on a day that is no session), set aside: S0001 {sunday}" in said
    assert "1 future_date (dated after the present day), never read: 2099-01-01" in said
    assert "steps like splits that nothing states" in said
    assert str(market.end) == SESSIONS.keys[-1], "not the row of 2099"


def test_few_names_on_a_day_lower_the_coverage_that_stops_the_ingest(bars, here):
    few = (bars["date"] == "2018-09-04") & (bars["instrument"] > "S0005")
    bars[~few].to_parquet(here / "bars.parquet")
    assert init("--path", "bars.parquet") == 0
    assert load_config("bars.yaml").checks.bars.min_coverage == 0.5
    assert main(["validate", "bars.yaml"]) == 0


def test_a_day_of_which_nearly_nothing_is_left_stays_a_problem(bars, here, capsys):
    """No min_coverage passes it, and it is named under `closed`: then the market is valid."""
    day = "2018-09-04"
    names = [bars.assign(instrument=bars["instrument"] + end) for end in ("a", "b", "c")]
    rows = pd.concat(names, ignore_index=True)
    spoiled = (rows["date"] == day) & (rows["instrument"] != "S0001a")
    rows.loc[spoiled, "volume"] = 0.0
    rows.to_parquet(here / "bars.parquet")
    assert init("--path", "bars.parquet") == 1, "as `validate`"
    said = capsys.readouterr().out
    assert f"coverage   {day} has 3% of the usual names: min_coverage is 0.05" in said
    problem = re.findall(r"problem    (.*)", said)
    assert problem == [
        f"checks.bars.min_coverage: 0.05 is the least that is proposed, and {day} has 1 names, "
        f"3.3% of the usual: the ingest would stop there; bring the others, or name the day under "
        f"market.closed"
    ]
    assert main(["validate", "bars.yaml"]) == 1
    text = (here / "bars.yaml").read_text()
    (here / "bars.yaml").write_text(text.replace("closed: []", f"closed: [{day}]"))
    assert main(["validate", "bars.yaml"]) == 0


@pytest.mark.parametrize("name", ["no", "y", "null", "mine"])
def test_names_that_yaml_would_read_as_something_else(bars, here, name):
    """A market called no, and a column whose name is a mapping's."""
    flags: tuple[str, ...] = ("--name", name)
    if name == "mine":
        bars = bars.assign(**{"Trade: Status": 1})
        flags += ("--column", "tradestatus=Trade: Status")
    bars.to_parquet(here / "bars.parquet")
    assert init("--path", "bars.parquet", *flags) == 0
    config = load_config(f"{name}.yaml")
    assert config.name == name
    assert config.market.source.keep == ({"Trade: Status": [1]} if name == "mine" else {})


@pytest.mark.parametrize("text", ["Date,Open", "Date,Open\n", "Date,Open\r\n\r\n", ""])
def test_a_csv_without_rows_is_said_to_have_none(here, text):
    (here / "bars.csv").write_bytes(text.encode())
    with pytest.raises(SourceError, match=r"bars.csv has no rows; expected a header and bars bel"):
        peek("bars.csv")
    (here / "bars.csv").write_text("Date,Open\n2024-01-02,1.0")
    assert peek("bars.csv").head.num_rows == 1


def test_days_of_no_exchange_are_the_calendar(bars, here):
    """Every third session only."""
    odd = set(SESSIONS.keys[::3])
    longer = [bars[bars["date"].isin(odd)]]
    for years in (4, 8):
        shifted = pd.to_datetime(longer[0]["date"]) + pd.DateOffset(years=years)
        longer.append(longer[0].assign(date=shifted.dt.strftime("%Y-%m-%d")))
    pd.concat(longer).assign(adj_ratio=1.0).drop_duplicates(["date", "instrument"]).drop(
        columns=["factor", "adj_close"]
    ).to_parquet(here / "bars.parquet")
    assert init("--path", "bars.parquet", "--basis", "ratio") == 0
    calendar = load_config("bars.yaml").market.calendar
    assert (calendar.from_, calendar.min_instruments) == ("data", 2)


def test_a_provider_folder(bars, here):
    days = list(SESSIONS.keys)
    (here / "cn" / "calendars").mkdir(parents=True)
    (here / "cn" / "calendars" / "day.txt").write_text("\n".join(days) + "\n")
    (here / "cn" / "instruments").mkdir()
    lines = "".join(f"{n}\t{days[0]}\t{days[-1]}\n" for n in sorted(set(bars["instrument"])))
    for name in ("all", "mine"):
        (here / "cn" / "instruments" / f"{name}.txt").write_text(lines)
    for code, rows in bars.groupby("instrument"):
        rows = rows.set_index("date").reindex(days)
        folder = here / "cn" / "features" / code.lower()
        folder.mkdir(parents=True)
        fields = {name: rows[name] * rows["factor"] for name in ("open", "high", "low", "close")}
        fields |= {"volume": rows["volume"] / rows["factor"], "factor": rows["factor"]}
        for name, values in fields.items():
            np.append(0.0, values).astype("<f4").tofile(folder / f"{name}.day.bin")
    assert kind_of("cn") == "qlib_bin"
    assert init("--path", "cn", "--name", "provider") == 0
    market = load_config("provider.yaml").market
    assert (market.source.kind, market.vwap) == ("qlib_bin", "typical")
    assert market.universe.market == "mine"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), r"--source and --path missing, and there is no terminal to ask on: .*--calendar NAME"),
        (("--path", "absent.csv"), "no file of bars at .*absent.csv"),
        (("--path", "short.csv"), f"has 100 sessions, and at least {NEEDED} are needed"),
        (("--path", "odd.csv"), "has the columns a, b: none is recognised as date, instrument, op"),
        (("--path", "short.csv", "--column", "close=Lats"), "no such column; .*'Last'"),
        (("--path", "short.csv", "--column", "close"), "expected OURS=THEIRS"),
        (("--path", "short.csv", "--column", "clse=x"), "'clse' is none; did you mean 'close'"),
        (
            ("--path", "short.csv", "--calendar", "XNYC"),
            r"no such calendar .*; did you mean .*XNYS",
        ),
        (("--path", "short.csv", "--calendar", "24/7"), "differs from the days of the data on 4"),
        (("--source", "oracle", "--path", "x"), "that can be looked at are f"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_written(bars, here, capsys, flags, message):
    keys = set(SESSIONS.keys[:100])
    short = bars[bars["date"].isin(keys)].rename(columns={"close": "Last"})
    short.to_csv(here / "short.csv", index=False)
    (here / "odd.csv").write_text("a,b\n1,2\n")
    assert init(*flags) == 1
    assert re.search(message, capsys.readouterr().err)
    assert not list(here.glob("*.yaml"))


def test_what_is_not_given_is_asked_for(here):
    answers = iter(["my bars.csv", "", "XNYS"])
    asked: list[str] = []

    def ask(question: str) -> str:
        asked.append(question)
        return next(answers)

    given = Namespace(source=None, path=None, calendar=None)
    assert _asked(given, ask) == ("files", "my bars.csv", "XNYS")
    assert "[files]" in asked[1]
    given = Namespace(source="files", path="x", calendar="data")
    assert _asked(given, ask) == ("files", "x", "data"), "nothing is asked twice"

    def nobody(question: str) -> str:
        raise EOFError

    with pytest.raises(PipelineError, match="no answer, and nothing was written"):
        _asked(Namespace(source=None, path=None, calendar=None), nobody)
    with pytest.raises(PipelineError, match="--path missing"):
        _asked(Namespace(source="files", path=None, calendar=None), None)


@pytest.mark.parametrize(
    ("path", "name"),
    [("data/My Bars.csv.gz", "my_bars"), ("bars/*.csv", "bars"), ("2018.csv", "market_2018"),
     ("/x/cn_data/", "cn_data"), ("reports.csv", "market_reports"), ("nul.csv", "market_nul")],
)  # fmt: skip
def test_a_market_is_named_after_its_data(path, name):
    assert market_name(path) == name


@pytest.mark.golden
@pytest.mark.parametrize(
    ("file", "calendar", "basis", "vwap"),
    [
        pytest.param(
            "us_sp500_2013_2018", "XNYS", "adjusted", "typical", marks=pytest.mark.thorough
        ),
        ("cn_csi300_2020_2025_baostock", "XSHG", "preclose", "amount"),
    ],
)
def test_real_markets(market_dir, here, capsys, file, calendar, basis, vwap):
    """As the configurations that ship for them."""
    assert init("--path", str(market_dir / f"{file}.parquet")) == 0
    config = load_config(f"{file}.yaml")
    market = config.market
    assert (market.calendar, market.source.basis.kind, market.vwap) == (calendar, basis, vwap)
    assert main(["validate", f"{file}.yaml"]) == 0
    said = capsys.readouterr().out
    raw = yaml.safe_load((here / f"{file}.yaml").read_text())
    if calendar == "XSHG":
        assert (market.source.codes, market.source.keep) == ("qlib", {"tradestatus": [1]})
        assert raw["portfolio"]["limit_threshold"] == 0.095
        assert "1,530 splits, dividends and the like" in said
    else:
        assert "11 low_above_body" in said
        assert "DISCA 2014-08-07 (2.03:1)" in said


# --- the page on markets --------------------------------------------------------------------------

PAGE = (Path(__file__).parents[3] / "docs" / "markets.md").read_text()


def test_the_page_has_every_flag():
    table = PAGE.split("## `init`")[1].split("What it finds")[0]
    assert set(re.findall(r"--[a-z][a-z-]*", table)) == set(ARGUMENTS)


def test_the_page_and_a_shipped_configuration_have_every_key_of_files():
    keys = set(FilesSource.model_fields) - set(TableSource.model_fields) - {"kind"}
    table = PAGE.split("## Files as they are")[1].split("\n- **")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    assert {key for row in rows for key in re.findall("`([a-z_]+)`", row)} == keys
    shipped = "".join(file.read_text() for file in CONFIGS.glob("*files.yaml"))
    assert [key for key in keys if f"{key}:" not in shipped and f" {key} " not in shipped] == []
