"""`rnn-pipelines orders`: print the orders for the next session, by model.

The list is what the strategy of the section `portfolio` decided at the close of a session: sales
first, then short sales, covers and purchases. `sizing` says how much an order is for: the whole
position, the shares that are listed, or a share of the cash when it is executed; the shares are
those at the close of the decision. With `--positions` it is the list of the book that is really
held, a CSV `instrument,shares` with a row `cash`; what was issued is kept as a revision.

Exit status 3 of `--csv` and `--json` without `--date`: a session has closed since the list's.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipelines.cli.arguments import CONFIG, Arguments, day, market_of
from pipelines.errors import PipelineError

ARGUMENTS: Arguments = {
    "--date": {"type": day, "help": "the session of the decision (default: the newest)"},
    "--model": {"metavar": "NAME", "help": "the orders of one model only"},
    "--positions": {"type": Path, "metavar": "CSV", "help": "the book that is really held"},
    "--csv": {"action": "store_true", "help": "as CSV"},
    "--json": {"action": "store_true", "help": "as JSON, a list of rows"},
    **CONFIG,
}

_FORMATS = {
    "estimated_shares": "{:,.2f}".format,
    "close": "{:.4f}".format,
    "estimated_value": "{:,.2f}".format,
    "target_weight": "{:.4f}".format,
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.assets.stages import stages
    from pipelines.operations.orders import RealOrders, real_orders, session_orders

    if args.csv and args.json:
        raise PipelineError("--csv and --json exclude each other")
    market = market_of(args, read_only=args.positions is None)
    if args.positions is None:
        issued = session_orders(market, stages(market), args.date, args.model)
    else:
        issued = real_orders(market, stages(market), args.positions, args.date, args.model)
    for note in issued.notes:
        print(f"note: {note}", file=sys.stderr)
    if isinstance(issued, RealOrders):
        shown = issued.differences.to_string(index=False, float_format="{:,.2f}".format)
        print(f"held and simulated, {issued.key}:\n{shown}", file=sys.stderr)
        kept = f"kept as revision {issued.revision}" if issued.revision else "kept before"
        print(f"positions {issued.digest[:12]}, the orders are {kept}", file=sys.stderr)
    orders = issued.orders
    if args.csv:
        sys.stdout.write(orders.to_csv(index=False))
    elif args.json:
        print(orders.to_json(orient="records", indent=2, double_precision=15))
    else:
        _print(issued.key, issued.trades_on, orders)
    return 3 if issued.late and (args.csv or args.json) else 0


def _print(key: str, trades_on: str | None, orders: object) -> None:
    """Print a table a model."""
    import pandas as pd

    assert isinstance(orders, pd.DataFrame)  # noqa: S101 - of `session_orders`
    if orders.empty:
        print(f"nothing to order at the close of {key}")
    for model, rows in orders.groupby("model", sort=False):
        print(f"{model}, decided at the close of {key}, for {trades_on or 'the next session'}:")
        shown = rows.drop(columns=["date", "model"])
        print(shown.to_string(index=False, na_rep="-", formatters=_FORMATS))
