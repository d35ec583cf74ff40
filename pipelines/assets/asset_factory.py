"""Asset factory: a stage as a Dagster asset with partitions, policies, lock and metadata.

This is the one place where a stage becomes a Dagster definition. The body of every asset is the
same: refuse sessions that are not over, take the asset's lock, make what is missing or stale
(`materialize.py`), and hand the results to Dagster.

A session that cannot be made does not hold back those before it. The step hands over the sessions
at the head of its range and then fails; the steps that read it go on with the head (the executor,
`EXECUTOR`, lets them begin once the output is there). A session whose bars have not arrived is no
failure: the step ends without it, and the steps that read it do without it as well, or are skipped
if there is nothing else to make.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import dagster as dg
import duckdb

from pipelines.assets.check_results import check_spec
from pipelines.assets.freshness import freshness_policy
from pipelines.assets.materialize import materialize
from pipelines.assets.partitions import check_sessions
from pipelines.assets.retries import retry_later
from pipelines.assets.run import Results, Run
from pipelines.assets.signal_alert import tell_signal
from pipelines.config.secrets_in_text import without_secrets
from pipelines.errors import BarsNotArrivedError, PipelineError, SourceError, name_sessions
from pipelines.instance.locks import writer_lock
from pipelines.instance.materializations import forget, made_by_run
from pipelines.instance.names import MARKET_TAG, asset_key, stage_of
from pipelines.instance.one_process import left_to_make
from pipelines.instance.orphaned_runs import ONE_PROCESS, claimed_run
from pipelines.instance.progress import progress
from pipelines.instance.run_history import WAITING
from pipelines.instance.waiting import is_last_wait, note_waiting
from pipelines.market.market import Market
from pipelines.market.reads import look_back_sentence
from pipelines.market.shown_tables import update_catalog
from pipelines.market.stage import WHOLE, Kind, Stage
from pipelines.sources.transient import is_transient
from pipelines.staleness.served import Served
from pipelines.warehouse.fetched import fetched_once
from pipelines.warehouse.schemas import Table

# The design rests on single-run backfills, whose parameter is still in beta.
warnings.filterwarnings("ignore", message=".*backfill_policy.*", category=dg.BetaWarning)

OWNERS = ["team:research"]
EXECUTOR = dg.in_process_executor.configured(
    {"step_dependency_config": {"require_upstream_step_success": False}}, name=ONE_PROCESS
)
LATE_KINDS = {Kind.PREDICTION, Kind.PORTFOLIO, Kind.EVALUATION}  # shown as late by the UI


def asset_of(
    market: Market,
    stage: Stage,
    stages: Sequence[Stage],
    days: dg.PartitionsDefinition[str],
) -> dg.AssetsDefinition:
    """Build the Dagster asset of a stage.

    Args:
        market: the market.
        stage: the stage.
        stages: every stage of the market, upstream first.
        days: the market's sessions.
    """

    @dg.asset(
        key=asset_key(market, stage.name),
        group_name=stage.group or str(stage.kind),
        # Dagster maps partitions by identity: stages read their look-back from the warehouse.
        deps=[asset_key(market, name) for name in stage.deps],
        check_specs=[
            check_spec(check, asset_key(market, stage.name))
            for check in stage.checks
            if check.severity != "off"
        ],
        partitions_def=days if stage.tables else None,
        backfill_policy=dg.BackfillPolicy.single_run(),
        code_version=stage.code_version,
        # Dagster is told identity mappings, which hide the look-back.
        description=stage.description + look_back_sentence(stage, market.sessions.keys),
        kinds=set(stage.kinds),
        owners=OWNERS,
        tags={MARKET_TAG: market.config.name},
        pool=stage.pool,
        freshness_policy=freshness_policy(market) if stage.kind in LATE_KINDS else None,
        metadata={**_schema_metadata(stage), **stage.metadata},
        output_required=False,
    )
    def asset(context: dg.AssetExecutionContext) -> Iterator[Any]:
        asked = check_sessions(context.partition_keys, market.sessions) if stage.tables else ()
        keys = _made_upstream(context, market, stage, asked)
        results = Results(context, stage, asked)
        served = Served(market, stages, context.instance)
        beside = frozenset(stage_of(key) for key in left_to_make(context))
        run = Run(market, stage, keys, context.log, results, served, beside=beside)
        stop = None
        # From here on an error still records the sessions that were finished.
        with fetched_once(), _at_work(context, run):
            _require_closed(run)
            with writer_lock(
                market, stage.name, run_id=context.run.run_id, on_wait=context.log.info
            ):
                _look_again(run)
                if stage.tables:
                    stop = _materialize(context, run, stages)
                else:
                    stage.make(run)
                    progress().advance(stage.name, WHOLE)
            if results.head or not asked:
                handed_over: Sequence[Any] = [results.hand_over(_lineage(market, stage))]
            else:
                handed_over = results.check_results(stops=False)
        if stage.tables and market.tables.is_local:  # `sql` makes that of a remote store
            try:
                # The partitions are in place: an old catalog is no reason to fail the run.
                update_catalog(market, stages)
            except (duckdb.Error, OSError) as error:
                context.log.warning(
                    f"the catalog {market.paths.catalog} was not refreshed: {error}"
                )
        yield from handed_over
        if stage.kind in (Kind.PREDICTION, Kind.EVALUATION):  # the first may have been cut off
            with fetched_once():
                tell_signal(market, stages, context.run, context.log)
        if stop is not None:
            raise stop

    return asset


def _made_upstream(
    context: dg.AssetExecutionContext, market: Market, stage: Stage, keys: tuple[str, ...]
) -> tuple[str, ...]:
    """The sessions that every stage which this one reads has made, if it is part of the run."""
    deps = [asset_key(market, name) for name in stage.deps]
    made = made_by_run(context.instance, context.run.run_id, deps) if keys else {}
    return tuple(takewhile(lambda key: all(key in done for done in made.values()), keys))


def _materialize(
    context: dg.AssetExecutionContext, run: Run, stages: Sequence[Stage]
) -> dg.Failure | None:
    """Make the sessions of a run, or those before the first that cannot be made.

    Returns:
        The failure to raise once the sessions at the head of the range are handed over; None if
        all were made, or the others wait for their bars.
    """
    try:
        materialize(run, stages, context.instance, context.run.tags)
    except PipelineError as error:
        without_secrets(error)
        head, name = run.results.head, run.stage.name
        left = run.keys[len(head) :]
        waits = _waits(context, run, error)
        if run.stage.is_source and not isinstance(error, BarsNotArrivedError):
            _stops_waiting(context, run, error.session)
        if not waits and (not head or not left or is_transient(error)):
            raise
        run.results.record_done(but=head)
        if waits:
            context.log.warning(f"{name_sessions(left)} {WAITING}: {error}")
            return None
        return dg.Failure(
            description=f"{name}: {error}; left out: {name_sessions(left)}, made: the "
            f"{len(head)} before",
            allow_retries=False,
        )
    return None


def _stops_waiting(context: dg.AssetExecutionContext, run: Run, key: str | None) -> None:
    """Take the observation off the record that a session waits: it has bars, and they are bad."""
    if key is not None and key not in run.market.warehouse.sessions(run.stage.name):
        forget(context.instance, context.asset_key, [key], but_of_run=context.run.run_id)


def _waits(context: dg.AssetExecutionContext, run: Run, error: PipelineError) -> bool:
    """True if sessions of a source wait for their bars, which is put on record.

    It is a failure where the session is stored, since the source has lost its bars, and the last
    time that the schedule asks for a session, so that somebody is told.
    """
    key = error.session
    if not isinstance(error, BarsNotArrivedError) or key is None:
        return False
    note_waiting(context, key, str(error))
    is_stored = key in run.market.warehouse.sessions(run.stage.name)
    return not is_stored and not is_last_wait(context.run)


@contextmanager
def _at_work(context: dg.AssetExecutionContext, run: Run) -> Iterator[None]:
    """Record the finished sessions of a stage, however the block ends."""
    name = run.stage.name
    progress().start(name, len(run.keys) or 1)
    try:
        with claimed_run(context):
            yield
    except BaseException as error:  # an interruption too: written sessions count
        run.results.record_done()
        _raise_as_failure(context, name, error)
        if (clean := without_secrets(error)) is not error:
            raise clean from None
        raise
    finally:
        progress().finish(name)


def _require_closed(run: Run) -> None:
    """Refuse sessions that are not over: their bars are not final.

    Raises:
        SourceError: a session is not over; the message names it.
    """
    last = run.market.last_closed() if run.keys else ""
    early = [key for key in run.keys if key > last]
    if early:
        raise SourceError(
            f"{name_sessions(early)} not over yet: the newest closed session of "
            f"{run.market.sessions.calendar} is {last}; end the range there"
        )


def _raise_as_failure(context: dg.AssetExecutionContext, name: str, error: BaseException) -> None:
    """Turn a transient error into a retry, and an error of the pipeline into a failure.

    Raises:
        RetryRequested: the network or the file system failed, and retries are left.
        Failure: the pipeline raised the error on purpose; a retry would fail the same way.
    """
    passes = is_transient(error)  # asked before its causes give way to texts
    clean = without_secrets(error)  # what is raised here is kept in the record
    if passes:
        raise retry_later(context) from clean
    if isinstance(error, PipelineError):
        raise dg.Failure(description=f"{name}: {clean}", allow_retries=False) from clean


def _look_again(run: Run) -> None:
    """Forget what was fetched of the stage's own files before it had the lock on them."""
    for table in run.stage.tables:
        run.market.tables.forget(table.name)
    if run.stage.model is not None:
        run.market.bundles.forget(run.stage.model)


def _schema_metadata(stage: Stage) -> dict[str, dg.TableSchema]:
    return {"dagster/column_schema": column_schema(stage.tables[0])} if stage.tables else {}


def column_schema(table: Table) -> dg.TableSchema:
    """The table's columns for the UI."""
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                c.name,
                str(c.type),
                description=c.description,
                constraints=dg.TableColumnConstraints(nullable=c.nullable),
            )
            for c in table.columns
        ]
    )


def _lineage(market: Market, stage: Stage) -> dg.TableColumnLineage | None:
    """The column lineage of a stage in Dagster's type."""
    if stage.lineage is None:
        return None
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key(market, ref.table), ref.column) for ref in refs]
            for column, refs in stage.lineage.items()
        }
    )
