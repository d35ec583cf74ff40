"""`rnn-pipelines compare A B …`: set models side by side on the sessions and names that all have.

Each word is a model of a market (`sample.lstm`, or `lstm` of the market that --config names), the
YAML or the name of a market, which stands for all of its models, or a folder that `qrun` has
written. Every pair is tested on its daily difference; p (Holm) is corrected for the number of
pairs.
"""

from __future__ import annotations

import argparse
import json
import sys

from pipelines.cli.arguments import CONFIG, Arguments, day
from pipelines.errors import PipelineError

ARGUMENTS: Arguments = {
    "signals": {"nargs": "+", "metavar": "SIGNAL", "help": "as above, two or more"},
    "--start": {"type": day, "help": "the first decision (default: of all)"},
    "--end": {"type": day, "help": "the last decision (default: of all)"},
    "--csv": {"action": "store_true", "help": "as CSV, a row a signal or pair and statistic"},
    "--json": {"action": "store_true", "help": "as JSON, with the remarks"},
    "--out": {"metavar": "PICTURE", "help": "a PNG of the means and differences of the rank IC"},
    **CONFIG,
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.operations.compare import compare, picture, rows_of, text_of

    if args.csv and args.json:
        raise PipelineError("--csv and --json exclude each other")
    if args.out is not None and not args.out.lower().endswith(".png"):
        raise PipelineError(f"--out {args.out}: the picture is a PNG; give the file a name in .png")
    result = compare(args.signals, args.config, args.start, args.end)
    for note in result.notes:
        print(f"note: {note}", file=sys.stderr)
    if args.csv:
        sys.stdout.write(rows_of(result).to_csv(index=False))
    elif args.json:
        rows = json.loads(rows_of(result).to_json(orient="records", double_precision=15))
        print(json.dumps({"rows": rows, "notes": list(result.notes)}, indent=2))
    else:
        print(text_of(result))
    if args.out is not None:
        print(f"drawn: {picture(result, args.out)}", file=sys.stderr)
    return 0
