"""Arguments that commands share."""

from __future__ import annotations

import argparse
import datetime as dt
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.market.market import Market


def day(text: str) -> str:
    """Parse a date into a session key.

    Raises:
        ArgumentTypeError: the text is not a date, or not written `YYYY-MM-DD`.
    """
    try:
        parsed = dt.datetime.strptime(text, "%Y-%m-%d").date()
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date; write YYYY-MM-DD") from None
    return parsed.isoformat()


def add_config(command: argparse.ArgumentParser) -> None:
    """Add the argument that names the market."""
    command.add_argument(
        "--config", help="a YAML, or the name of a shipped one (default: $RNN_CONFIG, sample)"
    )


def market_of(args: argparse.Namespace, *, read_only: bool = False) -> Market:
    """The market that `--config` names.

    Args:
        args: of the command.
        read_only: the command writes nothing.

    Raises:
        ConfigError: there is no such configuration, or the configuration is wrong.
    """
    from pipelines.config.loader import ENV_CONFIG, load_config
    from pipelines.market.market import Market

    named = args.config or os.environ.get(ENV_CONFIG)
    return Market(load_config(args.config), named=named, read_only=read_only)
