"""The table of stages: the one list of assets in the project.

An asset is added by a module with a function that returns its `Stage`, and a line in one of the
four tuples here: `MARKET_STAGES` for one of the whole market, `DATASET_STAGES` for one of every
dataset, `MODEL_STAGES` for one of every model, `REPORTS` for one that is made after all of them.
Those of the models' ensemble follow the models (`ensembles.py`), if the YAML asks for them.
`status`, `demo`, `backfill`, `refresh`, `sync`, the schedule, the catalog, the reports and
Dagster's definitions all read `stages(market)`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pipelines.assets.dataset_rows import infer_stage, learn_stage
from pipelines.assets.ensembles import ensemble_stages
from pipelines.assets.evaluation import common_evaluation_stage, evaluation_stage
from pipelines.assets.features import features_stage, label_stage
from pipelines.assets.models import model_stage
from pipelines.assets.ohlcv import ohlcv_stage
from pipelines.assets.portfolios import portfolio_stage
from pipelines.assets.predictions import prediction_stage
from pipelines.assets.processor_fit import processors_stage
from pipelines.assets.reports import portfolio_report_stage, signal_report_stage
from pipelines.config.models import ModelSpec
from pipelines.market.dataset import Dataset
from pipelines.market.market import Market
from pipelines.market.stage import Kind, Stage

MARKET_STAGES: tuple[Callable[[Market], Stage], ...] = (ohlcv_stage,)
DATASET_STAGES: tuple[Callable[[Market, Dataset], Stage], ...] = (
    features_stage,
    label_stage,
    processors_stage,
    infer_stage,
    learn_stage,
)
MODEL_STAGES: tuple[Callable[[Market, ModelSpec], Stage | None], ...] = (
    model_stage,
    prediction_stage,
    evaluation_stage,
    common_evaluation_stage,
    portfolio_stage,
)
REPORTS: tuple[Callable[[Market, Sequence[Stage]], Stage], ...] = (
    signal_report_stage,
    portfolio_report_stage,
)
_ONE_A_MODEL = (Kind.MODEL, Kind.PREDICTION)


def stages(market: Market) -> tuple[Stage, ...]:
    """Every stage of a market, upstream first.

    Raises:
        ValueError: two stages have one name, a stage reads one that does not come before it or
            begins earlier than one that it reads, or a model has two stages of a kind of which it
            has one.
    """
    table = [make(market) for make in MARKET_STAGES]
    for dataset in market.datasets:
        # Datasets of equal features, or labels, share the stage of the first.
        made = {stage.name for stage in table}
        own = [make(market, dataset) for make in DATASET_STAGES]
        table += [stage for stage in own if stage.name not in made]
    of_models = (make(market, spec) for make in MODEL_STAGES for spec in market.models)
    table += [stage for stage in of_models if stage is not None]
    table += ensemble_stages(market)
    table += [make(market, tuple(table)) for make in REPORTS]
    _check(table)
    return tuple(table)


def _check(table: Sequence[Stage]) -> None:
    """Confirm the properties that all readers of the table rely on."""
    earlier: dict[str, Stage] = {}
    of_model: set[tuple[Kind, str]] = set()
    for stage in table:
        gaps = [name for name in stage.deps if name not in earlier]
        if gaps:
            raise ValueError(
                f"the stage {stage.name} reads {', '.join(gaps)}, which does not come before it; "
                f"move its line in pipelines/assets/stages.py, or name a stage that is there"
            )
        begins = max((earlier[name].first or "" for name in stage.deps), default="")
        if stage.tables and (stage.first or "") < begins:
            raise ValueError(
                f"the stage {stage.name} begins with {stage.first or 'the market'}, and what it "
                f"reads with {begins}; expected first={begins!r} or later"
            )
        if stage.name in earlier or " " in stage.name:
            raise ValueError(f"the name {stage.name!r} of a stage is taken, or has a space in it")
        if stage.tables and stage.tables[0].name != stage.name:
            raise ValueError(
                f"the first table of the stage {stage.name} is {stage.tables[0].name}; expected "
                f"the stage's own name, see Table.named"
            )
        if stage.model is not None and stage.kind in _ONE_A_MODEL:
            if (stage.kind, stage.model) in of_model:
                raise ValueError(
                    f"{stage.name} is a second stage of the kind {stage.kind} of the model "
                    f"{stage.model}; a stage that follows them is of the kind portfolio or data"
                )
            of_model.add((stage.kind, stage.model))
        earlier[stage.name] = stage
