"""Arguments that commands share, and the rules that hold for all of them."""

from __future__ import annotations

import argparse
import datetime as dt
import errno
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pipelines.errors import PipelineError

if TYPE_CHECKING:
    from pipelines.market.market import Market
    from pipelines.market.market_state import MarketState

Arguments = Mapping[str, Mapping[str, Any]]
"""The arguments of a command: each with the settings that `add_argument` takes."""

CONFIG: Arguments = {
    "--config": {"help": "a YAML, or the name of a shipped one (default: $RNN_CONFIG, sample)"}
}
CONFIG_OR_ALL: Arguments = {
    "--config": {
        "help": "a YAML, or the name of a shipped one (default: $RNN_CONFIG, else every market of "
        "the data folder, the sample in an empty one)"
    }
}

MARKETS: Arguments = {
    "--market": {
        "nargs": "+",
        "action": "extend",
        "metavar": "NAME",
        "help": "markets of the data folder by their names, in place of --config",
    }
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
    """Parse a number of things.

    Raises:
        ArgumentTypeError: the text is no whole number above zero.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above zero; write 1 or more")
    return int(text)


def market_of(args: argparse.Namespace, *, read_only: bool = False) -> Market:
    """The market that `--config` names; a command that writes keeps the path of its YAML.

    Args:
        args: of the command.
        read_only: the command writes nothing.

    Raises:
        ConfigError: there is no such configuration, or the configuration is wrong.
        WarehouseError: the market's folder cannot be written.
    """
    from pipelines.config.loader import config_path, load_config
    from pipelines.instance.market_list import keep_config
    from pipelines.market.market import Market

    named = _config_named(args)
    market = Market(load_config(named), named=named, read_only=read_only)
    if not read_only:
        keep_config(market.paths, config_path(named))
    return market


def state_of(args: argparse.Namespace) -> MarketState:
    """The places of the market that `--config` names, for a command that needs no calendar.

    Raises:
        ConfigError: there is no such configuration, or the configuration is wrong.
    """
    from pipelines.config.loader import load_config
    from pipelines.market.market_state import MarketState

    named = _config_named(args)
    return MarketState(load_config(named), named=named)


def _config_named(args: argparse.Namespace) -> str:
    from pipelines.config.loader import DEFAULT_CONFIG, ENV_CONFIG

    return args.config or os.environ.get(ENV_CONFIG) or DEFAULT_CONFIG


def names_market(args: argparse.Namespace) -> bool:
    """True if a command names its market, by `--config` or `$RNN_CONFIG`."""
    from pipelines.config.loader import ENV_CONFIG

    return bool(args.config or os.environ.get(ENV_CONFIG))


def for_each_market(args: argparse.Namespace, work: Callable[[argparse.Namespace], int]) -> int:
    """Do the work of a command for the market that it names, else for all of the data folder.

    An empty data folder stands for the sample. A market that fails does not hold back the others.

    Args:
        args: of the command.
        work: takes the arguments with the name of one market, and returns the exit status.

    Returns:
        1 if one of several markets failed, else the highest status.

    Raises:
        PipelineError: the market that is named failed, or a name is none of a market.
    """
    from pipelines.config.loader import DEFAULT_CONFIG
    from pipelines.config.secrets_in_text import scrubbed
    from pipelines.instance.market_list import config_of, markets_of, unknown_config
    from pipelines.market.paths import data_root

    chosen = getattr(args, "market", None)
    if chosen and args.config:
        raise PipelineError("--market and --config both say which market: give one of them")
    if not chosen and names_market(args):
        return work(args)
    markets = markets_of(data_root())
    if chosen:
        markets = {name: config_of(data_root(), name) for name in chosen}
    statuses = []
    for name, config in markets.items() or [("", DEFAULT_CONFIG)]:
        try:
            if config is None:
                raise PipelineError(f"its YAML is not known; {unknown_config(name)}")
            with refusals():
                statuses.append(work(argparse.Namespace(**{**vars(args), "config": config})))
        except PipelineError as error:
            text = scrubbed(str(error))
            print(f"error: {name}: {text}" if name else f"error: {text}", file=sys.stderr)
            statuses.append(1)
    return 1 if 1 in statuses else max(statuses)


_REFUSED = {errno.EACCES, errno.EDQUOT, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS}


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what a disk or its permissions refuse into an error that is told without a traceback.

    Raises:
        PipelineError: a disk is full, read-only or fails, or a file belongs to somebody else.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _REFUSED:
            raise PipelineError(str(error)) from error
        raise
