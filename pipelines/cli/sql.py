"""`rnn-pipelines sql`: print the answer to a query over the market's catalog.

DuckDB's own command line is not needed. A query asks, of the market's tables alone, so that one
that somebody else wrote can be run; `--unsafe` takes whatever DuckDB takes.
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from pipelines.cli.arguments import CONFIG, Arguments, state_of
from pipelines.errors import PipelineError

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

    from pipelines.market.market_state import MarketState

ARGUMENTS: Arguments = {
    "query": {"help": "as in 'FROM latest_signal' or 'SHOW TABLES'"},
    "--csv": {"action": "store_true", "help": "as CSV, all rows"},
    "--unsafe": {
        "action": "store_true",
        "help": "let the query read and write any file, load extensions and change settings",
    },
    **CONFIG,
}


_ALLOWED = (
    "; a query asks, of the market's tables alone (SHOW TABLES), and names no file: give --unsafe "
    "for a query of your own that shall do more"
)


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    import duckdb

    from pipelines.warehouse.engine_files import confine, require_question, require_reading

    if not args.query.strip():
        raise PipelineError("the query is empty; write one, as 'SHOW TABLES'")
    state = state_of(args)
    try:
        if not args.unsafe:
            require_question(args.query)
        with _catalog(state) as catalog:
            if not args.unsafe:
                confine(catalog, state.tables)
                require_reading(catalog, args.query)
            answer: Any = catalog.sql(args.query)
            if answer is None:  # a statement that gives no rows
                return 0
            text = answer.df().to_csv(index=False) if args.csv else str(answer)
    except (duckdb.PermissionException, PermissionError) as error:
        raise PipelineError(f"{args.query!r}: {error}{_ALLOWED}") from error
    except ValueError as error:
        raise PipelineError(f"{error}{_ALLOWED}") from error
    except duckdb.Error as error:
        raise PipelineError(f"{args.query!r}: {error}") from error
    sys.stdout.write(text if text.endswith("\n") else f"{text}\n")
    return 0


def _catalog(state: MarketState) -> DuckDBPyConnection:
    """The catalog of a market: the file on this disk, if it is one of these files; else in memory.

    Raises:
        PipelineError: nothing was made yet.
    """
    import duckdb

    from pipelines.warehouse.catalog import memory_catalog, reads_files_of

    if state.tables.is_local and reads_files_of(state.paths.catalog, state.tables):
        return duckdb.connect(str(state.paths.catalog), read_only=True)
    if state.tables.is_local and not state.tables.tables():
        raise PipelineError(
            f"there is no table in {state.tables} yet; `{state.command('demo')}` makes the market"
        )
    from pipelines.assets.stages import stages
    from pipelines.market.market import Market
    from pipelines.market.shown_tables import catalog_tables

    market = Market(state.config, root=state.paths.root, read_only=True)
    return memory_catalog(state.tables, **catalog_tables(stages(market)))
