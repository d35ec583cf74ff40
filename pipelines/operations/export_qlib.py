"""`export-qlib`: a market as a folder that pyqlib reads: bars, weights and scores.

    calendars/ instruments/ features/      the provider folder (`export_bins.py`)
    models/MODEL/weights.safetensors       state dict by pyqlib's parameter names; of an ensemble of
                                           seeds weights_0.safetensors, weights_1.safetensors, ...
    models/MODEL/model.json                class of pyqlib, its arguments, columns, label, as_of
    models/MODEL/processors.json           the fitted processors of its features
    predictions/MODEL.parquet              index (datetime, instrument), column score, as pred.pkl
    README.txt  export.json                how to load it; what it was made from

All of it is what was known at the close of one session. The folder is built beside its place and
moved there when it is whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from rich.console import Console

from pipelines.assets.stages import stages as stages_of
from pipelines.config.calendar import exchange_of
from pipelines.errors import PipelineError
from pipelines.market.chunks import chunks_of_rows
from pipelines.market.market import Market
from pipelines.market.stage import Kind, by_model
from pipelines.operations.console import LiveProgress, say
from pipelines.operations.export_bins import MEMBERS, write_provider
from pipelines.training.registry import require_bundle
from rnn_core import __version__
from rnn_core.atomic import is_leftover, temporary_path
from rnn_core.training.atomic_dirs import move_into_place
from rnn_core.training.bundle_files import json_bytes

RECORD = "export.json"
"""The file by which an export knows a folder as its own."""

CLASSES = {
    "lstm": ("qlib.contrib.model.pytorch_lstm_ts", "LSTMModel"),
    "gru": ("qlib.contrib.model.pytorch_gru_ts", "GRUModel"),
    "krnn": ("qlib.contrib.model.pytorch_krnn", "KRNNModel"),
}
"""The networks of pyqlib by family: module and class."""

CHINA = ("XSHG", "XSHE")
"""Exchanges whose price limits and lots are those of qlib's region cn."""

_CONTENT = ("calendars", "instruments", "features", "models", "predictions", "README.txt", RECORD)
_NEEDED_BY = "export-qlib"
_VWAP = {
    "amount": "turnover ÷ volume",
    "typical": "(high + low + close) ÷ 3",
    "none": "absent, and qlib takes an absent field for missing",
}


def run_export(market: Market, console: Console, folder: str, session: str | None = None) -> Path:
    """Write a market as a folder that pyqlib reads.

    Args:
        market: the market.
        console: gets the progress and what was written.
        folder: nothing yet, an empty folder, or an earlier export, which is replaced.
        session: the market as of its close; None for the newest session that has bars.

    Returns:
        The folder.

    Raises:
        PipelineError: the folder holds anything else or lies in the market's state, the market has
            no bars, or the session is none that is stored.
        MissingSessionsError: sessions between stored ones are absent.
        ModelNotTrainedError: the bundle of a model in force is absent, pruned or damaged.
        WarehouseError: a file is damaged, or the folder cannot be written.
    """
    target = Path(folder).expanduser().absolute()
    _require_own(market, target, folder)
    keys = _sessions(market, session)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for path in target.parent.glob(f".{target.name}.*.tmp"):
            if is_leftover(path):  # of an export that was killed
                shutil.rmtree(path, ignore_errors=True)
        temporary = temporary_path(target)
        temporary.mkdir()
        try:
            say(console, f"{market.config.name}: {len(keys):,} sessions, {keys[0]} … {keys[-1]}")
            record = _write(market, keys, temporary, LiveProgress(console))
            (temporary / RECORD).write_bytes(json_bytes(record))
            (temporary / "README.txt").write_text(_readme(record), encoding="utf-8")
            move_into_place(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise PipelineError(f"cannot write {folder}: {error}") from error
    say(console, *record["notes"], f"written to {folder}; {folder}/README.txt says how to load it")
    return target


def _require_own(market: Market, target: Path, folder: str) -> None:
    """Refuse a folder that holds anything but an earlier export."""
    if "://" in folder:
        raise PipelineError(f"{folder} is a URL, expected a folder of this machine: qlib reads one")
    state = market.paths.root
    if target.resolve() == state.resolve() or state.resolve() in target.resolve().parents:
        raise PipelineError(f"{folder} lies in {state}, the market's state: name another folder")
    if not target.exists() and not target.is_symlink():
        return
    if not target.is_dir() or target.is_symlink():
        raise PipelineError(f"{folder} is no folder but a file or a link: name another folder")
    names = sorted(path.name for path in target.iterdir())
    strangers = [name for name in names if name not in _CONTENT]
    if names and (strangers or RECORD not in names):
        held = strangers or names
        raise PipelineError(
            f"{folder} holds {', '.join(held[:3])}{' …' * (len(held) > 3)}, which no export has "
            f"written: move that away, or name another folder"
        )


def _sessions(market: Market, session: str | None) -> tuple[str, ...]:
    """The sessions of the export: those with bars up to one, without a gap."""
    stored = market.warehouse.sessions("ohlcv")
    if not stored:
        raise PipelineError(f"ohlcv has no session yet; run `{market.command('demo')}` first")
    last = session or stored[-1]
    if last not in stored:
        raise PipelineError(
            f"ohlcv has no session {last}, it has {len(stored)} from {stored[0]} to {stored[-1]}"
        )
    keys = market.sessions.between(stored[0], last)
    market.warehouse.require("ohlcv", keys, _NEEDED_BY)
    return keys


def _write(
    market: Market, keys: Sequence[str], folder: Path, display: LiveProgress
) -> dict[str, Any]:
    """Write everything but the record and the README, and return the record."""
    stages = stages_of(market)
    with display.shown():
        display.start("bars", len(keys))
        names = write_provider(
            market, keys, folder, lambda key, rows: display.advance("bars", key, rows)
        )
        display.finish("bars")
        models = {
            spec.name: _write_model(market, spec.name, keys[-1], folder / "models" / spec.name)
            for spec in market.models
        }
        scores = {}
        for model, stage in by_model(stages, Kind.PREDICTION).items():
            stored = market.warehouse.sessions(stage.name, last=keys[-1])
            display.start(f"{model} scores", len(stored))
            scores[model] = _write_scores(market, stage.name, stored, folder, model, display)
            display.finish(f"{model} scores")
    notes = [f"{name}: {one}" for name, one in models.items() if isinstance(one, str)]
    notes += [f"{name}: no scores yet" for name, rows in scores.items() if not rows]
    config = market.config.market
    return {
        "made_by": f"rnn-signal-factory {__version__}",
        "market": market.config.name,
        "first": keys[0],
        "session": keys[-1],
        "instruments": names,
        "universe": "all" if isinstance(market.universe, str) else MEMBERS,
        "region": "cn" if exchange_of(config.calendar) in CHINA else "us",
        "vwap": config.vwap,
        "models": {name: one for name, one in models.items() if not isinstance(one, str)},
        "scores": {name: rows for name, rows in scores.items() if rows},
        "notes": notes,
    }


def _write_model(market: Market, model: str, key: str, folder: Path) -> dict[str, Any] | str:
    """Write the network in force at a session; the reason if there is none."""
    table = f"{model}_model"
    stored = market.warehouse.sessions(table, last=key)
    if not stored:
        return f"no model of {key} or before"
    pointer = market.warehouse.read(table, stored[-1:], needed_by=_NEEDED_BY).frame
    if pointer.empty:
        return f"no model in force at {stored[-1]}"
    as_of = f"{pointer['as_of'].iloc[0]:%Y-%m-%d}"
    bundle = require_bundle(market, model, as_of, _NEEDED_BY)
    if bundle.network is None:
        return f"no network but of the family {bundle.family}: scores are written, no weights"
    from rnn_core.models.ensemble import members_of
    from rnn_core.models.families import model_family
    from rnn_core.training.member_files import weights_bytes

    module, name = CLASSES.get(bundle.family, (None, None))
    members = members_of(bundle.network)
    files = ["weights.safetensors"]
    if len(members) > 1:
        files = [f"weights_{number}.safetensors" for number in range(len(members))]
    described = {
        "family": bundle.family,
        "module": module,
        "class": name,
        "arguments": {
            model_family(bundle.family).feature_argument: len(bundle.columns),
            **bundle.hyper,
        },
        "columns": list(bundle.columns),
        "step_len": bundle.config["step_len"],
        "label": bundle.config["label"],
        "as_of": as_of,
        "fingerprint": bundle.fingerprint,
        "weights": files,
    }
    folder.mkdir(parents=True)
    for file, member in zip(files, members, strict=True):
        (folder / file).write_bytes(weights_bytes(member))
    (folder / "processors.json").write_text(bundle.processors_json, encoding="utf-8")
    (folder / "model.json").write_bytes(json_bytes(described))
    return described


def _write_scores(
    market: Market,
    table: str,
    keys: Sequence[str],
    folder: Path,
    model: str,
    display: LiveProgress,
) -> int:
    """Write the scores of a model as pyqlib's pred.pkl has them; return the number of rows."""
    parts = []
    for chunk in chunks_of_rows(market.warehouse, table, keys):
        columns = ["instrument", "score"]
        read = market.warehouse.read(table, chunk, needed_by=_NEEDED_BY, columns=columns)
        parts.append(read.frame.rename(columns={"date": "datetime"}))
        for key in chunk:
            display.advance(f"{model} scores", key)
    rows = sum(map(len, parts))
    if rows:
        place = folder / "predictions" / f"{model}.parquet"
        place.parent.mkdir(exist_ok=True)
        frame = pd.concat(parts, ignore_index=True).set_index(["datetime", "instrument"])
        frame.sort_index().to_parquet(place)
    return rows


def _readme(record: dict[str, Any]) -> str:
    """Say how to load the folder."""
    lines = [
        f"{record['market']} as of the close of {record['session']}, for qlib.",
        f"Written by {record['made_by']}, `rnn-pipelines export-qlib`; a later export replaces it.",
        "",
        "Bars: prices adjusted by factor, volume by its inverse, float32.",
        "",
        "    import pandas as pd, qlib, torch",
        "    from qlib.data import D",
        f"    qlib.init(provider_uri=<this folder>, region={record['region']!r})",
        f"    D.features(D.instruments({record['universe']!r}), ['$close', '$factor'])",
        "",
        "No index is among the instruments: give a backtest `benchmark: null`, or your own.",
        f"$vwap is {_VWAP[record['vwap']]}.",
    ]
    if record["scores"]:
        lines += [
            "",
            "Scores, as qlib's pred.pkl holds them (a MultiIndex datetime, instrument; score):",
            "",
            *(
                f"    pd.read_parquet('predictions/{name}.parquet')  # {rows:,} rows"
                for name, rows in record["scores"].items()
            ),
        ]
    if record["models"]:
        lines += [
            "",
            "Weights: safetensors (pip install safetensors), numbers alone; nothing is unpickled.",
        ]
    for name, model in record["models"].items():
        lines += [
            "",
            f"{name}, trained at the close of {model['as_of']}:",
            "",
            *_loading(name, model),
        ]
    if record["models"]:
        lines += [
            "",
            "A network reads windows of step_len sessions of the columns in model.json, in that",
            "order, after the processors whose fitted state is in processors.json. The features of",
            "a market with `semantics: strict` differ from qlib's (docs/deviations.md).",
        ]
    return "\n".join([*lines, ""])


def _loading(name: str, model: dict[str, Any]) -> list[str]:
    """The lines of Python that load a model."""
    if model["module"] is None:
        return [f"    a network of your own ({model['family']}): models/{name}/model.json"]
    arguments = [f"{k}={v!r}" for k, v in model["arguments"].items()]
    lines = []
    if model["family"] == "krnn":
        arguments.append("device=torch.device('cpu')")
        lines.append("    # pyqlib's KRNN takes [B, L * F], session by session: windows.flatten(1)")
    lines += [
        "    from safetensors.torch import load_file",
        f"    from {model['module']} import {model['class']}",
        f"    network = {model['class']}({', '.join(arguments)})",
        f"    network.load_state_dict(load_file('models/{name}/{model['weights'][0]}'))",
        "    network.eval()",
    ]
    if len(model["weights"]) > 1:
        lines.append(f"    # the score is the mean of {len(model['weights'])} such networks")
    return lines
