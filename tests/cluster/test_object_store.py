"""Stores on a disk, in memory and in S3 keep one contract: whole files, published at once."""

from __future__ import annotations

import signal
from contextlib import nullcontext

import fsspec
import numpy as np
import pandas as pd
import pytest
import torch

from pipelines.errors import (
    MissingSessionsError,
    StoreRefusedError,
    StoreUnreachableError,
    WarehouseError,
)
from pipelines.sources.transient import is_transient
from pipelines.warehouse import revisions
from pipelines.warehouse.fetched import fetched_once
from pipelines.warehouse.stores import open_store
from pipelines.warehouse.verified_reads import RemoteReads
from pipelines.warehouse.warehouse import Warehouse
from rnn_core.models import build_network
from rnn_core.training import save_bundle
from rnn_core.training.bundle_files import (
    PRUNED,
    BundleError,
    PrunedBundleError,
    prunable_files,
    prune_bundle,
    read_verified,
)
from tests.cluster.s3_state import BUCKET, server  # noqa: F401 - a fixture
from tests.pipelines.processes import start_python
from tests.pipelines.warehouse.test_warehouse import KEYS, MADE, TABLE, rows

pytestmark = pytest.mark.cluster
PART = "part-0.parquet"


def save(folder):
    network = build_network("lstm", 3, {"hidden_size": 5})
    network.load_state_dict({k: torch.zeros_like(v) for k, v in network.state_dict().items()})
    save_bundle(
        folder,
        network,
        family="lstm",
        hyper={"hidden_size": 5},
        columns=["KLEN", "ROC60", "CORR5"],
        config={},
        history=pd.DataFrame({"epoch": [0]}),
        processors_json="{}",
        manifest={},
        replace=True,
    )


@pytest.fixture
def options(server):  # noqa: F811
    return {"endpoint_url": server.url}


@pytest.fixture
def url(tmp_path):
    return f"s3://{BUCKET}/{tmp_path.name}"


@pytest.fixture(params=["local", "memory", "s3"])
def store(request, tmp_path, url, options):
    if request.param == "s3":
        yield open_store(url, options)
    elif request.param == "local":
        yield open_store(tmp_path / "store")
    else:
        yield open_store(f"memory://{tmp_path.name}")
        files = fsspec.filesystem("memory")
        if files.exists(f"/{tmp_path.name}"):
            files.rm(f"/{tmp_path.name}", recursive=True)


@pytest.mark.parametrize("once", [False, True])
def test_files(store, once):
    with fetched_once() if once else nullcontext():
        with pytest.raises(FileNotFoundError):
            store.read("a", "b")
        assert store.files() == []
        assert store.names() == set()
        store.write(b"one", "a", "b")
        assert (store.read("a", "b"), store.exists("a", "b")) == (b"one", True)
        assert store.create(b"two", "a", "b") is False
        assert store.create(b"two", "c") is True
        store.append(b"-three", "c")
        store.append(b"four", "d")
        assert (store.read("a", "b"), store.read("c"), store.read("d")) == (
            b"one", b"two-three", b"four")  # fmt: skip
        assert store.files() == ["a/b", "c", "d"]
        assert store.sizes() == {"a/b": 3, "c": 9, "d": 4}
        assert store.below("a").files() == ["b"]
        assert (store.names(), store.tables()) == ({"a", "c", "d"}, ["a"])
        store.remove("c")
        store.remove("c")
        assert (store.files(), store.exists("c")) == (["a/b", "d"], False)
        store.below("a").remove_all()
        assert store.files() == ["d"]


@pytest.mark.parametrize("once", [False, True])
def test_a_bundle_is_pruned_wherever_it_lies(store, once):
    folder = store.below("lstm", "2020-04-01")
    with fetched_once() if once else nullcontext():
        save(folder)
        before, files = prunable_files(folder.sizes()), read_verified(folder)[0]
        assert {name.split("/")[-1] for name in before} == {
            "weights.safetensors",
            "processors.json",
        }
        prune_bundle(folder)
        assert prunable_files(folder.sizes()) == {}
        assert read_verified(folder, weights=False)[0] == files
        with pytest.raises(PrunedBundleError):
            read_verified(folder)
        save(folder)
        assert read_verified(folder)[0] == files
        assert not folder.exists(PRUNED)


def test_a_revision_has_the_time_of_the_file_that_was_served(store):
    """`sync` tells by it what was served, whenever the revision was kept."""
    store.write(b"served", "t", f"date={KEYS[0]}", PART)
    when = store.written("t", f"date={KEYS[0]}", PART)
    assert revisions.keep(store, "t", KEYS[0]) == 1
    store.write(b"anew", "t", f"date={KEYS[0]}", PART)
    assert revisions.first_written(store, "t", KEYS[0]) == pytest.approx(when, abs=1e-3)
    assert revisions.numbers(store, "t", KEYS[0]) == [1]
    assert (revisions.tables(store), revisions.sessions(store, "t")) == (["t"], KEYS[:1])


def test_files_that_belong_together_are_replaced_together(store):
    folder = store.below("bundle")
    for value in (b"1", b"2"):
        files = {"state/0/x": b"x" + value, "config": b"c" + value, "manifest": b"m" + value}
        folder.publish(files, "manifest")
        last = folder.read("manifest")
        assert last == b"m" + value
        assert folder.published("state/0/x", last) == b"x" + value
        assert len(folder.files()) == 3, "nothing of the earlier version is left"


KILLED = """
import os, signal, sys
from pipelines.warehouse.object_store import ObjectStore
from pipelines.warehouse.stores import open_store
from tests.cluster.test_object_store import published

def publish(url, puts):
    left = [int(puts)]
    def counted(name):
        put = getattr(ObjectStore, name)
        def put_or_die(self, data, *parts):
            if not left[0]:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return put(self, data, *parts)
        setattr(ObjectStore, name, put_or_die)
    counted("write"), counted("create")
    published(open_store(url, {"endpoint_url": endpoint}), "new")
    os._exit(0)

endpoint, *cases = sys.argv[1:]
for url, puts in zip(cases[::2], cases[1::2]):  # without threads of a client it may fork
    child = os.fork() or publish(url, puts)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
PUTS = (0, 2, 5)


@pytest.fixture(scope="module")
def killed(server):  # noqa: F811
    """Bundles, new ones and replaced ones, whose publication was killed before one of its puts."""
    url, options = f"s3://{BUCKET}/killed", {"endpoint_url": server.url}
    stores = {
        (before, puts): open_store(f"{url}/{before}{puts}", options).below("m", "2024-01-02")
        for before in (False, True)
        for puts in PUTS
    }
    for (before, _), store in stores.items():
        if before:
            published(store, "old")
    cases = [word for (_, puts), store in stores.items() for word in (store.url(), str(puts))]
    process = start_python(KILLED, server.url, *cases)
    said, errors = process.communicate(timeout=300)
    assert said.split() == [b"%d" % -signal.SIGKILL] * len(stores), errors.decode()
    return stores


def published(store, text):
    """A bundle whose content is a text."""
    import pandas as pd
    import torch

    from rnn_core.models import build_network
    from rnn_core.training import save_bundle

    torch.manual_seed(0)
    hyper = {"hidden_size": 2, "num_layers": 1}
    return save_bundle(
        store, build_network("gru", 1, hyper), family="gru", hyper=hyper, columns=["A"],
        config={"text": text}, history=pd.DataFrame({"epoch": [0]}), processors_json="{}",
        manifest={"text": text}, identity={"text": text}, replace=True,
    )  # fmt: skip


@pytest.mark.parametrize("puts", PUTS)
@pytest.mark.parametrize("before", [False, True], ids=["new", "replaced"])
def test_a_killed_publication_leaves_nothing_visible(killed, puts, before):
    """Killed before its first, a middle and its last put: the earlier bundle is whole, or none."""
    store = killed[before, puts]
    if before:
        assert read_verified(store)[0]["text"] == "old"
    else:
        assert not store.exists("manifest.json")
        with pytest.raises(BundleError):
            read_verified(store)
    published(store, "new")
    assert read_verified(store)[0]["text"] == "new"
    assert len(store.files()) == 6, "what the killed process left is gone"


def test_a_file_replaced_while_it_is_read_is_not_torn(url, options, server, monkeypatch):  # noqa: F811
    """Another process writes between the verification and the rows: they are the verified ones."""
    warehouse, other = (Warehouse(open_store(url, options), {}) for _ in range(2))
    for seed, key in enumerate(KEYS):
        warehouse.write(TABLE, "features", key, rows(seed), MADE)
    fetch = RemoteReads._fetch

    def interfering(self, name, keys, work):
        def replaced_first(key, raw):
            other.write(TABLE, "features", key, rows(7), MADE)
            return work(key, raw)

        return fetch(self, name, keys, replaced_first)

    before = {key: warehouse.info("features", key).digest for key in KEYS}
    monkeypatch.setattr(RemoteReads, "_fetch", interfering)
    server.asked.clear()
    parts = warehouse.read("features", KEYS, needed_by="test", columns=["A"])
    assert parts.digests == before
    expected = np.concatenate([rows(seed).sort_values("instrument")["A"] for seed in range(3)])
    np.testing.assert_array_equal(parts.frame["A"], expected)
    files = [path for method, path, _ in server.asked if method == "GET" and PART in path]
    assert len(files) == len(KEYS), "one request a file"
    again = warehouse.read("features", KEYS[:1], needed_by="test", columns=["A"])
    np.testing.assert_array_equal(again.frame["A"], rows(7).sort_values("instrument")["A"])


def test_rows_are_those_that_the_engine_gives(url, options, tmp_path):
    remote, local = Warehouse(open_store(url, options), {}), Warehouse(tmp_path / "w", {})
    for warehouse in (remote, local):
        for seed, key in enumerate(KEYS):
            warehouse.write(TABLE, "features", key, rows(seed), MADE)
    for columns in (None, ["B"], ["B", "instrument"]):
        here, there = (
            w.read("features", KEYS[::-1], needed_by="test", columns=columns)
            for w in (local, remote)
        )
        assert here.frame.equals(there.frame)
        assert (here.frame.dtypes == there.frame.dtypes).all()
        assert here.digests == there.digests
    with pytest.raises(MissingSessionsError, match="2024-02-01"):
        remote.read("features", [*KEYS, "2024-02-01"], needed_by="test")
    with pytest.raises(WarehouseError, match="other columns now"):
        remote.read("features", KEYS, needed_by="test", columns=["C"])


WRITES = """
import sys
from pipelines.warehouse.stores import open_store
from pipelines.warehouse.warehouse import Warehouse
from tests.pipelines.warehouse.test_warehouse import KEYS, MADE, TABLE, rows
url, endpoint = sys.argv[1:]
warehouse = Warehouse(open_store(url, {"endpoint_url": endpoint}), {"name": "x"})
for number in range(60):
    warehouse.write(TABLE, "features", KEYS[0], rows(number % 2), MADE)
"""


def test_two_processes_write_and_read_one_partition(server, url, options):  # noqa: F811
    """Every read is one of the two versions, and its digest that of its rows."""
    warehouse = Warehouse(open_store(url, options), {"name": "x"})
    versions = {}
    for seed in (0, 1):
        info = warehouse.write(TABLE, "features", KEYS[0], rows(seed), MADE)
        versions[info.digest] = rows(seed).sort_values("instrument")["A"].to_numpy()
    process = start_python(WRITES, url, server.url)
    seen = set()
    while process.poll() is None:
        parts = warehouse.read("features", KEYS[:1], needed_by="test")
        digest = parts.digests[KEYS[0]]
        np.testing.assert_array_equal(parts.frame["A"], versions[digest])
        seen.add(digest)
    assert process.returncode == 0, process.communicate()[1].decode()
    assert seen == set(versions)


def test_one_market_claims_a_place(url, options):
    """Two that begin at once: the second put of the record is refused by the store."""
    first, second = (Warehouse(open_store(url, options), {"name": name}) for name in "xy")
    assert second.record._read() is None
    first.record.claim()
    with pytest.raises(WarehouseError, match="another market"):
        second.record.claim()


def test_a_store_that_does_not_answer_is_no_damage(url):
    """A transient error, which a run tries again; a bundle is not called damaged."""
    options = {
        "endpoint_url": "http://127.0.0.1:9",
        "config_kwargs": {"retries": {"max_attempts": 0}},
    }
    store = open_store(url, options)
    with pytest.raises(StoreUnreachableError, match=r"s3://.* cannot be reached") as error:
        read_verified(store)
    assert is_transient(error.value)
    with pytest.raises(StoreUnreachableError):
        Warehouse(store, {}).sessions("features")
    with pytest.raises(WarehouseError) as error:
        Warehouse(store, {}).write(TABLE, "features", KEYS[0], rows(), MADE)
    assert is_transient(error.value)


def test_a_refusal_names_the_variables(url, options, monkeypatch):
    """No credentials: no traceback of the client, and no damaged bundle."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    store = open_store(url, {**options, "skip_instance_cache": True, "anon": False})
    with pytest.raises(StoreRefusedError, match="AWS_SECRET_ACCESS_KEY"):
        read_verified(store)
