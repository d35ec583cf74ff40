"""What of a market is absent or stale: the work that is left for a command.

A partition is current if its file is there, Dagster's record has it, its provenance names the
asset's present code version and configuration, and its inputs are what is there now. Only footers
are read. Bars are compared with nothing upstream: a source is asked when `ohlcv` runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import dagster as dg

from pipelines import inputs
from pipelines.assets.base import CONFIG_HASH
from pipelines.bundles import require_bundle
from pipelines.errors import ModelNotTrainedError, ProcessorStateError
from pipelines.market import Market
from pipelines.partition_file import PartitionInfo, fingerprint
from pipelines.processing import load_state
from pipelines.training import training_config


@dataclass(frozen=True)
class Work:
    """What is left to do: these assets over this range of sessions."""

    assets: tuple[str, ...]
    first: str
    last: str


class Footers(dict[str, dict[str, str]]):
    """Digests by table and session, from the footers; a table is read when it is asked for."""

    def __init__(self, market: Market) -> None:
        super().__init__()
        self._warehouse = market.warehouse
        self.infos: dict[str, dict[str, PartitionInfo]] = {}

    def __missing__(self, table: str) -> dict[str, str]:
        keys = self._warehouse.sessions(table)
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(lambda key: self._warehouse.info(table, key), keys)
        self.infos[table] = {k: i for k, i in zip(keys, found, strict=True) if i is not None}
        self[table] = {key: info.digest for key, info in self.infos[table].items()}
        return self[table]


def processors_are_current(market: Market, footers: Footers) -> bool:
    """Whether the fitted state is there, for this configuration and from this data."""
    try:
        return load_state(market).inputs == inputs.processors_inputs(market, footers)
    except (ProcessorStateError, KeyError):
        return False


def pending(
    market: Market,
    defs: dg.Definitions,
    instance: dg.DagsterInstance,
    assets: Sequence[str],
    sessions: Sequence[str],
) -> Work | None:
    """What of these assets and sessions is absent or stale; None where nothing is.

    Whatever follows an asset that must run again runs again too.

    Args:
        market: the market.
        defs: its definitions.
        instance: its Dagster record.
        assets: assets, upstream first; `processors` may be among them.
        sessions: the sessions wanted.
    """
    if not sessions:
        return None
    graph, footers = defs.resolve_asset_graph(), Footers(market)
    affected: list[str] = []
    first: str | None = None
    for name in assets:
        node = graph.get(dg.AssetKey(name))
        if name == "processors":
            missing = None if processors_are_current(market, footers) else sessions[0]
        else:
            recorded = instance.get_materialized_partitions(node.key)
            made_by = (node.code_version, node.metadata[CONFIG_HASH])
            missing = next(
                (
                    key
                    for key in sessions
                    if key not in recorded or not _is_current(market, name, key, made_by, footers)
                ),
                None,
            )
        upstream = {key.to_user_string() for key in node.parent_keys}
        if missing is not None or upstream & set(affected):
            affected.append(name)
        if missing is not None:
            first = missing if first is None else min(first, missing)
    return None if first is None else Work(tuple(affected), first, sessions[-1])


def _is_current(
    market: Market, name: str, key: str, made_by: tuple[str | None, str], footers: Footers
) -> bool:
    """Whether a partition is there, of this code and configuration, made from what is there."""
    if key not in footers[name]:
        return False
    made = footers.infos[name][key].provenance
    if (made.code_version, made.config) != made_by:
        return False
    try:
        expected = expected_inputs(market, name, key, footers)
    except (KeyError, ProcessorStateError, ModelNotTrainedError):
        return False
    return expected is None or made.inputs == expected


def expected_inputs(market: Market, name: str, key: str, footers: Footers) -> dict[str, str] | None:
    """The inputs that a partition would be made from now; None for bars, which have a source.

    Raises:
        KeyError: something that it reads is absent.
        ProcessorStateError: the processors are not fitted for this configuration.
        ModelNotTrainedError: the bundle in force is not there, or is stale.
    """
    if name == "ohlcv":
        return None
    if name == "alpha158":
        return inputs.alpha158_inputs(market, key, footers)
    if name == "label":
        return inputs.label_inputs(market, key, footers)
    if name == "dataset_infer":
        return inputs.dataset_infer_inputs(key, footers, load_state(market).hash)
    if name == "dataset_learn":
        return inputs.dataset_learn_inputs(market, key, footers, load_state(market).hash)
    model, kind = name.rsplit("_", 1)
    if kind == "prediction":
        return inputs.prediction_inputs(market, model, key, footers)
    if kind == "evaluation":
        return inputs.evaluation_inputs(market, model, key, footers)
    return _model_inputs(market, model, key, footers)


def _model_inputs(market: Market, model: str, key: str, footers: Footers) -> dict[str, str]:
    """The bundle in force, after confirming that it is the one that would be trained now."""
    anchor = market.plan.anchor(key)
    if anchor is None:
        return {}
    bundle = require_bundle(market, model, anchor, f"{model}_model of {key}")
    if not market.plan.is_pinned(key):
        spec = next(spec for spec in market.models if spec.name == model)
        wanted = fingerprint(training_config(market, spec))
        data = inputs.training_inputs(market, anchor, footers)
        if (bundle.manifest.get("config_hash"), bundle.manifest.get("data")) != (wanted, data):
            raise ModelNotTrainedError(f"the {model} bundle of {anchor} is stale")
    return {"bundle": bundle.fingerprint}
