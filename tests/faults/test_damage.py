"""Damage to every kind of file: named, and mended by the commands that the messages name.

Oracle: the bytes of the undamaged market. Several files are damaged at once, as a bad disk does it;
then `status` is asked and what it says is done (`damages.mended`), until everything is current. No
message may be a traceback, and the path, or the asset and session, of each damaged file is named.
"""

from __future__ import annotations

import itertools
import json
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.warehouse.identity import Identity
from pipelines.warehouse.partition_file import encode, read_info
from pipelines.warehouse.store import PART
from tests.faults import damages, market
from tests.faults.commands import run
from tests.faults.conftest import LONG

WAREHOUSE = "data/tiny/warehouse"
BUNDLES = "data/tiny/models/gru"
RECORD = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
ALONE = (
    f"{WAREHOUSE}/market.json",
    f"{WAREHOUSE}/processors.json",
    "data/tiny/warehouse.duckdb",
    "data/tiny/reports/signal_report.json",
    "data/tiny/reports/portfolio_report.json",
    "data/tiny/config.json",
)
"""Files of which there is one, without those of Dagster's record."""
WHOLE = [name for name in damages.DAMAGES if name not in ("flip", "append")]
"""Damages that no reader of JSON or SQLite can overlook."""


def _older(path: Path) -> bytes:
    """An older version of a partition: it says that it was made from something else."""
    info = read_info(pa.BufferReader(path.read_bytes()))
    inputs = dict.fromkeys(info.provenance.inputs or {"bars": ""}, "0" * 64)
    older = replace(info.provenance, inputs=inputs)
    return encode(_rows(path), older, _identity(path, "tiny"))[0]


def _foreign(path: Path) -> bytes:
    """The partition of the same table and session of another market."""
    info = read_info(pa.BufferReader(path.read_bytes()))
    return encode(_rows(path), info.provenance, _identity(path, "other"))[0]


def _identity(path: Path, name: str) -> Identity:
    return Identity(name, "table", path.parts[-3], path.parts[-2].removeprefix("date="))


def _rows(path: Path) -> pa.Table:
    return pq.read_table(pa.BufferReader(path.read_bytes())).replace_schema_metadata(None)


def _partitions(folder: Path) -> dict[str, list[Path]]:
    """The partitions of each table, those of the sessions that have rows last."""
    return {
        table.name: sorted(table.glob(f"date=*/{PART}"))
        for table in sorted((folder / WAREHOUSE).iterdir())
        if table.is_dir() and not table.name.startswith(".")
    }


def _damage_partitions(folder: Path, dice: random.Random) -> list[Path]:
    """Do every kind of damage to every table, each to another session."""
    tables, damaged = _partitions(folder), []
    swaps = {
        "another session": lambda path, others: others[0].read_bytes(),
        "another table": lambda path, others: others[1].read_bytes(),
        "another market": lambda path, others: _foreign(path),
        "older": lambda path, others: _older(path),
    }
    for name, paths in tables.items():
        other = tables["label" if name != "label" else "alpha158"][-1]
        chosen = dice.sample(paths[1:-1], len(damages.DAMAGES) + len(swaps))
        for kind, path in zip([*damages.DAMAGES, *swaps], chosen, strict=True):
            if kind in swaps:
                damages.replace(path, swaps[kind](path, (paths[-1], other)))
            else:
                damages.do(kind, path)
            damaged.append(path)
    return damaged


def _require_mended(states: Path, folder: Path, way: damages.Mended) -> None:
    assert way.is_current, str(way)
    found = [d for d in market.differences(folder, states / "whole") if not _is_kept(d)]
    assert found == [], f"{found}\n{way}"


def _is_kept(difference: str) -> bool:
    """True of the damaged files of a record that were put aside."""
    return difference.startswith("dagster/damaged/")


@pytest.mark.parametrize("seed", range(6) if LONG else [1])  # 1: an older one after a damaged one
def test_partitions(states, tmp_path, noted, seed):
    """All tables at once; each damaged partition is counted by `status` as not current."""
    folder = market.put(states / "whole", tmp_path / "damaged")
    damaged = _damage_partitions(folder, random.Random(seed))
    for path in damaged:
        noted(f"partitions: {path.relative_to(folder)}")
    command = run(folder, "status", "--json")
    assert command.status == 3, command.said()
    named = _named(json.loads(command.said()))
    tables = {
        path.parts[-3]: [p for p in damaged if p.parts[-3] == path.parts[-3]] for path in damaged
    }
    for table, paths in tables.items():
        missed = [
            p for p in paths if not _is_named(named, table, p.parts[-2].removeprefix("date="))
        ]
        assert missed == [], f"status does not name {missed}"
    _require_mended(states, folder, damages.mended(folder))


def _named(report: dict) -> list[tuple[str, str, str]]:
    """The asset, first and last session of every stretch that is stale."""
    return [
        (asset["asset"], first, last)
        for asset in report["assets"]
        for finding in asset["findings"]
        if finding["stale"]
        for first, last in finding["ranges"]
    ]


def _is_named(named: Sequence[tuple[str, str, str]], table: str, key: str) -> bool:
    """True if the asset that writes a table is named with a session."""
    assets = {asset for asset, first, last in named if first <= key <= last}
    beside = {"ohlcv_quarantine": "ohlcv"} | dict.fromkeys(
        ("gru_book", "gru_orders", "gru_trades"), "gru_portfolio"
    )
    return beside.get(table, table) in assets


def _bundle_cases() -> Iterator[list[tuple[str, str]]]:
    """Damages of the files of the four bundles, a kind of file and a damage each."""
    names = ("config.yaml", "history.parquet", "identity.json", "manifest.json")
    names += ("processors.json", "weights.safetensors")
    cases = list(itertools.product(names, damages.DAMAGES))
    random.Random("bundles").shuffle(cases)
    return (list(part) for part in zip(*[iter(cases)] * 4, strict=False))


@pytest.mark.parametrize("cases", list(_bundle_cases())[: 9 if LONG else 1])
def test_bundles(states, tmp_path, noted, cases):
    folder = market.put(states / "whole", tmp_path / "damaged")
    for bundle, (name, damage) in zip(sorted((folder / BUNDLES).iterdir()), cases, strict=True):
        damages.do(damage, bundle / name)
        noted(f"bundles: {damage} {name}")
    _require_mended(states, folder, damages.mended(folder))


def test_a_bundle_of_another_session(states, tmp_path, noted):
    folder = market.put(states / "whole", tmp_path / "damaged")
    first, second, *_ = sorted((folder / BUNDLES).iterdir())
    shutil.rmtree(second)
    shutil.copytree(first, second)
    noted("bundles: another session")
    _require_mended(states, folder, damages.mended(folder))


@pytest.mark.parametrize("damage", WHOLE if LONG else ["cut"])
def test_files_beside_the_partitions(states, tmp_path, noted, damage):
    """All of them at once, and a file of the record with them."""
    folder = market.put(states / "whole", tmp_path / "damaged")
    for name in ALONE:
        damages.do(damage, folder / name)
        noted(f"beside: {damage} {name}")
    way = damages.mended(folder)
    _require_mended(states, folder, way)
    assert f"{WAREHOUSE}/market.json" in str(way)


@pytest.mark.parametrize("damage", WHOLE if LONG else ["zeros"])
@pytest.mark.parametrize("name", RECORD if LONG else RECORD[1:2])
def test_the_record(states, tmp_path, noted, name, damage):
    """`status` may not need the file; a `backfill` then says what to do, or makes it anew."""
    folder = market.put(states / "whole", tmp_path / "damaged")
    damages.do(damage, folder / "data/dagster" / name)
    noted(f"record: {damage} {name}")
    first = run(folder, "backfill", "--start", market.LAST, "--end", market.LAST)
    assert "Traceback" not in first.said()
    assert first.status == 0 or ("is damaged" in first.said() and "sync" in first.said())
    run(folder, "sync")
    _require_mended(states, folder, damages.mended(folder))


@pytest.mark.parametrize("name", ["tiny.yaml", "data/dagster/dagster.yaml"])
def test_what_its_owner_wrote_is_named_and_left_alone(states, tmp_path, noted, name):
    """One that cannot be read. One that was cut may be a whole one of other settings."""
    folder = market.put(states / "whole", tmp_path / "damaged")
    path = folder / name
    damages.do("zeros", path)
    before = path.read_bytes()
    noted(f"owner's: zeros {name}")
    for words in (("status",), ("backfill", "--start", market.LAST, "--end", market.LAST)):
        command = run(folder, *words)
        assert "Traceback" not in command.said()
        assert command.status == 1, command.said()
        assert name in command.said()
    assert path.read_bytes() == before
