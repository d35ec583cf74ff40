"""A tiny simulated market, and the means to run its graph in this process."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from pipelines.assets import asset_factory
from pipelines.assets.stages import stages
from pipelines.build import build_definitions
from pipelines.config import secrets_in_text
from pipelines.config.loader import parse_config
from pipelines.market.market import Market
from pipelines.market.shown_tables import update_catalog
from pipelines.operations.runs import run_assets
from tests.pipelines.built_once import copy_built_once
from tests.pipelines.databases import make_databases_once
from tests.pipelines.drawn_once import blank_figure, blank_png, drawn_once, figure_makers
from tests.pipelines.own_parts_package import own_parts  # noqa: F401 - a fixture of all rooms
from tests.pipelines.records import open_record, own_record, record_kind  # noqa: F401

DATA_ASSETS = ("ohlcv", "alpha158", "label", "dataset_infer", "dataset_learn")
DATA_STAGE = ("ohlcv", "alpha158", "label", "processors", "dataset_infer", "dataset_learn")
REPORTS = ("signal_report", "portfolio_report")
COLUMNS = ["KMID", "ROC5", "STD5", "CORR5", "RSQR10", "VSTD5"]

TINY: dict[str, Any] = {
    "name": "tiny",
    "market": {
        "source": {
            "kind": "simulated",
            "instruments": 6,
            "seed": 3,
            "suspension_rate": 0.03,
            "split_rate": 0.01,
        },
        "calendar": "XNYS",
        "start": "2020-01-02",
        "end": "2020-05-15",
        "vwap": "amount",
    },
    "dataset": {
        "fit_start": "2020-01-10",
        "fit_end": "2020-03-13",
        "step_len": 5,
        "infer_processors": [
            {"FilterCol": {"col_list": COLUMNS}},
            {"RobustZScoreNorm": {"clip_outlier": True}},
            "Fillna",
        ],
        "learn_processors": ["DropnaLabel", "CSRankNorm"],
    },
    "training": {
        "first_trained": "2020-04-01",
        "window_sessions": 45,
        "valid_sessions": 8,
        "retrain_every": 12,
    },
    "models": {
        "lstm": {"hidden_size": 4, "num_layers": 1, "n_epochs": 2, "batch_size": 64},
        "gru": {"hidden_size": 4, "num_layers": 1, "n_epochs": 2, "batch_size": 64},
        "krnn": {"cnn_dim": 4, "rnn_dim": 4, "rnn_layers": 1, "n_epochs": 2, "batch_size": 64},
    },
    "checks": {
        "model": {"beats_constant": "warn"},  # two epochs on six names learn nothing
        "bars": {"min_coverage": 0.3},  # of six names, some are suspended
    },
    "portfolio": {"topk": 2, "n_drop": 1},
}


def model_assets(market: Market) -> tuple[str, ...]:
    """Models, predictions, evaluations and portfolios, upstream first."""
    return tuple(
        f"{spec.name}_{kind}"
        for kind in ("model", "prediction", "evaluation", "portfolio")
        for spec in market.models
    )


def key_of(stage: str, market: str = "tiny") -> dg.AssetKey:
    """The asset key of a stage of the tiny market, as the UI shows it."""
    return dg.AssetKey([market, stage])


def merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with nested `changes`."""
    out = copy.deepcopy(dict(base))
    for key, value in changes.items():
        nested = isinstance(value, Mapping) and isinstance(out.get(key), Mapping)
        out[key] = merged(out[key], value) if nested else value
    return out


def make_market(root: Path, changes: Mapping[str, Any] | None = None, **kwargs: Any) -> Market:
    """The tiny market with changes to its configuration, its state below `root`."""
    return Market(parse_config(merged(TINY, changes or {})), root=root, **kwargs)


def market_of(root: Path, model: str, changes: Mapping[str, Any] | None = None) -> Market:
    """The tiny market with one of its models only, where a test needs no more to train."""
    config = merged(TINY, changes or {})
    config["models"] = {model: config["models"][model]}
    return Market(parse_config(config), root=root)


def materialize(
    market: Market, assets: Sequence[str], first: str, last: str, instance: dg.DagsterInstance
) -> None:
    """Run assets over a range of sessions; the catalog is made once, and not by every asset."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asset_factory, "update_catalog", lambda *_: False)
        run_assets(build_definitions(market), instance, assets, (first, last))
    if market.tables.is_local:
        update_catalog(market, stages(market))


def run_data(market: Market, instance: dg.DagsterInstance, last: str | None = None) -> None:
    """The data assets over the span."""
    sessions = market.sessions
    end = last or sessions.keys[-1]
    materialize(market, [*DATA_ASSETS, "processors"], sessions.first, end, instance)


def run_everything(market: Market, instance: dg.DagsterInstance, last: str | None = None) -> None:
    """The data assets over the span and the models from the first trained session on."""
    run_data(market, instance, last)
    end = last or market.sessions.keys[-1]
    materialize(market, model_assets(market), market.plan.first_trained, end, instance)


def partition_bytes(market: Market) -> dict[str, str]:
    """SHA-256 of every partition file, by path below the warehouse."""
    root = market.paths.warehouse
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.glob("*/date=*/*"))
    }


class ChangedBars:
    """A source whose bars pass through a function first."""

    def __init__(self, source: Any, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
        self._source = source
        self._change = change

    def fetch(self, keys: Sequence[str]) -> pd.DataFrame:
        """The changed bars."""
        return self._change(self._source.fetch(keys).copy())


@pytest.fixture(scope="session", autouse=True)
def _databases_made_once() -> Iterator[None]:
    """The databases of a record are copies of empty ones."""
    with pytest.MonkeyPatch.context() as patch:
        make_databases_once(patch)
        yield


@pytest.fixture(scope="module", autouse=True)
def _no_secrets_of_other_modules() -> None:
    """A process quotes no secret that it has read; a made-up one may be an ordinary word."""
    secrets_in_text._remembered.clear()


@contextmanager
def pictures(*, drawn: bool, figures: bool) -> Iterator[None]:
    """Draw pictures, equal ones once, or leave them blank; without `figures` make none of them."""
    from rnn_core import evaluation
    from rnn_core.evaluation import render, report

    with pytest.MonkeyPatch.context() as patch:
        png_bytes = drawn_once(render.png_bytes) if drawn else blank_png
        if not drawn:
            patch.setattr(report, "report_charts", lambda *_, **__: {})
        if not figures:
            figure = blank_figure()
            for module, name in figure_makers(evaluation, report):
                patch.setattr(module, name, lambda *_, **__: figure)
        for module in (evaluation, render, report):
            patch.setattr(module, "png_bytes", png_bytes)
        yield


@pytest.fixture(scope="module", autouse=True)
def _pictures(request: pytest.FixtureRequest) -> Iterator[None]:
    """Pictures are blank, since to draw them takes a third of a run.

    In the modules with the marker `pictures` they are drawn, equal ones once, and in the room of
    the reports their figures are made, which elsewhere takes a sixth of a run.
    """
    drawn = request.node.get_closest_marker("pictures") is not None
    with pictures(drawn=drawn, figures=drawn or request.node.path.parent.name == "reports"):
        yield


@pytest.fixture
def instance():
    """An empty Dagster record."""
    with own_record() as record:
        yield record


@pytest.fixture
def market(tmp_path: Path) -> Market:
    """The tiny market with nothing in it yet."""
    return make_market(tmp_path / "tiny")


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Market:
    """The tiny market with its whole graph run over the whole span; not to be written to."""

    def build(root: Path) -> None:
        built = make_market(root)
        # A fixture of the session is made before those of a module blank the pictures.
        with pictures(drawn=False, figures=False), own_record() as record:
            run_everything(built, record)
            run_assets(build_definitions(built), record, REPORTS)

    market = make_market(tmp_path_factory.mktemp("finished") / "tiny")
    copy_built_once(shared_folder(tmp_path_factory) / "finished", market.paths.root, build)
    update_catalog(market, stages(market))  # its views name the folder that it was built in
    return market


def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that all workers of pytest-xdist share; without it this process's own."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
