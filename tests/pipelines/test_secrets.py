"""A secret in every place where one can stand is in nothing that the project writes or says.

Oracle: every byte of the data folder, packed tables and records unpacked, and every byte printed.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import logging
import sqlite3
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pyarrow.parquet as pq
import pytest
import yaml

from pipelines.assets import retries
from pipelines.cli.main import main
from pipelines.config.secrets_in_text import remember, scrubbed, without_secrets
from pipelines.sources.network import Asker, Pace
from pipelines.sources.transient import is_transient
from tests.pipelines.conftest import TINY, merged

SECRETS = {
    name: f"{name}-{11 * k:04d}-hush"
    for k, name in enumerate(
        ("token", "password", "bearer", "user", "query", "proxy", "postgres", "option", "database"),
        1,
    )
}
FEED = '''
from pipelines.config.sources import SimulatedSource
from pipelines.sources.simulated import SimulatedBars


class Bars:
    """A vendor's feed whose client quotes all that it was given in its errors."""

    def __init__(self, sessions, url, password, headers, until):
        section = SimulatedSource(kind="simulated", seed=3, instruments=6)
        self._bars, self._until = SimulatedBars(section, sessions), until
        self._said = f"GET {url} as {password} with {headers}"

    def fetch(self, keys):
        print("asked", len(keys))
        if max(keys) > self._until:
            try:
                raise OSError(5, f"proxy {__import__('os').environ['HTTPS_PROXY']}", self._said)
            except OSError as error:
                raise RuntimeError(self._said) from error
        return self._bars.fetch(keys)
'''


def unpacked(path: Path) -> Iterator[bytes]:
    """The bytes of a file, and what is packed in it."""
    data = path.read_bytes()
    yield data
    if path.suffix == ".parquet":
        table = pq.read_table(path)
        yield repr(table.schema.metadata).encode() + repr(table.to_pydict()).encode()
    if data.startswith(b"SQLite"):
        with sqlite3.connect(path) as record:
            tables = record.execute(
                "SELECT name FROM sqlite_master WHERE type = 'table'"
            ).fetchall()
            for (name,) in tables:
                for row in record.execute(f'SELECT * FROM "{name}"'):  # noqa: S608 - of the file
                    for value in row:
                        raw = value.encode() if isinstance(value, str) else value
                        if not isinstance(raw, bytes):
                            continue
                        yield raw
                        with contextlib.suppress(zlib.error):
                            yield zlib.decompress(raw)


def found(text: bytes) -> list[str]:
    return [name for name, secret in SECRETS.items() if secret.encode() in text]


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """The YAML of a market with secrets everywhere; its vendor fails after some sessions."""
    monkeypatch.setenv("VENDOR_API_TOKEN", SECRETS["token"])
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{SECRETS['proxy']}@proxy.invalid:3128")
    monkeypatch.setenv("RNN_RECORD_URL", f"postgresql://rnn:{SECRETS['postgres']}@db.invalid/rnn")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS["option"])
    monkeypatch.setenv("RNN_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("DAGSTER_HOME", "")
    package = tmp_path / "code" / "quoting"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "feed.py").write_text(FEED)
    monkeypatch.syspath_prepend(package.parent)
    importlib.invalidate_caches()
    raw = merged(
        TINY, {"market": {"end": "2020-04-09"}, "training": {"first_trained": "2020-04-01"}}
    )
    raw["models"] = {"linear": {}}
    raw["market"]["source"] = {
        "kind": "quoting.feed:Bars",
        "options": {"until": "2020-04-07"},
        "access": {
            "url": f"https://{SECRETS['user']}:{SECRETS['password']}@v.invalid/x?api_key={SECRETS['query']}",
            "password": SECRETS["password"],
            "headers": {"Authorization": f"Bearer {SECRETS['bearer']}"},
        },
    }
    # The vendor's failure is tried again, after no wait.
    monkeypatch.setattr(retries, "TRANSIENT_POLICY", dg.RetryPolicy(max_retries=1, delay=0))
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(raw))
    yield path
    for name in [name for name in sys.modules if name.partition(".")[0] == "quoting"]:
        del sys.modules[name]


def test_no_byte_of_a_market_holds_a_secret(planted, tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    config = ["--config", str(planted)]
    to = lambda day: ["--start", "2020-01-02", "--end", day]  # noqa: E731
    assert main(["backfill", *to("2020-04-03"), *config]) == 0
    assert main(["backfill", *to("2020-04-09"), *config]) == 1, "the vendor fails"
    for words in (["status"], ["signal"], ["sync"], ["sql", "FROM provenance"]):
        main([*words, *config])
    main(["validate", str(planted)])
    said = capfd.readouterr()
    printed = (said.out + said.err + caplog.text).encode()
    assert b"GET https://***" in printed, "the vendor's error is told, without what it quotes"
    files = [path for path in sorted((tmp_path / "data").rglob("*")) if path.is_file()]
    assert len(files) > 100
    assert any(path.suffix == ".db" for path in files)
    parts = [(path, part) for path in files for part in unpacked(path)]
    told = {path.name: names for path, part in parts if (names := found(part))}
    assert (found(printed), told) == ([], {})
    kept = [part for path, part in parts if path.suffix == ".db"]
    assert any(b"GET https://***" in part for part in kept), "the record has the failure's words"


def test_the_search_finds_what_is_planted(tmp_path):
    """The oracle of the test above: a text, a packed text and a table."""
    (tmp_path / "a.txt").write_text(SECRETS["token"])
    with sqlite3.connect(tmp_path / "a.db") as record:
        record.execute("CREATE TABLE t (x BLOB)")
        record.execute("INSERT INTO t VALUES (?)", [zlib.compress(SECRETS["user"].encode())])
    assert [found(part) for part in unpacked(tmp_path / "a.txt")] == [["token"]]
    assert ["user"] in [found(part) for part in unpacked(tmp_path / "a.db")]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("postgresql//me:{database}@db/x", "source.url cannot be used"),
        ("nothing+here://me:{database}@db/x", "source.url cannot be used"),
    ],
)
def test_an_address_of_a_database_is_not_quoted(given, said, planted, capsys):
    raw = merged(TINY, {})
    raw["market"]["source"] = {
        "kind": "sql",
        "url": given.format(**SECRETS),
        "query": "SELECT :start, :end",
        "basis": "adjusted",
    }
    planted.write_text(yaml.safe_dump(raw))
    assert main(["validate", str(planted)]) == 1
    shown = "".join(capsys.readouterr())
    assert said in shown
    assert found(shown.encode()) == []


def test_a_configuration_that_is_refused_quotes_no_address(planted, capsys):
    raw = yaml.safe_load(planted.read_text())
    secret = SECRETS["option"]
    for changes in (
        {"state": f"s3://key:{secret}@bucket/x"},
        {"state": "s3://bucket/x", "storage_options": {"secret": secret}},
        {"state": "s3://bucket/x", "storage_options": {"client_kwargs": {"password": secret}}},
        {"market": {"source": {"access": {"pass-word": secret}}}},
        {"market": {"source": {"access": [secret]}}},
        {"market": {"source": {"password": secret}}},
        {"tracking": {"mlflow": {"uri": f"https://x:{secret}@host", "tokn": secret}}},
        {"alerts": {"on_failure": f"notify --token {secret}"}},
    ):
        planted.write_text(yaml.safe_dump(merged(raw, changes)))
        assert main(["validate", str(planted)]) == 1
        shown = "".join(capsys.readouterr())
        assert "problem: " in shown
        assert found(shown.encode()) == [], changes


def test_a_vendor_that_is_asked_again_is_logged_without_its_address(caplog):
    caplog.set_level(logging.INFO)
    errors = [ConnectionError(f"https://me:{SECRETS['proxy']}@v.invalid is gone")]

    def call() -> str:
        if errors:
            raise errors.pop()
        return "bars"

    assert Asker(Pace(2, 0.0, 0.0, 1e9), sleep=lambda _: None)(call, "AAPL") == "bars"
    assert "AAPL: https://***@v.invalid is gone; again" in caplog.text


def test_an_error_keeps_its_kind_and_loses_its_secrets(monkeypatch):
    monkeypatch.setenv("VENDOR_TOKEN", SECRETS["token"])

    class OddError(Exception):
        def __str__(self) -> str:
            return f"odd {SECRETS['token']}"

    plain = ValueError("nothing to hide")
    assert without_secrets(plain) is plain
    told = ValueError(f"with {SECRETS['token']}")
    assert without_secrets(told) is told
    assert str(told) == "with ***"
    outer = KeyError("outer")
    outer.__cause__ = OddError()
    assert without_secrets(outer) is outer
    assert str(outer.__cause__) == "OddError: odd ***"
    assert str(without_secrets(OddError())) == "OddError: odd ***"
    assert (
        scrubbed("the password was rejected; try again") == "the password was rejected; try again"
    )


def test_ordinary_words_are_no_secrets(monkeypatch):
    monkeypatch.setenv("RNN_RECORD_URL", "postgresql://dagster@db/dagster")
    monkeypatch.setenv("POSTGRES_PASSWORD", "postgres")
    remember({"key_column": "instrument", "sort_key_first": "ordinary"})
    for text in (
        "see data/dagster/dagster.yaml",
        "the column instrument of postgresql is absent",
        "an ordinary name of the basic materials sector, Basic Materials",
    ):
        assert scrubbed(text) == text
    assert scrubbed("Authorization: Basic bWU6cGFzc3dvcmQ=") == "Authorization: Basic ***"
    assert scrubbed("postgresql://me:postgres@db and postgres") == "postgresql://***@db and ***"


def test_an_error_of_the_disk_stays_one():
    secret = SECRETS["token"]
    remember({"token": secret})
    try:
        raise OSError(errno.ESTALE, "Stale file handle", f"/data/{secret}/x")
    except OSError as error:
        kept = without_secrets(error)
    assert isinstance(kept, OSError)
    assert is_transient(kept)
    assert secret not in str(kept)
