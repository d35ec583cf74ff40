"""Files of bars in which a bit is flipped: read, or refused by name; never the end of the process.

Oracle: the exit status of a process that reads them.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from tests.pipelines.processes import start_python

_READER = """
import random, sys
from pathlib import Path
from pipelines.config.sources import FilesSource
from pipelines.errors import SourceError
from pipelines.sources.fetch import fetch_bars
from pipelines.sources.files import FilesBars

path, days, flips = Path(sys.argv[1]), sys.argv[2].split(), int(sys.argv[3])
whole, random_ = path.read_bytes(), random.Random(0)
outcomes = {"read": 0, "refused": 0}
for _ in range(flips):
    data = bytearray(whole)
    data[random_.randrange(len(data))] ^= 1 << random_.randrange(8)
    path.write_bytes(data)
    source = {"kind": "files", "path": str(path), "basis": {"preclose": "preclose"}}
    try:
        bars = FilesBars(FilesSource.model_validate(source), needs_amount=False)
        fetch_bars(bars, days[2:])
        outcomes["read"] += 1
    except SourceError:
        outcomes["refused"] += 1
print(outcomes["read"], outcomes["refused"])
"""


@pytest.mark.parametrize("form", ["uncompressed", "lz4", "categories", "parquet"])
def test_flipped_bits_end_no_process(form, market, tmp_path):
    table = pa.Table.from_pandas(market)
    if form == "categories":
        names = table["instrument"].combine_chunks().dictionary_encode()
        table = table.set_column(table.column_names.index("instrument"), "instrument", names)
    path = tmp_path / ("bars.parquet" if form == "parquet" else "bars.feather")
    if form == "parquet":
        pq.write_table(table, path)
    else:
        kind = "uncompressed" if form == "uncompressed" else "lz4"
        pyarrow.feather.write_feather(table, path, compression=kind)
    days = " ".join(sorted(market["date"].unique()))
    process = start_python(_READER, path, days, "150")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err.decode()[-2000:]
    read, refused = map(int, out.split())
    assert read + refused == 150
    assert refused > 0
