"""Count the requests that one session of every asset makes to an S3 server, by length of history.

    python benchmarks/s3_requests.py [--sessions 150 600] [--names 6]

Makes a simulated market with one model on the local disk, copies its state to a server on this
machine (moto), takes away the partitions of the newest session, and makes that session anew, asset
by asset, each with nothing fetched before. The model trains at no counted session. Requests are
counted at the server: a GET of a file, a listing (a GET of the bucket), HEAD, PUT and others.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import exchange_calendars
import fsspec
import pandas as pd
from moto.core import DEFAULT_ACCOUNT_ID
from moto.moto_server.werkzeug_app import DomainDispatcherApplication
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.config.loader import parse_config
from pipelines.config.market_file import FactoryConfig
from pipelines.instance.home import dagster_instance
from pipelines.market.market import Market
from pipelines.market.stage import Kind
from pipelines.operations.runs import run_assets
from pipelines.operations.sync import sync_record

BUCKET = "signals"
KINDS = ("read", "LIST", "HEAD", "PUT", "other")
END = "2023-06-30"
COLUMNS = ["KMID", "ROC5", "STD5", "CORR5", "RSQR10", "VSTD5"]


class CountingServer:
    """An S3 server on a free port of this machine, with an empty bucket.

    Attributes:
        url: its address.
        asked: method, path and query of every request since the last `clear`.
    """

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, str]] = []
        self._server = ThreadedMotoServer(port=0, verbose=False)
        logging.getLogger("werkzeug").setLevel(logging.WARNING)  # a line a request otherwise

    def __enter__(self) -> CountingServer:
        answer, asked = DomainDispatcherApplication.__call__, self.asked

        def counted(app: Any, environ: Mapping[str, Any], start: Any) -> Any:
            asked.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"]))
            return answer(app, environ, start)

        self._answer = answer
        DomainDispatcherApplication.__call__ = counted
        self._server.start()
        _, port = self._server.get_host_and_port()
        self.url = f"http://127.0.0.1:{port}"
        self.files = fsspec.filesystem("s3", endpoint_url=self.url, use_listings_cache=False)
        self.files.makedirs(BUCKET, exist_ok=True)  # servers of one process share their buckets
        return self

    def __exit__(self, *error: object) -> None:
        self._server.stop()
        DomainDispatcherApplication.__call__ = self._answer

    def counts(self) -> Counter[str]:
        """The requests since the last `clear`, by kind."""
        kinds: Counter[str] = Counter()
        for method, _, query in self.asked:
            if method == "GET":
                method = "LIST" if "list-type" in query else "read"
            kinds[method if method in KINDS else "other"] += 1
        return kinds

    def upload(self, folder: Path, prefix: str) -> None:
        """Copy a local folder to the bucket, past HTTP, which takes minutes for years of files."""
        state = s3_backends[DEFAULT_ACCOUNT_ID]["aws"]
        for path in (path for path in folder.rglob("*") if path.is_file()):
            name = f"{prefix}/{path.relative_to(folder).as_posix()}"
            state.put_object(BUCKET, name, path.read_bytes())


@contextmanager
def credentials() -> Iterator[None]:
    """Credentials in the environment that any server of this machine takes."""
    names = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "x")
    names["AWS_DEFAULT_REGION"] = "us-east-1"
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def configuration(n_sessions: int, names: int) -> FactoryConfig:
    """A market of so many sessions that trains in the middle of its last sixty."""
    days = exchange_calendars.get_calendar("XNYS").sessions_window(pd.Timestamp(END), -n_sessions)
    keys = [str(day.date()) for day in days]
    return parse_config(
        {
            "name": "counted",
            "market": {
                "source": {"kind": "simulated", "instruments": names, "seed": 3},
                "calendar": "XNYS",
                "start": keys[0],
                "end": keys[-1],
                "vwap": "amount",
            },
            "dataset": {
                "fit_start": keys[5],
                "fit_end": keys[-40],
                "step_len": 5,
                "infer_processors": [
                    {"FilterCol": {"col_list": COLUMNS}},
                    {"RobustZScoreNorm": {"clip_outlier": True}},
                    "Fillna",
                ],
                "learn_processors": ["DropnaLabel", "CSRankNorm"],
            },
            "training": {
                "first_trained": keys[-30],
                "window_sessions": 60,
                "valid_sessions": 10,
                "retrain_every": 60,
            },
            "models": {"gru": {"hidden_size": 4, "num_layers": 1, "n_epochs": 1}},
            "checks": {"model": {"beats_constant": "warn"}, "bars": {"min_coverage": 0.3}},
            "portfolio": {"topk": 2, "n_drop": 1},
        }
    )


def built(n_sessions: int, names: int, root: Path) -> Market:
    """The market with all of its sessions, on the local disk."""
    market = Market(configuration(n_sessions, names), root=root)
    table, defs = stages(market), build_definitions(market)
    last = market.sessions.keys[-1]
    with dagster_instance(market) as instance:
        for first in sorted({s.first or market.sessions.first for s in table if s.tables}):
            names_of = [s.name for s in table if s.tables and (s.first or first) == first]
            data = [name for name in names_of if not name.startswith("dataset_")]
            run_assets(defs, instance, data, (first, last))
            if first == market.sessions.first:
                run_assets(defs, instance, ["processors"])
                rest = [name for name in names_of if name.startswith("dataset_")]
                run_assets(defs, instance, rest, (first, last))
    return market


def remote(server: CountingServer, local: Market, prefix: str, root: Path) -> Market:
    """The market of a state that was copied to the server, on a machine that is new to it."""
    url = f"s3://{BUCKET}/{prefix}"
    place: dict[str, Any] = {"warehouse": f"{url}/counted/warehouse"}
    if "state" in FactoryConfig.model_fields:
        place = {"state": url, "storage_options": {"endpoint_url": server.url}}
    os.environ["AWS_ENDPOINT_URL"] = server.url  # what revisions without storage_options read
    return Market(local.config.model_copy(update=place), root=root)


def requests_by_asset(
    server: CountingServer, local: Market, prefix: str, root: Path
) -> pd.DataFrame:
    """Requests of the newest session, by kind and asset; `read` are GETs of files.

    Args:
        server: the server.
        local: the market with all of its sessions; its state is copied to the server.
        prefix: where the copy goes.
        root: the market's folder on the machine that works with the copy.
    """
    server.upload(local.paths.root, f"{prefix}/counted")
    market, key = remote(server, local, prefix, root), local.sessions.keys[-1]
    made = [s for s in stages(market) if s.tables]
    with dagster_instance(market) as instance:
        sync_record(local, stages(local), instance)
    for table in (table for stage in made for table in stage.tables):
        path = f"{BUCKET}/{prefix}/counted/warehouse/{table.name}/date={key}/part-0.parquet"
        server.files.rm_file(path)
    rows = {}
    for stage in made:
        if stage.kind is Kind.MODEL:
            assert not market.plan_of(str(stage.model)).trains(key)
        defs = build_definitions(remote(server, local, prefix, root))
        with dagster_instance(market) as instance:
            server.asked.clear()
            run_assets(defs, instance, [stage.name], (key, key), tags={"rnn/current": "ask"})
        rows[stage.name] = server.counts()
    frame = pd.DataFrame(rows).T.reindex(columns=list(KINDS)).fillna(0).astype(int)
    return frame.assign(all=frame.sum(axis=1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, nargs="+", default=[150, 600])
    parser.add_argument("--names", type=int, default=6)
    args = parser.parse_args()
    with credentials(), CountingServer() as server, tempfile.TemporaryDirectory() as folder:
        for count in args.sessions:
            local = built(count, args.names, Path(folder) / f"local{count}" / "counted")
            root = Path(folder) / f"remote{count}" / "counted"
            table = requests_by_asset(server, local, f"state{count}", root)
            print(f"\n{count} sessions\n{table.to_string()}")


if __name__ == "__main__":
    main()
