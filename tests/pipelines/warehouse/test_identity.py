"""A file in another's place. Oracle: the digests of a Parquet file written without identity."""

from __future__ import annotations

import hashlib
import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.errors import NewerStateError, OlderStateError, WarehouseError
from pipelines.warehouse.identity import (
    FORMAT,
    Identity,
    MisplacedFileError,
    UnsignedFileError,
)
from pipelines.warehouse.partition_file import (
    Provenance,
    encode,
    read_info,
    sign,
    verify,
)
from pipelines.warehouse.schemas import LABEL, feature_table
from pipelines.warehouse.store import PART
from pipelines.warehouse.warehouse import Warehouse
from tests.pipelines.unsigned_file import without_identity
from tests.pipelines.warehouse.test_warehouse import MADE, rows

TABLE = feature_table("features", "", {"A": "a", "B": "b"})
KEYS = ["2024-01-02", "2024-01-03"]
PLACE = Identity("us", "table", "label", KEYS[0])


def test_an_identity_changes_no_digest_and_comes_out_again():
    """The digest that others quote is the hash of a plain file with 64 zeros in its place."""
    rows = LABEL.schema.empty_table()
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink, rows.schema, compression="lz4", use_dictionary=["instrument"], write_statistics=False
    ) as writer:
        writer.write_table(rows)
        writer.add_key_value_metadata({"rnn.provenance": MADE.to_json(), "rnn.digest": "0" * 64})
    blank = sink.getvalue().to_pybytes()
    digest = hashlib.sha256(blank).hexdigest()
    raw, said = encode(rows, MADE, PLACE)
    plain, identity = without_identity(raw)
    assert said == digest == verify(raw, PLACE) == verify(plain, PLACE, unsigned=True)
    assert plain == blank.replace(b"0" * 64, digest.encode())
    assert sign(plain, PLACE) == raw
    assert identity == PLACE.to_dict() == read_info(pa.BufferReader(raw)).identity


@pytest.mark.parametrize("market", ["x", "a" * 200, "中国 ü", 'q"uote'])
def test_an_identity_of_any_length_is_in_the_footer(market):
    """pyarrow reads the footer, of a short name and of one whose length takes two bytes."""
    place = Identity(market, "table", "label", KEYS[0])
    raw, digest = encode(LABEL.schema.empty_table(), Provenance("label", "1", "c"), place)
    footer = pq.read_metadata(pa.BufferReader(raw)).metadata
    assert json.loads(footer[b"rnn.identity"]) == {
        "format": FORMAT, "market": market, "table": "label", "session": KEYS[0]
    }  # fmt: skip
    assert verify(raw, place) == digest
    assert pq.read_table(pa.BufferReader(raw)).num_rows == 0


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (Identity("us", "table", "label", KEYS[1]), "label of 2024-01-02 of the market us, and la"),
        (Identity("us", "table", "ohlcv", KEYS[0]), "and ohlcv of 2024-01-02 of the market us was"),
        (Identity("cn", "table", "label", KEYS[0]), "and label of 2024-01-02 of the market cn was"),
    ],
    ids=["another session", "another table", "another market"],
)
def test_a_file_of_another_place_is_told_by_its_footer(place, words):
    raw, _ = encode(LABEL.schema.empty_table(), MADE, PLACE)
    with pytest.raises(MisplacedFileError, match=words):
        verify(raw, place)
    with pytest.raises(MisplacedFileError, match=words):
        verify(raw, place, unsigned=True)


@pytest.fixture
def warehouse(tmp_path):
    made = Warehouse(tmp_path / "warehouse", {"name": "us"})
    made.write_many(TABLE, "features", ((key, rows(i), MADE) for i, key in enumerate(KEYS)))
    made.write(TABLE, "others", KEYS[0], rows(7), MADE)
    return made


def opened(warehouse, name="us"):
    """The same files in another process."""
    return Warehouse(warehouse.store.root, {"name": name})


@pytest.mark.parametrize("source", [("features", KEYS[1]), ("others", KEYS[0])])
def test_every_read_refuses_a_copied_file(warehouse, source):
    """Also of the process that has verified both before."""
    warehouse.digests("features", KEYS, needed_by="t")
    path = warehouse.store.path("features", f"date={KEYS[0]}", PART)
    shutil.copy(warehouse.store.path(source[0], f"date={source[1]}", PART), path)
    said = (
        rf"2024-01-02 of features is another file: it says that it is {source[0]} of {source[1]} "
        rf"of the market us, and features of 2024-01-02 of the market us was expected: a copy .*; "
        rf"materialize features of 2024-01-02 again to replace {path}"
    )
    for reader in (warehouse, opened(warehouse)):
        with pytest.raises(WarehouseError, match=said):
            reader.read("features", KEYS, needed_by="t")
        with pytest.raises(WarehouseError, match=said):
            reader.digests("features", KEYS[:1], needed_by="t")
        with pytest.raises(WarehouseError, match=said):
            reader.info("features", KEYS[0])


def test_a_file_without_identity_says_what_to_do(warehouse):
    parts = ("features", f"date={KEYS[0]}", PART)
    plain, _ = without_identity(warehouse.store.read(*parts))
    warehouse.store.rewrite(plain, *parts)
    with pytest.raises(UnsignedFileError):
        verify(plain, warehouse.identity("features", KEYS[0]))
    said = r"is without identity: .*an earlier release wrote it.*`rnn-pipelines upgrade` signs it"
    with pytest.raises(WarehouseError, match=said):
        opened(warehouse).read("features", KEYS, needed_by="t")
    reader = opened(warehouse)
    reader.reads_unsigned = True
    assert len(reader.read("features", KEYS, needed_by="t").frame) == 80


def recorded(warehouse, **values):
    """`market.json` with other values."""
    record = json.loads(warehouse.store.read("market.json")) | values
    record = {name: value for name, value in record.items() if value is not None}
    warehouse.store.write(json.dumps(record).encode(), "market.json")


def everything(warehouse):
    """Every way into the state on disk."""
    yield lambda: warehouse.read("features", KEYS, needed_by="t")
    yield lambda: warehouse.info("features", KEYS[0])
    yield lambda: warehouse.write(TABLE, "features", KEYS[0], rows(), MADE)


def test_newer_state_is_refused_by_name(warehouse):
    recorded(warehouse, format=FORMAT + 1)
    before = warehouse.store.read("features", f"date={KEYS[0]}", PART)
    for step in everything(opened(warehouse)):
        with pytest.raises(
            NewerStateError,
            match=f"made by a newer release, format {FORMAT + 1}; this program knows format "
            f"{FORMAT}. Update the program; nothing was changed",
        ):
            step()
    assert warehouse.store.read("features", f"date={KEYS[0]}", PART) == before


def test_older_state_names_the_upgrade(warehouse):
    recorded(warehouse, format=None)
    for step in everything(opened(warehouse)):
        with pytest.raises(OlderStateError, match=r"format 1.*`rnn-pipelines upgrade` signs them"):
            step()


def test_a_single_newer_file_is_not_taken_for_damage(warehouse):
    """A newer release whose upgrade was cut off: its files are not made again by this one."""
    raw = warehouse.store.read("features", f"date={KEYS[0]}", PART)
    newer = raw.replace(f'"format":{FORMAT},'.encode(), f'"format":{FORMAT + 1},'.encode())
    warehouse.store.write(newer, "features", f"date={KEYS[0]}", PART)
    with pytest.raises(NewerStateError, match="features of 2024-01-02 of the market us was made"):
        opened(warehouse).read("features", KEYS, needed_by="t")


def test_a_record_that_is_no_json_is_named(warehouse):
    warehouse.store.write(b"{", "market.json")
    with pytest.raises(WarehouseError, match=r"market.json cannot be read.*-pipelines sync"):
        opened(warehouse).read("features", KEYS, needed_by="t")
