"""Targets that are files which native libraries read: bars, a qlib folder, model bundles."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
from hypothesis import strategies as st

from pipelines.config.sources import FilesSource, QlibBinSource
from pipelines.errors import SourceError
from pipelines.sources.base import RAW_COLUMNS
from pipelines.sources.fetch import fetch_bars
from pipelines.sources.files import FilesBars
from pipelines.sources.qlib_bin import QlibBars
from rnn_core.models import build_network
from rnn_core.training import BundleError, load_bundle, save_bundle, seeded_network
from rnn_core.training.bundle_files import digest, json_bytes
from tests.fuzz.harness import Target, refusal
from tests.fuzz.texts import changed, edited, tree_of
from tests.pipelines.sources.conftest import DAYS, traded

Inputs = st.SearchStrategy[Any]
PLACES = 1 << 16


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Bytes with a few bits, bytes or stretches changed."""
    data = bytearray(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, PLACES)) * max(0, len(data) - 1) // PLACES
        how = draw(
            st.sampled_from(
                ["flip", "flip", "flip", "byte", "word", "cut", "zeros", "more", "swap"]
            )
        )
        if how == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "byte" and data:
            data[at] = draw(st.integers(0, 255))
        elif how == "word":
            word = draw(st.sampled_from([0, 1, 2**31 - 1, 2**32 - 1, 2**63 - 1, 2**64 - 1, 2**40]))
            data[at : at + 8] = word.to_bytes(8, "little")
        elif how == "cut":
            del data[at : at + draw(st.sampled_from([1, 4, 100, len(data)]))]
        elif how == "zeros":
            data[at : at + draw(st.integers(1, 64))] = bytes(draw(st.integers(0, 64)))
        elif how == "more":
            data[at:at] = draw(st.binary(max_size=16))
        else:
            to = draw(st.integers(0, PLACES)) * max(0, len(data) - 1) // PLACES
            data[at : at + 8], data[to : to + 8] = data[to : to + 8], data[at : at + 8]
    return bytes(data)


# --- bars ------------------------------------------------------------------------------------


@cache
def _bars() -> pa.Table:
    return pa.Table.from_pandas(traded())


def _bytes(write: Callable[..., Any], table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    write(table, sink, **options)
    return sink.getvalue()


@cache
def _tables(form: str) -> list[bytes]:
    """Right files of a form, in the ways that it is written."""
    table = _bars()
    names = table["instrument"].combine_chunks().dictionary_encode()
    place = table.column_names.index("instrument")
    categories = table.set_column(place, "instrument", names)
    days = pa.array(pd.to_datetime(table["date"].to_pandas()))
    moments = table.set_column(table.column_names.index("date"), "date", days)
    if form == "feather":
        write, ways = pyarrow.feather.write_feather, ("uncompressed", "lz4", "zstd")
        options: list[dict[str, Any]] = [{"compression": way} for way in ways]
    else:
        write = pq.write_table
        options = [{}, {"compression": "none", "use_dictionary": False}, {"row_group_size": 5}]
        options.append({"compression": "zstd", "data_page_version": "2.0"})
    return [_bytes(write, t, **o) for t in (table, categories, moments) for o in options]


def _read_bars(data: bytes, folder: Path, name: str) -> None:
    (folder / name).write_bytes(data)
    source = {"kind": "files", "path": str(folder / name), "basis": {"preclose": "preclose"}}
    with refusal(SourceError):
        frame = fetch_bars(
            FilesBars(FilesSource.model_validate(source), needs_amount=False), DAYS[2:]
        )
        assert set(RAW_COLUMNS) <= set(frame.columns)
        assert set(frame["date"]) == set(DAYS[2:])
        assert all(frame[name].dtype == np.float64 for name in RAW_COLUMNS[2:])


def _csvs() -> Inputs:
    frame = traded()
    plain = frame.to_csv(index=False)
    others = [frame.to_csv(index=False, sep=";", decimal=","), frame.to_csv(), f"# made\n{plain}"]
    one = st.sampled_from([plain, plain, *others])
    pieces = (
        ",",
        ";",
        "\t",
        '"',
        "\n",
        "\r\n",
        "\0",
        "1e999",
        "-",
        "NaN",
        "１",
        "1,234.5",
        "$5",
        "\ufeff",
    )
    texts = one.flatmap(
        lambda text: edited(text, (*pieces, "2024-13-01", "01/02/2024", "1e308", "inf"))
    )
    encoded = st.tuples(texts, st.sampled_from(["utf-8", "utf-8", "utf-16", "latin-1", "gbk"]))
    return encoded.map(lambda given: given[0].encode(given[1], "replace")) | one.flatmap(
        lambda text: damaged(text.encode())
    )


def _files(form: str) -> Callable[[], Inputs]:
    return lambda: st.sampled_from(_tables(form)).flatmap(damaged)


# --- a qlib folder ---------------------------------------------------------------------------

_CODES, _FIELDS = (
    ("sh600000", "sz000001"),
    ("open", "high", "low", "close", "volume", "factor", "vwap"),
)


@cache
def _provider() -> dict[str, bytes]:
    """The files of a right folder, by their place."""
    rng = np.random.default_rng(0)
    files = {"calendars/day.txt": "\n".join(DAYS).encode()}
    files["instruments/all.txt"] = b"".join(
        f"{c}\t{DAYS[0]}\t{DAYS[-1]}\n".encode() for c in _CODES
    )
    for code in _CODES:
        for name in _FIELDS:
            values = np.r_[0.0, rng.lognormal(size=len(DAYS))].astype("<f4")
            files[f"features/{code}/{name}.day.bin"] = values.tobytes()
    return files


def _folders() -> Inputs:
    files = _provider()
    return st.sampled_from(sorted(files)).flatmap(
        lambda name: st.tuples(
            st.just(name), damaged(files[name]) | st.binary(max_size=40) | st.none()
        )
    )


def _read_folder(given: tuple[str, bytes | None], folder: Path) -> None:
    root = folder / "provider"
    if not root.exists():
        for name, data in _provider().items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
    path, data = root / given[0], given[1]
    if data is None:
        path.unlink()
    else:
        path.write_bytes(data)
    try:
        settings = QlibBinSource.model_validate(
            {"kind": "qlib_bin", "path": str(root), "instruments": "all"}
        )
        with refusal(SourceError, naming=str(root)):
            frame = fetch_bars(QlibBars(settings), DAYS[2:])
            assert set(frame["date"]) == set(DAYS[2:])
            assert all(frame[name].dtype == np.float64 for name in RAW_COLUMNS[2:])
    finally:
        path.write_bytes(_provider()[given[0]])


# --- bundles ---------------------------------------------------------------------------------


@cache
def _bundle() -> dict[str, bytes]:
    """The files of a right bundle."""
    import tempfile

    network = seeded_network(lambda: build_network("lstm", 3, {"hidden_size": 5}), 0)
    with tempfile.TemporaryDirectory() as folder:
        save_bundle(
            Path(folder) / "m",
            network,
            family="lstm",
            hyper={"hidden_size": 5},
            columns=["A", "B", "C"],
            config={"label": "Ref($close, -2)"},
            history=pd.DataFrame({"epoch": [0, 1], "train_loss": [0.9, 0.3]}),
            processors_json='{"processors": []}',
            manifest={"as_of": "2024-06-28"},
        )
        return {path.name: path.read_bytes() for path in (Path(folder) / "m").iterdir()}


def _bundles() -> Inputs:
    """A file of a bundle, its content, and whether its digest shall be right all the same."""
    files = _bundle()

    def content(name: str) -> Inputs:
        ways = [damaged(files[name]), damaged(files[name])]
        if name.endswith((".yaml", ".json")):
            text = files[name].decode()
            ways += [edited(text)]
        if name.endswith(".yaml"):
            ways += [changed(text), changed(text)]
        if name.endswith(".json"):
            ways += [changed(text).map(lambda t: json.dumps(tree_of(t), default=str).encode())]
        if name.endswith(".safetensors"):
            ways += [_tensors(files[name])] * 2
        data = st.one_of(ways).map(
            lambda d: d.encode("utf-8", "replace") if isinstance(d, str) else d
        )
        return st.tuples(st.just(name), data, st.sampled_from([True, True, True, False]))

    return st.sampled_from([*files, "config.yaml", "weights.safetensors"]).flatmap(content)


def _tensors(whole: bytes) -> st.SearchStrategy[bytes]:
    """Weights whose header says something else, of the right length."""
    length = int.from_bytes(whole[:8], "little")
    header, rest = whole[8 : 8 + length].decode(), whole[8 + length :]

    def joined(text: str) -> bytes:
        data = text.encode("utf-8", "replace")
        return len(data).to_bytes(8, "little") + data + rest

    tree = changed(header).map(lambda text: json.dumps(tree_of(text), default=str))
    return (edited(header) | tree).map(joined)


def _read_bundle(given: tuple[str, bytes, bool], folder: Path) -> None:
    name, data, is_signed = given
    target = folder / "bundle"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    files = {**_bundle(), name: data}
    record = json.loads(_bundle()["manifest.json"])
    if is_signed and name in record["files"]:
        record["files"][name] = digest(data)
        del record["fingerprint"]
        record["fingerprint"] = digest(json_bytes(record))
        files["manifest.json"] = json_bytes(record)
    for file, content in files.items():
        (target / file).write_bytes(content)
    with refusal(BundleError, naming=str(target)):
        bundle = load_bundle(target)
        assert bundle.network is not None
        assert bundle.family == "lstm"


def _target(name: str, inputs: Callable[[], Inputs], example: bytes) -> Target:
    """A kind of file of bars."""
    file = f"bars.{name.lower()}"
    return Target(name, inputs, lambda data, folder: _read_bars(data, folder, file), example, True)


TARGETS = (
    _target("CSV", _csvs, traded().to_csv(index=False).encode()),
    _target("Parquet", _files("parquet"), _tables("parquet")[0]),
    _target("Feather", _files("feather"), _tables("feather")[0]),
    Target(
        "qlib folder",
        _folders,
        _read_folder,
        ("calendars/day.txt", _provider()["calendars/day.txt"]),
        True,
    ),
    Target("bundles", _bundles, _read_bundle, ("processors.json", b"{}", True), True),
)
