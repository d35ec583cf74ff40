"""Names of instruments in files. Oracle: the characters that were written."""

from __future__ import annotations

import pytest

from pipelines.errors import SourceError
from pipelines.sources.fetch import fetch_bars
from tests.pipelines.sources.conftest import DAYS


@pytest.mark.parametrize("form", ["parquet", "feather", "csv"])
@pytest.mark.parametrize(
    ("hidden", "said"),
    [
        ("\u202e", r"U\+202E RIGHT-TO"),
        ("\u200b", r"U\+200B ZERO"),
        ("\x1b", r"U\+001B"),
        ("\0", r"U\+0000"),
    ],
)
def test_an_instrument_with_a_character_that_nobody_sees(
    files, market, tmp_path, form, hidden, said
):
    names = market["instrument"].replace("BBB", f"BB{hidden}B")
    write = {"parquet": "to_parquet", "feather": "to_feather", "csv": "to_csv"}[form]
    options = {"index": False} if form == "csv" else {}
    getattr(market.assign(instrument=names), write)(tmp_path / f"bars.{form}", **options)
    with pytest.raises(
        SourceError, match=rf"the instrument 'BB.*B', which holds {said}"
    ) as refused:
        fetch_bars(files(f"bars.{form}"), list(DAYS))
    assert str(refused.value).isprintable()
