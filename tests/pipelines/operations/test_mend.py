"""Lost and damaged files beside the partitions. Oracle: their content before."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from pipelines.assets.stages import stages
from pipelines.cli.sql import _catalog
from pipelines.cli.status import status_lines
from pipelines.errors import WarehouseError
from pipelines.instance.orphaned_runs import sweep
from pipelines.operations.mend import mend_files
from pipelines.staleness.status_report import status_report
from pipelines.warehouse.catalog import is_usable
from tests.pipelines.conftest import make_market
from tests.pipelines.finished_markets import copy_of, put_on_record
from tests.pipelines.unsigned_file import without_identity

CUT, GONE = "cut", "gone"


def damage(path, how):
    raw = path.read_bytes()
    path.unlink()
    if how == CUT:
        path.write_bytes(raw[: len(raw) // 2])


@pytest.fixture
def copy(finished, tmp_path, instance):
    market = put_on_record(copy_of(finished, tmp_path / "copy"), instance)
    mend_files(market, stages(market))  # the catalog names the folder that it was copied from
    return market


@pytest.mark.thorough
@pytest.mark.parametrize("how", [CUT, GONE])
def test_a_lost_catalog_is_named_and_made_again_and_sql_does_without(copy, instance, how):
    path = copy.paths.catalog
    with _catalog(copy) as catalog:
        before = catalog.sql("FROM latest_signal").fetchall()
    damage(path, how)
    assert not is_usable(path)
    report = status_report(copy, stages(copy), instance)
    assert report.lost == (str(path),)
    assert any(str(path) in line and "sync" in line for line in status_lines(copy, report))
    with _catalog(copy) as catalog:
        assert catalog.sql("FROM latest_signal").fetchall() == before
    assert [str(path) in line for line in mend_files(copy, stages(copy))] == [True]
    assert status_report(copy, stages(copy), instance).lost == ()
    assert mend_files(copy, stages(copy)) == []


@pytest.mark.parametrize("how", [CUT, GONE])
def test_a_lost_record_of_the_market_is_named_and_written_again(copy, instance, how):
    path = copy.paths.warehouse / "market.json"
    before = path.read_bytes()
    damage(path, how)
    market = make_market(copy.paths.root)
    if how == CUT:
        with pytest.raises(WarehouseError, match=r"market\.json cannot be read.*`rnn-pip.* sync`"):
            status_report(market, stages(market), instance)
    else:
        assert status_report(market, stages(market), instance).lost == (str(path),)
    assert [str(path) in line for line in mend_files(market, stages(market))] == [True]
    assert path.read_bytes() == before


def test_partitions_of_another_market_are_not_taken_for_its_own(copy):
    """Neither are those that do not say whose they are: an upgrade decides about them."""
    path = copy.paths.warehouse / "market.json"
    path.unlink()
    for part in copy.paths.warehouse.glob("*/date=*/*.parquet"):
        part.write_bytes(without_identity(part.read_bytes())[0])
    market = make_market(copy.paths.root)
    assert mend_files(market, stages(market)) == []
    assert not path.exists()


def test_a_digit_of_the_record_is_noticed_where_nothing_is_written(copy, instance):
    path = copy.paths.warehouse / "market.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps({**values, "start": "2020-01-03"}))
    market = make_market(copy.paths.root)
    with pytest.raises(WarehouseError, match=r"start: '2020-01-03' there.*market\.json.*delete it"):
        status_report(market, stages(market), instance)


def test_damaged_processors_are_fitted_again_by_the_command_that_status_names(copy, instance):
    path = copy.paths.warehouse / "processors.json"
    text = path.read_text()
    at = text.index("0.")
    path.write_text(text[:at] + "1" + text[at + 1 :])
    market = make_market(copy.paths.root)
    lines = status_lines(market, status_report(market, stages(market), instance))
    assert "refit" in lines[-1]
    assert "backfill --start" not in lines[-1]


def test_what_killed_commands_left_outside_runs_is_swept_by_the_next(copy, instance):
    """A process number that no process has stands for the killed one."""
    paths, name = copy.paths, ".file.4194400.0123abcd.tmp"
    for folder in (paths.dagster, paths.page.parent, paths.root, paths.warehouse, paths.reports):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("half")
    sweep(copy, instance, Console(file=io.StringIO()))
    assert list(paths.root.parent.rglob("*.tmp")) == []


def test_nothing_is_lost_before_the_first_run(market, instance):
    assert status_report(market, stages(market), instance).lost == ()
    assert mend_files(market, stages(market)) == []
