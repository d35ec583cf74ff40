"""A market that served and its backup, and the commands of both."""

from __future__ import annotations

import io
from pathlib import Path

from rich.console import Console

from pipelines.config.loader import load_config
from pipelines.market.market import Market
from pipelines.operations.backup import run_backup
from pipelines.operations.restore import run_restore
from pipelines.warehouse.backup_files import Backups
from pipelines.warehouse.local_store import LocalStore
from pipelines.warehouse.store import PART

SERVED = 4  # sessions at the end of the market
MODELS = ("lstm", "gru", "krnn")


def opened(folder: Path) -> Market:
    """The market of a folder."""
    path = str(folder / "tiny.yaml")
    return Market(load_config(path), named=path)


def backup(folder: Path) -> tuple[bool, str]:
    """The command: its result, and what it said."""
    console = Console(file=io.StringIO(), width=500)
    path = str(folder / "tiny.yaml")
    whole = run_backup(opened(folder), console, str(folder / "backup"), path)
    return whole, console.file.getvalue()


def restore(folder: Path, **kwargs) -> tuple[bool, str]:
    """The command, likewise."""
    console = Console(file=io.StringIO(), width=500)
    whole = run_restore(console, str(folder / "backup"), **kwargs)
    return whole, console.file.getvalue()


def history(market: Market) -> dict[str, tuple[bytes, float]]:
    """The bytes and times of what cannot be made again."""
    root = market.paths.root
    keys = market.sessions.keys[-SERVED:]
    kinds = ("model", "prediction", "portfolio", "book", "trades", "orders")
    found = [root / "warehouse" / "market.json", *root.glob("*/.revisions/**/*")]
    found += [
        root / "warehouse" / f"{model}_{kind}" / f"date={key}" / PART
        for model in MODELS
        for kind in kinds
        for key in keys
    ]
    found += root.glob("warehouse/ohlcv*/*/*")
    found += [path for m in MODELS for path in root.glob(f"models/{m}/{bundle_of(market)}/*")]
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime)
        for path in found
        if path.is_file()
    }


def bundle_of(market: Market) -> str:
    """The session whose models served."""
    anchor = market.plan.anchor(market.sessions.keys[-1])
    assert anchor is not None
    return anchor


def kept(folder: Path) -> dict[str, bytes]:
    """The contents of the newest backup, by the place and the path of each file."""
    backups = Backups(LocalStore(folder / "backup"))
    manifest = backups.read("tiny", backups.times("tiny")[-1])
    return {f"{entry.place}/{entry.path}": backups.content(entry) for entry in manifest.files}
