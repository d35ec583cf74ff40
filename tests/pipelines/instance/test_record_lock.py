"""Locks in Postgres, between data roots of any host. Oracle: the server's list of locks."""

from __future__ import annotations

import logging

import pytest
import yaml

from pipelines.errors import PipelineError, WarehouseError
from pipelines.instance import locks, record_lock
from pipelines.instance.locks import only_daemon, only_writer, writer_lock
from pipelines.sources.transient import is_transient
from tests.pipelines.conftest import make_market
from tests.pipelines.records import POSTGRES, postgres_server, postgres_storage

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.usefixtures("record_kind"),
    pytest.mark.parametrize("record_kind", [POSTGRES], indirect=True),
]


@pytest.fixture
def roots(tmp_path, monkeypatch):
    """The tiny market in two data roots, as two hosts have them, with one record."""
    monkeypatch.setattr(record_lock, "POLL_SECONDS", 0.01)
    markets = []
    for name in ("east", "west"):
        home = tmp_path / name / "dagster"
        home.mkdir(parents=True)
        storage = yaml.safe_dump({"storage": postgres_storage(tmp_path)})
        (home / "dagster.yaml").write_text(storage)
        markets.append(make_market(tmp_path / name / "tiny"))
    return markets


class Refused(Exception):
    pass


def refuse(text: str) -> None:
    raise Refused(text)


def test_two_data_roots_with_one_record_have_one_writer_of_an_asset(roots, monkeypatch):
    east, west = roots
    monkeypatch.setattr("socket.gethostname", lambda: "east")
    with writer_lock(east, "ohlcv", run_id="0123456789"):
        monkeypatch.setattr("socket.gethostname", lambda: "west")
        with writer_lock(west, "label", on_wait=refuse):
            pass
        waits = r"waiting for ohlcv: process \d+ on east \(run 01234567, ohlcv\) is at work on it"
        with (
            pytest.raises(Refused, match=waits),
            in_another_thread(),
            writer_lock(west, "ohlcv", on_wait=refuse),
        ):
            pytest.fail("the lock is held")
    with writer_lock(west, "ohlcv", on_wait=refuse):
        pass


def in_another_thread():
    """The same thread may not ask for a lock twice; threads of two hosts are never one."""
    patch = pytest.MonkeyPatch()

    class Block:
        def __enter__(self):
            patch.setattr(record_lock.threading, "get_ident", lambda: -1)

        def __exit__(self, *_):
            patch.undo()

    return Block()


def test_nothing_is_deleted_while_another_host_writes(roots):
    east, west = roots
    with (
        writer_lock(east, "label"),
        pytest.raises(
            PipelineError, match="at work on tiny: wait for its end; nothing was deleted"
        ),
        in_another_thread(),
        only_writer(west, ["ohlcv", "label"]),
    ):
        pytest.fail("the lock is held")
    with only_writer(west, [f"asset_{number}" for number in range(150)]):
        pass  # on one connection: a server has a hundred


def test_a_lock_whose_connection_dies_is_free_and_its_holder_is_told(roots, tmp_path, caplog):
    """The server lets go at once; the holder says so at the end, since it cannot undo its work."""
    east, west = roots
    with caplog.at_level(logging.WARNING), writer_lock(east, "ohlcv"):
        postgres_server().close_connections(tmp_path)
        with in_another_thread(), writer_lock(west, "ohlcv"):
            pass
    assert "the lock of tiny/ohlcv was lost with its connection" in caplog.text


def test_a_server_that_cannot_be_asked_is_named_and_tried_again(roots, tmp_path, monkeypatch):
    (east, _) = roots
    with writer_lock(east, "ohlcv"):
        pass
    server = locks.lock_server(east.paths.dagster)
    gone = server.url.update_query_dict({"host": "/nowhere"})
    monkeypatch.setattr(
        "pipelines.instance.locks.lock_server",
        lambda _home: record_lock.db.create_engine(gone.set(password="secret")),  # noqa: S106
    )
    with (
        pytest.raises(WarehouseError, match=r"cannot take a lock in the record") as raised,
        writer_lock(east, "ohlcv"),
    ):
        pytest.fail("there is no server")
    assert is_transient(raised.value)
    assert "secret" not in str(raised.value)


def test_one_daemon_a_record(roots, monkeypatch):
    east, west = (market.paths.dagster for market in roots)
    monkeypatch.setattr("socket.gethostname", lambda: "east")
    with only_daemon(east):
        monkeypatch.setattr("socket.gethostname", lambda: "west")
        refused = r"runs already: process \d+ on east; a second daemon"
        with pytest.raises(PipelineError, match=refused), in_another_thread(), only_daemon(west):
            pytest.fail("two daemons")


def test_a_record_in_local_files_asks_no_server(tmp_path):
    market = make_market(tmp_path / "tiny")
    assert locks.lock_server(market.paths.dagster) is None
    market.paths.dagster.mkdir()
    (market.paths.dagster / "dagster.yaml").write_text("run_monitoring: {enabled: true}\n")
    assert locks.lock_server(market.paths.dagster) is None
    with only_daemon(market.paths.dagster):
        pass
