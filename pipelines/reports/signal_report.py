"""`signal_report`: models side by side over every session, as tables, pictures and one page.

It writes `signal.csv`, `comparison.csv` (models, their rank average and trivial baselines on the
same rows), `differences.csv` (tests of every pair), `references.csv` (those against the models that
every other one has to beat, of the families `linear` and `lightgbm`, where there are some),
`groups.csv` (IC inside each group of `evaluation.by_group`), the PNGs (`coverage.png` shows which
sessions have bars) and `report.html`, a page that needs no other file; `data/reports` has the page
of every market, by the market's name. Every file is moved into place whole.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipelines.calendar.trading_times import served_means
from pipelines.config.features import identity
from pipelines.errors import NothingToReportError
from pipelines.market.market import ENSEMBLE, Market
from pipelines.market.stage import Kind, Stage, by_model
from pipelines.reports.capacity_table import capacity_on_page
from pipelines.reports.portfolio_report import portfolios
from pipelines.reports.report_data import ReportData
from pipelines.reports.report_tables import (
    COMPARISON_TABLE,
    DIFFERENCES_TABLE,
    GROUPS_TABLE,
    REFERENCES_TABLE,
    SIGNAL_TABLE,
    Report,
    publish,
)
from pipelines.reports.trainings import trainings
from pipelines.training.registry import find_bundle, histories_of
from pipelines.warehouse import revisions
from pipelines.warehouse.identity import DamagedFileError
from pipelines.warehouse.partition_file import fingerprint

if TYPE_CHECKING:
    from rnn_core.evaluation import SignalAnalysis

PAGE = "report.html"
_ICS = ["ic", "rank_ic"]


def signal_report(
    market: Market,
    stages: Sequence[Stage],
    served: Mapping[str, Collection[str]] | None = None,
) -> Report:
    """Analyse the scores of every model, compare them, and write the page.

    Args:
        market: the market.
        stages: its stages.
        served: decisions by model that were scored in time to be traded on; the table tells their
            IC apart from that of backfilled ones. None if that is not known.

    Raises:
        NothingToReportError: no session has been evaluated yet.
    """
    from rnn_core.evaluation import (
        against,
        compare_signals,
        html_report,
        mean_test,
        plot_coverage,
        png_bytes,
        report_figures,
        signal_analysis,
        summarize_ic,
    )

    data = ReportData(market, stages, "signal_report")
    tables = {model: stage.name for model, stage in by_model(stages, Kind.EVALUATION).items()}
    # Models of another label than the default one have an evaluation on their own, too.
    own = {
        model: next(s.name for s in stages if s.kind is Kind.EVALUATION and s.model == model)
        for model in tables
    }
    evaluations = {
        model: rows.set_index("date")
        for model, name in tables.items()
        if (rows := data.rows(name)) is not None and not rows.empty
    }
    if not evaluations:
        raise NothingToReportError(
            "signal_report: no session has been evaluated yet; materialize the evaluations of "
            f"sessions from {market.plan.first_trained} plus {market.datasets[0].label_lag} "
            f"sessions on"
        )
    horizon = market.datasets[0].label_horizon  # of the label that all are measured on
    # One row a model; served decisions count with the figures that they had first.
    table = pd.DataFrame(
        {
            name: {
                **summarize_ic(rows),
                **{
                    f"{c}_t_nw": mean_test(pd.to_numeric(rows[c]), horizon=horizon)["t_nw"]
                    for c in _ICS
                },
                **seed_figures(rows),
                **({} if own == tables else own_figures(data, own[name])),
                **served_figures(
                    as_first_made(market, tables[name], rows),
                    None if served is None else served.get(name, ()),
                ),
            }
            for name, rows in evaluations.items()
        }
    ).T
    table.index.name = "model"
    of_models = {name: rows for name, rows in evaluations.items() if name != ENSEMBLE}
    histories, damaged = _newest_histories(market, of_models)
    trained, left_out = trainings(market, of_models)
    scores = {name: data.scores[name].score for name in of_models}
    if ENSEMBLE in evaluations and data.ensemble is not None:
        scores[ENSEMBLE] = data.ensemble
    analyses: dict[str, SignalAnalysis] = {
        name: signal_analysis(
            score,
            data.labels,
            bars=data.bars,
            groups=data.groups,
            quantiles=market.config.evaluation.quantiles,
            horizon=horizon,
        )
        for name, score in scores.items()
    }
    # All signals are compared on the same rows, baselines included.
    comparison = compare_signals(
        {name: data.scores[name].seeds or data.scores[name].score for name in of_models},
        data.labels,
        baselines=data.baselines(),
        ensemble=False if data.ensemble is None else data.ensemble,
        quantiles=market.config.evaluation.quantiles,
        horizon=horizon,
    )
    references = [name for name in market.reference_models if name in evaluations]
    results = portfolios(data, stages)
    pictures = report_figures(
        analyses, portfolios=results, comparison=comparison, histories=histories
    )
    pictures["coverage"] = png_bytes(plot_coverage(data.coverage))
    sized, capacity = capacity_on_page(data, results)
    page = html_report(
        analyses,
        title=f"{market.config.name}: signals and portfolios",
        portfolios=results,
        comparison=comparison,
        references=references,
        histories=histories,
        trainings=trained,
        provenance=_provenance(market, evaluations),
        notes=[
            *_remarks(table, analyses),
            *_notes(market, served),
            *damaged,
            *left_out,
            *data.gaps,
            *capacity,
        ],
        periods_per_year=market.config.portfolio.periods_per_year,
        figures=pictures | sized,
        strategy=market.config.portfolio.words,
    )
    csv_tables = {
        SIGNAL_TABLE: table,
        COMPARISON_TABLE: comparison.summary,
        DIFFERENCES_TABLE: comparison.differences,
    }
    groups = {name: a.by_group for name, a in analyses.items() if len(a.by_group)}
    if groups:
        csv_tables[GROUPS_TABLE] = pd.concat(groups, names=["model", "group"]).reset_index("group")
    if references:
        csv_tables[REFERENCES_TABLE] = against(comparison, references)
    # The page comes last, so that the files beside it are never older.
    publish(market, csv_tables, pictures)
    for file in (market.reports.file(PAGE), market.page):
        file.write(page.encode())
    days = {name: int(table.loc[name, "days"]) for name in table.index}
    remarks = {
        SIGNAL_TABLE: _remarks(table, analyses),
        COMPARISON_TABLE: comparison.notes,
        DIFFERENCES_TABLE: comparison.notes,
        REFERENCES_TABLE: comparison.notes,
    }
    lines = [f"signal_report: evaluated sessions {days}", *damaged]
    return Report(csv_tables, pictures, lines, remarks, PAGE)


def _remarks(table: pd.DataFrame, analyses: Mapping[str, SignalAnalysis]) -> list[str]:
    """Say why a model has no IC, and where the page's figures are of other sessions than these."""
    remarks = []
    for name, analysis in analyses.items():
        days, on_page = int(table["days"][name]), int(analysis.summary["days"]["ic"])
        if not on_page:
            remarks += [f"{name}: {note}" for note in analysis.notes]
        elif days != on_page:
            remarks.append(
                f"{name}: {days} evaluated sessions have an IC, and {on_page} of those that the "
                f"page shows, which scores all predictions whose labels have matured"
            )
    return remarks


def _newest_histories(
    market: Market, evaluations: Mapping[str, pd.DataFrame]
) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Loss curves of each model's newest evaluated training, and why some are left out."""
    from rnn_core.models.estimator_protocol import EstimatorFamily
    from rnn_core.models.families import family_of
    from rnn_core.training import BundleError

    histories: dict[str, pd.DataFrame] = {}
    notes: list[str] = []
    for name, rows in evaluations.items():
        newest = f"{rows['as_of'].max():%Y-%m-%d}"
        try:
            bundle = find_bundle(market, name, newest, weights=False)
        except BundleError as error:
            notes.append(
                f"the loss curve of {name} of {newest} is left out: {error}; materialize "
                f"{name}_model of {newest} to train it again"
            )
            continue
        if bundle is not None and not isinstance(family_of(bundle.family), EstimatorFamily):
            histories |= histories_of(f"{name} {newest}", bundle)
    return histories, notes


_NO_SETS: Any = {"features": {"set"}, "datasets": {"__all__": {"features": {"set"}}}}


def _provenance(market: Market, evaluations: Mapping[str, pd.DataFrame]) -> dict[str, object]:
    """The provenance of the page: market, configuration, source, label and models."""
    settings = market.config.model_dump(mode="json", exclude=_NO_SETS)
    settings["portfolio"] = market.config.portfolio.identity
    if market.config.ensemble is None:
        del settings["ensemble"]
    sets = [identity(spec.features.set) for spec in market.config.dataset_specs]
    if market.config.dataset is None:
        del settings["dataset"]
        settings["sets"] = sets
    else:  # a page of one dataset says what it always said
        del settings["datasets"]
        settings["features"]["set"] = sets[0]
        if settings["dataset"]["layout"] == "sessions":
            del settings["dataset"]["layout"]
    anchors = {n: sorted(set(r["as_of"].astype(str))) for n, r in evaluations.items()}
    return {
        "market": market.config.name,
        "configuration": fingerprint(settings)[:16],
        "source": market.config.market.source.kind,
        "label": market.datasets[0].spec.features.label,
        **{
            f"{name} models": f"{len(days)}, {days[0]} to {days[-1]}"
            for name, days in anchors.items()
        },
    }


def _notes(market: Market, served: Mapping[str, Collection[str]] | None) -> list[str]:
    """Remarks of the page that hold for any figures."""
    notes = ["ridge, reversal and momentum are baselines: a network that does not beat them earns "
             "nothing"]  # fmt: skip
    references = market.reference_models
    if references:
        notes = [
            "the baselines are trivial: a network that does not beat them earns nothing",
            f"every model is held against {' and '.join(references)} "
            f"({REFERENCES_TABLE}), which are no part of the ensemble where there are others",
        ]
    if market.config.market.source.kind == "bokeh_sample":
        notes.append("three to five names a day: these figures show the machinery, nothing more")
    others = [spec.name for spec in market.models if spec.name not in market.comparable_models]
    if others:
        notes.append(
            f"all models are measured on the label of the default dataset, "
            f"{market.datasets[0].spec.features.label}; {', '.join(others)} learned another one "
            f"(own_label_ic in {SIGNAL_TABLE}) and are no part of the ensemble"
        )
    if served is not None:
        notes.append(served_note(market, served))
    return notes


def served_note(market: Market, served: Mapping[str, Collection[str]]) -> str:
    """Say how many decisions were served, and when a decision of the market counts as served.

    Args:
        market: the market; its calendar says until when a score can be traded on.
        served: decision sessions by model.
    """
    if not any(served.values()):
        return "no decision was scored in time to be traded on: all were backfilled"
    counts = ", ".join(f"{name} {len(keys)}" for name, keys in served.items())
    return (
        f"decisions scored in time to be traded on, {served_means(market.sessions)}: {counts}; all "
        f"others were backfilled"
    )


def as_first_made(market: Market, table: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Evaluations with their first figures, even if they were made again since.

    A served session that is published anew keeps its first version as a revision: that version is
    the record of what was traded on, never one of hindsight. A damaged revision has no figures.

    Args:
        market: the market.
        table: the evaluations of a model.
        rows: its rows, by session.
    """
    store = market.warehouse.store
    result = rows.copy()
    for key in revisions.sessions(store, table):
        try:
            figures = revisions.first_rows(market.warehouse, table, key)[_ICS]
        except DamagedFileError:
            figures = pd.DataFrame([[math.nan, math.nan]], columns=_ICS)
        if pd.Timestamp(key) in result.index and len(figures):
            result.loc[pd.Timestamp(key), _ICS] = figures.iloc[0].to_numpy()
    return result


def served_figures(rows: pd.DataFrame, served: Collection[str] | None) -> dict[str, float]:
    """IC of served decisions apart from backfilled ones.

    Args:
        rows: evaluations.
        served: decision sessions; None leaves the figures out.

    Returns:
        served_days, served_ic, served_rank_ic; NaN where no served decision was evaluated.
    """
    if served is None:
        return {}
    served_rows = rows[
        pd.to_datetime(rows["decision_date"]).dt.strftime("%Y-%m-%d").isin(set(served))
    ]
    ic, rank_ic = (pd.to_numeric(served_rows[name]).mean() for name in ("ic", "rank_ic"))
    return {
        "served_days": len(served_rows),
        "served_ic": float(ic),
        "served_rank_ic": float(rank_ic),
    }


def own_figures(data: ReportData, table: str) -> dict[str, float]:
    """IC and rank IC of a model on the label of its own dataset.

    Args:
        data: the market's data.
        table: the evaluations of the model on that label.

    Returns:
        own_label_ic, own_label_rank_ic.
    """
    rows = data.rows(table, _ICS)
    means = {name: math.nan if rows is None else rows[name].mean() for name in _ICS}
    return {f"own_label_{name}": float(mean) for name, mean in means.items()}


def seed_figures(rows: pd.DataFrame) -> dict[str, float]:
    """Mean and standard deviation over the seeds of each network's mean IC and rank IC.

    Only sessions with as many networks as the newest one count: a model whose `seeds` changed is
    described as it is now.

    Args:
        rows: evaluations with `seed_ic` and `seed_rank_ic`.

    Returns:
        seeds, seed_ic_mean, seed_ic_std, seed_rank_ic_mean, seed_rank_ic_std; the last four are
        NaN for a single network.
    """
    figures: dict[str, float] = {"seeds": 1}
    for name in ("seed_ic", "seed_rank_ic"):
        values = rows[name].dropna()
        counts = values.map(len)
        if values.empty:
            figures |= {f"{name}_mean": math.nan, f"{name}_std": math.nan}
            continue
        each = np.stack(values[counts == counts.iloc[-1]].to_list())  # [T, K]
        of_seed = np.nanmean(each, axis=0)  # [K]
        figures |= {
            "seeds": each.shape[1],
            f"{name}_mean": float(of_seed.mean()),
            f"{name}_std": float(of_seed.std(ddof=1)),
        }
    return figures
