"""`rnn-pipelines ui`: open the Dagster UI over the markets of the data folder, with the daemon.

It shows every market of the folder, or those that are named. Each is a code location of its own.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pipelines.cli.arguments import Arguments
from pipelines.errors import PipelineError

_ENV_PREFIX = "DAGSTER_WEBSERVER_PATH_PREFIX"  # `dg dev` has no option for it, the webserver has
ARGUMENTS: Arguments = {
    "markets": {"nargs": "*", "metavar": "MARKET", "help": "names of markets, or their YAMLs"},
    "--port": {"type": int, "default": 3000, "help": "of the webserver (default: 3000)"},
    "--host": {
        "default": "127.0.0.1",
        "help": "address of the webserver; the UI asks nobody for a password (default: 127.0.0.1)",
    },
    "--path-prefix": {
        "default": "",
        "metavar": "/PATH",
        "help": "where a proxy shows the UI, which it hands on (default: none)",
    },
    "--config": {"help": "one market, as a YAML or the name of a shipped one"},
}


def run(args: argparse.Namespace) -> int:
    """Run the command."""
    from pipelines.instance.home import complete_home, open_home, prepare_workspace
    from pipelines.instance.locks import only_daemon
    from pipelines.instance.orphaned_runs import sweep_orphans
    from pipelines.instance.ui_lock import claim_ui, is_loopback, require_port
    from pipelines.instance.ui_process import supervise
    from pipelines.market.paths import dagster_home, data_root
    from pipelines.operations.console import make_console, say

    console = make_console()
    program = Path(sys.executable).with_name("dg")
    if not program.is_file():
        raise PipelineError("the UI needs the extra `ui`: pip install 'rnn-signal-factory[ui]'")
    markets, notes = _markets([*args.markets, *([args.config] if args.config else [])])
    require_port(args.port, args.host)
    prefix = args.path_prefix
    if prefix and (not prefix.startswith("/") or prefix.endswith("/")):
        raise PipelineError(f"--path-prefix {prefix}: expected /PATH, without a slash at its end")
    if prefix:
        os.environ[_ENV_PREFIX] = prefix
    if not is_loopback(args.host):
        say(
            console,
            f"the UI asks nobody for a password: whoever reaches {args.host}:{args.port} can start "
            f"and delete runs. Let only a proxy that asks reach it (docs/deploy.md)",
        )
    home = dagster_home(data_root())
    with claim_ui(home, args.port, host=args.host) as claim, only_daemon(home):
        say(console, *notes, *complete_home(home))
        with open_home(home) as instance:
            sweep_orphans(instance)
        files = [w for file in prepare_workspace(home, markets) for w in ("--workspace", str(file))]
        return supervise(
            [str(program), "dev", *files, "--host", args.host, "--port", str(args.port)],
            claim,
            output=None if sys.stdout.isatty() else sys.stdout,
        )


def _markets(words: list[str]) -> tuple[list[str], list[str]]:
    """The names of the markets to show, and lines on those that are not as they should be.

    Args:
        words: names of markets of the data folder, or YAMLs. Without any it is every market of the
            folder, with that of `$RNN_CONFIG`; in an empty folder the sample.

    Raises:
        PipelineError: a word is neither, or a YAML that is not known yet is wrong.
    """
    from pipelines.cli.arguments import market_of
    from pipelines.config.loader import DEFAULT_CONFIG, ENV_CONFIG
    from pipelines.instance.market_list import markets_of, unknown_config
    from pipelines.market.paths import Paths, data_root

    data = data_root()
    markets = markets_of(data)
    by_config = {config: name for name, config in markets.items() if config}
    environment = os.environ.get(ENV_CONFIG)
    names = []
    for word in words or ([environment] if environment else [] if markets else [DEFAULT_CONFIG]):
        # The YAML of a known market is not read: the UI shows what is wrong with it.
        name = word if word in markets else by_config.get(str(Path(word).absolute()))
        names.append(name or market_of(argparse.Namespace(config=word)).config.name)
    markets = markets_of(data)
    chosen = dict.fromkeys(names if words else markets)
    notes = [
        f"{name} is not shown: its YAML is not known; {unknown_config(name)}"
        for name in chosen
        if not markets[name]
    ]
    notes += [
        f"{name} is shown as an error: its record is in a home of its own of an earlier release; "
        f"`rnn-pipelines sync` brings it over"
        for name in chosen
        if Paths(data / name).earlier_dagster.is_dir()
    ]
    return [name for name in chosen if markets[name]], notes
