"""The assets that `--select` names."""

from __future__ import annotations

import re
import warnings

import dagster as dg

from pipelines.errors import PipelineError, did_you_mean
from pipelines.instance.names import stage_of
from pipelines.operations.runs import keys_by_stage

_BARE = re.compile(
    r"""(?P<up>\d*\+|)(key:)?(?P<quote>["']?)((?P<market>\w+)/)?(?P<name>[\w*]+)(?P=quote)"""
    r"""(?P<down>\+\d*|)"""
)


def selected_assets(defs: dg.Definitions, text: str) -> tuple[str, ...]:
    """The assets that a selection names, upstream first.

    A selection has terms of Dagster's syntax, separated by commas or spaces; a bare name stands for
    `key:MARKET/NAME`. `+name` adds all assets upstream, `name+` all downstream, `1+name` one layer;
    `gru_*` is every name that begins so, `group:NAME` a group. Assets without partitions are taken
    only if they are named themselves: a `+` never refits the processors.

    Args:
        defs: the market's definitions.
        text: the selection.

    Raises:
        PipelineError: an unknown name, or a term that Dagster does not read.
    """
    graph = defs.resolve_asset_graph()
    keys_by_name = keys_by_stage(defs)
    (own,) = {key.path[0] for key in keys_by_name.values()}
    selection: set[dg.AssetKey] = set()
    for term in re.split(r"[,\s]+", text.strip(", ")):
        bare = _BARE.fullmatch(term)
        name = bare["name"] if bare else ""
        market = (bare and bare["market"]) or own
        if market != own:
            raise PipelineError(f"--select {text!r}: {term!r} is of another market than {own}")
        if bare and "*" not in name and name not in keys_by_name:
            raise PipelineError(
                f"unknown asset {name!r} in --select {text!r}; {did_you_mean(name, keys_by_name)}"
            )
        query = f'{bare["up"]}key:"{own}/{name}"{bare["down"]}' if bare else term
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", dg.BetaWarning)
                keys = dg.AssetSelection.from_string(query).resolve(graph)
        except dg.DagsterError as error:
            raise PipelineError(f"--select {text!r}: cannot read {term!r}: {error}") from error
        selection |= {
            key for key in keys if graph.get(key).is_partitioned or key == keys_by_name.get(name)
        }
    if not selection:
        raise PipelineError(f"--select {text!r} names no asset with partitions")
    return tuple(stage_of(key) for key in graph.toposorted_asset_keys if key in selection)
