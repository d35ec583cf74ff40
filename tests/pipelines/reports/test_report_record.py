"""The record beside a report. Oracle: each case changes one file, by hand."""

from __future__ import annotations

import pytest

from pipelines.reports.report_record import read_record, write_record
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.partition_file import Provenance

NAME = "signal_report"


@pytest.fixture
def recorded(market):
    """A market with a report of two files, and its provenance."""
    folder = market.paths.reports
    folder.mkdir(parents=True)
    (folder / "signal.csv").write_text("model,ic\nlstm,0.1\n")
    (folder / "ic.png").write_bytes(b"png")
    made = Provenance(NAME, "2", "config", {"ohlcv": "abc"})
    write_record(market, made, ["signal.csv", "ic.png"])
    return market, made


def test_it_is_read_as_it_was_written(recorded):
    market, made = recorded
    info = read_record(market, NAME)
    assert info.provenance == made
    assert info.digest == write_record(market, made, ["signal.csv", "ic.png"]).digest
    other = write_record(market, Provenance(NAME, "2", "config", {"ohlcv": "abd"}), ["signal.csv"])
    assert other.digest != info.digest
    assert read_record(market, "portfolio_report") is None


@pytest.mark.parametrize("file", ["signal.csv", "ic.png", f"{NAME}.json"])
def test_a_report_without_one_of_its_files_was_not_made(recorded, file):
    market, _ = recorded
    (market.paths.reports / file).unlink()
    assert read_record(market, NAME) is None


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("signal.csv", "model,ic\nlstm,0.2\n"),
        (f"{NAME}.json", "{"),
        (f"{NAME}.json", "[]"),
        (f"{NAME}.json", '{"digest": "", "files": {}, "provenance": {}}'),
    ],
)
def test_what_was_changed_by_hand_is_damaged(recorded, file, text):
    market, _ = recorded
    (market.paths.reports / file).write_text(text)
    with pytest.raises(DamagedFileError):
        read_record(market, NAME)


def test_inputs_that_were_changed_by_hand_are_damage(recorded):
    market, _ = recorded
    path = market.paths.reports / f"{NAME}.json"
    path.write_text(path.read_text().replace('"abc"', '"abd"'))
    with pytest.raises(DamagedFileError, match="does not have the digest"):
        read_record(market, NAME)


def test_files_that_a_report_no_longer_has_are_removed(recorded):
    """A picture that another report draws too stays."""
    market, made = recorded
    folder = market.paths.reports
    write_record(market, Provenance("portfolio_report", "2", "config"), ["ic.png"])
    write_record(market, made, [])
    assert sorted(path.name for path in folder.iterdir()) == [
        "ic.png",
        "portfolio_report.json",
        "signal_report.json",
    ]
