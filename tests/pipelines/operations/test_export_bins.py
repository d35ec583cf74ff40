"""A provider folder from bars. Oracle: the bars, through the reader of such folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipelines.errors import PipelineError
from pipelines.operations.export_bins import write_provider
from rnn_core.data import QlibProvider

DAYS = [f"2024-01-{day:02d}" for day in (2, 3, 4, 5, 8, 9)]


def market(names: dict[str, Sequence[int]], universe: Any = "all") -> Any:
    """A market whose instruments have bars on some of DAYS; the close is 10 and rises by 1."""
    rows = [
        {"date": pd.Timestamp(DAYS[at]), "instrument": name, "close": 10.0 + at}
        for name, places in names.items()
        for at in places
    ]
    bars = pd.DataFrame(rows)
    for column in ("open", "high", "low"):
        bars[column] = bars["close"]
    bars = bars.assign(volume=100.0, amount=50.0, adj_factor=2.0)

    def read(table: str, keys: Sequence[str], needed_by: str) -> Any:
        return SimpleNamespace(frame=bars[bars["date"].isin(pd.DatetimeIndex(keys))])

    return SimpleNamespace(
        warehouse=SimpleNamespace(read=read),
        config=SimpleNamespace(market=SimpleNamespace(vwap="amount")),
        universe=universe,
    )


def written(folder: Path, made: Any) -> QlibProvider:
    told: list[tuple[str, int]] = []
    write_provider(made, DAYS, folder, lambda key, rows: told.append((key, rows)))
    assert [key for key, _ in told] == DAYS
    return QlibProvider(folder)


@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_late_listings_holes_and_ends_are_where_they_were(tmp_path, monkeypatch, size):
    """Whatever the chunks: a hole may span several of them, and a name may have one bar."""
    monkeypatch.setattr(
        "pipelines.operations.export_bins.chunks_of_rows",
        lambda _, __, keys: [tuple(keys[i : i + size]) for i in range(0, len(keys), size)],
    )
    held = {"AAA": [0, 1, 2, 3, 4, 5], "LATE": [3, 4], "HOLE": [1, 5], "ONCE": [2]}
    provider = written(tmp_path / "qlib", market(held))
    assert provider.instruments("all").spans["instrument"].tolist() == sorted(held)
    for name, places in held.items():
        series = provider.series(name, "close")
        assert [f"{day:%Y-%m-%d}" for day in series.index] == DAYS[places[0] : places[-1] + 1]
        assert [f"{day:%Y-%m-%d}" for day in series.dropna().index] == [DAYS[k] for k in places]
        assert series.dropna().tolist() == [2.0 * (10 + k) for k in places]
        change = provider.series(name, "change").dropna()
        closes = np.array([10.0 + k for k in places])
        np.testing.assert_allclose(change, closes[1:] / closes[:-1] - 1, rtol=1e-6)
        volume = provider.series(name, "volume").dropna()
        vwap = provider.series(name, "vwap").dropna()
        assert set(volume) == {50.0}
        assert set(vwap) == {1.0}


def test_a_universe_keeps_its_spans(tmp_path):
    spans = pd.DataFrame(
        [("AAA", "2020-01-01", "9999-12-31"), ("AAA", "2024-02-01", "9999-12-31"),
         ("LATE", "2024-01-05", "2024-01-08")],
        columns=["instrument", "start", "end"],
    )  # fmt: skip
    provider = written(tmp_path / "qlib", market({"AAA": [0, 5], "LATE": [3]}, spans))
    members = provider.instruments("members").spans
    assert [
        (row.instrument, f"{row.start:%Y-%m-%d}", f"{row.end:%Y-%m-%d}")
        for row in members.itertuples()
    ] == [("AAA", "2020-01-01", DAYS[-1]), ("LATE", "2024-01-05", "2024-01-08")]


def test_names_that_windows_keeps_for_itself(tmp_path):
    provider = written(tmp_path / "qlib", market({"CON": [0], "AUX": [1, 2]}))
    assert {path.name for path in (tmp_path / "qlib" / "features").iterdir()} == {
        "_qlib_con",
        "_qlib_aux",
    }
    assert len(provider.series("AUX")) == 2


@pytest.mark.parametrize("name", ["BRK/B", "A\\B", "A\tB", " A", ".A", "A\nB"])
def test_a_name_that_is_no_folder_is_refused(tmp_path, name):
    with pytest.raises(PipelineError, match="cannot be the name of a folder"):
        write_provider(market({name: [0]}), DAYS, tmp_path / "qlib", lambda *_: None)


def test_names_that_differ_in_case_alone_are_refused(tmp_path):
    with pytest.raises(PipelineError, match="two instruments are called 'abc' but for upper"):
        write_provider(market({"ABC": [0], "abc": [1]}), DAYS, tmp_path / "qlib", lambda *_: None)
