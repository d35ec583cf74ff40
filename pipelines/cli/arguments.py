"""Arguments that commands share, and the rules that hold for all of them."""

from __future__ import annotations

import argparse
import datetime as dt
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipelines.market.market import Market

Arguments = Mapping[str, Mapping[str, Any]]
"""The arguments of a command: each with the settings that `add_argument` takes."""

CONFIG: Arguments = {
    "--config": {"help": "a YAML, or the name of a shipped one (default: $RNN_CONFIG, sample)"}
}


class Once(argparse.Action):
    """Keep the value of an option, and refuse a second one: which of them holds would be a guess.

    An option `KEY=VALUE`, whose default is a list, is refused for the same key only.
    """

    _namespace: argparse.Namespace | None = None
    _values: dict[str, Any]

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Put the value into the namespace.

        Raises:
            ArgumentError: the option was given before.
        """
        if self._namespace is not namespace:  # a parser may parse several times
            self._namespace, self._values = namespace, {}
        is_list = isinstance(self.default, list)
        key = values.partition("=")[0].strip() if is_list else ""
        if key in self._values:
            earlier = self._values[key]
            raise argparse.ArgumentError(self, f"given twice, as {earlier} and {values}")
        self._values[key] = values
        setattr(namespace, self.dest, [*self._values.values()] if is_list else values)


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


def count(text: str) -> int:
    """Parse a number of rows.

    Raises:
        ArgumentTypeError: the text is no whole number above zero.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows; write 1 or more")
    return int(text)


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
