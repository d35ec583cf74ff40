"""`rnn-pipelines validate`: say all that is wrong with a market's YAML and data; run nothing.

Exit status 0: no problem would stop the market; 1: problems, one a line.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipelines.cli.arguments import Arguments

ARGUMENTS: Arguments = {
    "config": {
        "nargs": "?",
        "help": "a YAML, or the name of a shipped one (default: $RNN_CONFIG)",
    }
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    import tempfile

    from pipelines.config.loader import config_path, load_config
    from pipelines.errors import ConfigError, PipelineError
    from pipelines.market.market import Market
    from pipelines.onboarding.profile_text import summary_lines
    from pipelines.onboarding.yaml_validation import problems_of

    path = config_path(args.config)
    try:
        config = load_config(path)
    except ConfigError as error:
        return _report(str(path), list(error.problems), [])
    with tempfile.TemporaryDirectory() as folder:  # a calendar derived from the data is a file
        try:
            market = Market(config, root=Path(folder))
        except PipelineError as error:
            return _report(str(path), [str(error)], [])
        validation = problems_of(market)
    if validation.profile is not None and len(validation.profile.kept):
        for line in summary_lines(validation.profile, config.market.quarantine.policies):
            sys.stdout.write(f"{line}\n")
    return _report(str(path), validation.problems, validation.remarks)


def _report(path: str, problems: list[str], remarks: list[str]) -> int:
    from pipelines.config.secrets_in_text import scrubbed

    for remark in remarks:
        sys.stdout.write(f"remark: {remark}\n")
    for problem in problems:
        sys.stdout.write(f"problem: {scrubbed(problem)}\n")
    count_text = f"{len(problems)} problem{'s' if len(problems) != 1 else ''}"
    sys.stdout.write(f"{path}: {count_text if problems else 'valid'}\n")
    return 1 if problems else 0
