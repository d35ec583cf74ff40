"""Propose the YAML of a scheduled market from qlib workflow files.

Segments are fixed days in qlib and windows here: the first session of `test` is the first trained
one, the sessions from `train` to it are the training window, as many as `valid` has are held out.
The market begins early enough for the features of the first training session to be whole, as in
qlib. Files that share provider, universe and spans become one market with several models, and equal
datasets of theirs one dataset.

The provider's folder decides calendar, vwap and names. Where it is not there the exchange of the
region does, and `validate` compares the two later.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipelines.calendar.sessions import Sessions
from pipelines.config.sources import QlibBinSource, anchored
from pipelines.errors import ConfigError, SourceError, name_sessions
from pipelines.onboarding.infer_calendar import market_days, require_known
from pipelines.onboarding.infer_market import (
    MOST_EXCEPTIONS,
    choice_of,
    market_name,
    require_market_name,
)
from pipelines.onboarding.propose import Proposal, proposal_of
from pipelines.onboarding.training_windows import LOOK_BACK, MOST_VALID, RETRAIN, Plan
from pipelines.onboarding.workflow_parts import (
    DATASET,
    HANDLER,
    Parts,
    key_of,
    parts_of,
    setting_key,
)
from pipelines.onboarding.yaml_datasets import DatasetDraft
from pipelines.onboarding.yaml_template import Draft
from pipelines.sources.qlib_bin import QlibBars
from rnn_core.data.bin_files import ProviderError
from rnn_core.data.qlib_bins import QlibProvider
from rnn_core.panel.session_labels import session_bound

_EXCHANGES = {"cn": "XSHG", "us": "XNYS"}
_ARGUMENTS = {"device": "GPU"}  # keys of `training` that qlib's models call otherwise
_ZONES = {"cn": "Asia/Shanghai", "us": "America/New_York"}


@dataclass(frozen=True)
class WorkflowWishes:
    """The workflow files, and the wishes of a person beside them.

    Attributes:
        files: the workflow files.
        path: the folder of the provider, in place of that of the files.
        calendar: a name of `exchange_calendars`, or `data`.
        timezone: of a calendar that is derived from the data.
        name: the market's name.
    """

    files: Sequence[str]
    path: str | None = None
    calendar: str | None = None
    timezone: str | None = None
    name: str | None = None


@dataclass(frozen=True)
class _Days:
    """The sessions of a market, and what its YAML says of them."""

    keys: Sequence[str]
    calendar: Any
    note: str
    closed: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()


def propose_from_workflows(wishes: WorkflowWishes) -> Proposal:
    """Draft the YAML of a market that does daily what workflow files do once.

    Raises:
        ConfigError: a file cannot be read, asks for something that a market cannot do, differs
            from the first in what a market has once, or has segments without sessions.
        SourceError: the provider's folder cannot be read, or the one that was named is not there.
    """
    if wishes.name is not None:
        require_market_name(wishes.name)
    if wishes.calendar not in (None, "data"):
        require_known(str(wishes.calendar))
    twice = next((f for i, f in enumerate(wishes.files) if f in wishes.files[:i]), None)
    if twice is not None:
        raise ConfigError(f"--from-qlib: {twice} is given twice; nothing was written")
    parts = [parts_of(file, wishes.path) for file in wishes.files]
    _require_alike(parts)
    spec = parts[0].spec
    # The folder, where it is there, decides days, vwap and the number of names.
    path = os.path.expandvars(spec.provider.uri)
    path = path if path.startswith("~") else anchored(path, Path.cwd())
    market = str(spec.dataset.instruments)
    try:
        provider = QlibProvider(path) if wishes.path or Path(path).expanduser().exists() else None
        if provider is not None:
            market = next((m for m in provider.markets if m.lower() == market.lower()), market)
        source = {"kind": "qlib_bin", "path": path, "instruments": market}
        days = _days(parts[0], wishes, QlibBinSource.model_validate(source) if provider else None)
        plan = _plan(parts[0], days.keys)
        names, vwap = _names_and_vwap(provider, market, plan.first_trained)
    except (ProviderError, ValueError) as error:
        raise SourceError(f"qlib_bin: {error}") from error
    # One dataset for all that are equal, the models by the names of their families.
    datasets = _datasets(parts)
    backtests = [one for one in parts if one.portfolio is not None]
    remainder = _remainder(parts, backtests)
    files = ", ".join(one.name for one in parts)
    draft = Draft(
        name=wishes.name or _name(parts, market),
        data=f"{market} of a qlib folder, from {days.keys[0]} on, as in {files}.",
        source=source,
        calendar=days.calendar,
        closed=days.closed,
        extra=days.extra,
        start=days.keys[0],
        end=days.keys[-1],
        universe={"market": market},
        vwap=vwap,
        plan=plan,
        names=names,
        remarks={"vwap": "the folder's vwap" if vwap == "amount" else
                 "(high + low + close) ÷ 3; amount where every name has vwap"},
        drop_folder=f"{path}/calendars",
        remainder=["", f"Not carried over from {files}:", *(f"  {text}" for text in remainder)],
        datasets=datasets,
        models=_models(parts, datasets),
        training=parts[0].training,
        portfolio=backtests[0].portfolio or {} if backtests else {},
        place=_EXCHANGES[spec.provider.region],
    )  # fmt: skip
    notes = [
        f"workflow   {files}",
        *(f"model      {name}: {_shown(entry)}" for name, entry in draft.models.items()),
        days.note,
        *_idle_zone(wishes.timezone, days.calendar),
        *([] if backtests else ["portfolio  no file has a backtest: usual settings of the place"]),
        *(f"left out   {text}" for text in remainder),
    ]
    if provider is None:
        notes.append(f"provider   {path} is not there: `validate` compares the YAML with it later")
    return proposal_of(draft, notes, is_readable=provider is not None)


def _idle_zone(zone: str | None, calendar: Any) -> list[str]:
    if zone is None or not isinstance(calendar, str):
        return []
    return [f"time zone  {zone} is not used: {calendar} has its own"]


# --- what several files share ----------------------------------------------------------------


def _shared(parts: Parts) -> dict[str, str]:
    """Return the settings that all files of a market must share, by key, as text."""
    spec = parts.spec
    segments = {
        key_of((*DATASET, "segments", name)): " to ".join(map(str, spec.dataset.segments[name]))
        if name in spec.dataset.segments else "absent"
        for name in ("train", "valid", "test")
    }  # fmt: skip
    return {
        "qlib_init.provider_uri": spec.provider.uri,
        "qlib_init.region": spec.provider.region,
        key_of((*HANDLER, "instruments")): str(spec.dataset.instruments),
        key_of((*HANDLER, "start_time")): str(spec.dataset.start_time),
        key_of((*HANDLER, "end_time")): str(spec.dataset.end_time),
        **segments,
    }


def _require_alike(parts: Sequence[Parts]) -> None:
    """Refuse files that are no one market.

    Raises:
        ConfigError: the message names the first difference.
    """
    first, shared = parts[0], _shared(parts[0])
    for other in parts[1:]:
        for key, value in _shared(other).items():
            if value != shared[key]:
                raise ConfigError(
                    f"{other.name}: {key} is {value}, and {first.name} has {shared[key]}; a market "
                    f"has one: let the files agree, or make a market of each; nothing was written"
                )


def _datasets(parts: Sequence[Parts]) -> dict[str, DatasetDraft]:
    """The different datasets by name, those of the first file first."""
    datasets: dict[str, DatasetDraft] = {}
    for one in parts:
        if one.dataset in datasets.values():
            continue
        datasets[_free(one.dataset.feature_set, datasets)] = one.dataset
    return datasets


def _models(parts: Sequence[Parts], datasets: dict[str, DatasetDraft]) -> dict[str, dict[str, Any]]:
    """The models by name: that of the family, and of the dataset where it is not the default."""
    models: dict[str, dict[str, Any]] = {}
    for one in parts:
        dataset = next(name for name, draft in datasets.items() if draft == one.dataset)
        is_default = dataset == next(iter(datasets))
        name = _free(one.family if is_default else f"{one.family}_{dataset}", models)
        family = {} if name == one.family else {"family": one.family}
        models[name] = family | ({} if is_default else {"dataset": dataset}) | dict(one.model)
    return models


def _shown(entry: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in entry.items()) or "qlib's benchmark values"


def _free(name: str, taken: dict[str, Any]) -> str:
    number = next(n for n in range(1, len(taken) + 2) if _numbered(name, n) not in taken)
    return _numbered(name, number)


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}_{number}"


def _name(parts: Sequence[Parts], market: str) -> str:
    """The universe and the file, or the universe and the families of several files."""
    stem = Path(parts[0].name).stem.removeprefix("workflow_config_")
    families = "_".join(dict.fromkeys(one.family for one in parts))
    return market_name(f"{market}_{stem if len(parts) == 1 else families}")


def _remainder(parts: Sequence[Parts], backtests: Sequence[Parts]) -> list[str]:
    """The keys that were not carried over, each with the reason, and the files if not all."""
    owners: dict[str, list[str]] = {}
    for one in parts:
        own = dict(one.remainder)
        for key, value in one.training.items():
            if parts[0].training.get(key) != value:
                own[f"task.model.kwargs.{_ARGUMENTS.get(key, key)}"] = (
                    f"{key} {value}, and all models have {parts[0].training.get(key)} of "
                    f"{parts[0].name}"
                )
        kept = backtests[0].portfolio if backtests else None
        for key, value in (one.portfolio or {}).items():
            if kept is not None and kept.get(key) != value:
                own[setting_key(one.spec, key)] = (
                    f"{value}, and the one portfolio has {kept.get(key)} of {backtests[0].name}"
                )
        for key, why in own.items():
            owners.setdefault(f"{key}: {why}", []).append(one.name)
    return [
        text if len(files) == len(parts) else f"{text} ({', '.join(files)})"
        for text, files in owners.items()
    ]


# --- days, windows, names --------------------------------------------------------------------


def _bounds(parts: Parts, name: str) -> tuple[str | None, str | None]:
    """The first and the last day of a segment as keys; None for an open end.

    It begins with the rows of the handler at the earliest.
    """
    data = parts.spec.dataset
    begin, end = data.segments[name]
    days = [_key(session_bound(day)) for day in (begin, data.start_time) if day is not None]
    return max(filter(None, days), default=None), _key(session_bound(end, last=True))


def _key(moment: pd.Timestamp | None) -> str | None:
    return None if moment is None else f"{moment:%Y-%m-%d}"


def _days(parts: Parts, wishes: WorkflowWishes, source: QlibBinSource | None) -> _Days:
    """The market's sessions: from the look-back before the handler's rows to their end."""
    data, region = parts.spec.dataset, parts.spec.provider.region
    begin = _key(session_bound(data.start_time)) or _bounds(parts, "train")[0]
    ends = [day for day in (_key(session_bound(data.end_time)), _bounds(parts, "test")[1]) if day]
    end = min(ends, default=None)
    exchange = wishes.calendar or _EXCHANGES[region]
    derived = {"from": "data", "timezone": wishes.timezone or _ZONES[region], "min_instruments": 1}
    if source is None:
        if begin is None:
            raise ConfigError(
                f"{parts.name}: {key_of((*HANDLER, 'start_time'))} is not given, and the folder "
                f"that would say it is not there: give it, or the folder, --path"
            )
        plain = _EXCHANGES[region] if exchange == "data" else exchange
        lead = (pd.Timestamp(begin) - pd.Timedelta(days=2 * LOOK_BACK)).date()
        last = min(end or "9", f"{pd.Timestamp.now():%Y-%m-%d}")
        table = Sessions.of(plain, lead, pd.Timestamp(last).date())
        calendar = derived if exchange == "data" else exchange
        keys = table.keys[_first(parts, table.keys, begin) :]
        return _Days(keys, calendar, f"calendar   {plain}, compared with no data yet")
    counts = QlibBars(source).days()
    counts = counts[counts.index <= (end or "9")]
    known = market_days(counts) if len(counts) else []
    first = known[_first(parts, known, begin)]
    choice = choice_of(counts, calendar=exchange, start=first)
    fit, own = choice.fit, [key for key in known if key >= first]
    if fit is None:
        return _Days(own, derived, "calendar   from the data, as given")
    exceptions = len(fit.absent) + len(fit.extra)
    if exceptions <= MOST_EXCEPTIONS and (fit.fits or wishes.calendar is not None):
        note = f"calendar   {fit.name}, {fit.share:.1%} of days in common with the folder's"
        return _Days(fit.sessions, fit.name, note, fit.absent, fit.extra)
    text = f"{fit.name} differs from the days of the folder on {exceptions} days"
    if wishes.calendar is not None:
        raise ConfigError(
            f"calendar {text} (no row on {name_sessions(fit.absent) or 'none'}; no session on "
            f"{name_sessions(fit.extra) or 'none'}); choose another, or --calendar data"
        )
    return _Days(own, derived, f"calendar   from the data: {text}")


def _first(parts: Parts, keys: Sequence[str], begin: str | None) -> int:
    """The position at which a market has to begin for whole features on a day.

    Raises:
        ConfigError: there is no session from that day on.
    """
    position = bisect_left(keys, begin or "")
    if position == len(keys):
        raise ConfigError(
            f"{parts.name}: there is no session from {begin} on, where the rows of the handler "
            f"begin: the days of the provider are {f'{keys[0]} to {keys[-1]}' if keys else 'none'}"
        )
    return max(0, position - LOOK_BACK)


def _plan(parts: Parts, keys: Sequence[str]) -> Plan:
    """Turn the segments into windows.

    Raises:
        ConfigError: `train`, `valid` and `test` do not follow one another, or hold no session.
    """
    where = f"{parts.name}: {key_of((*DATASET, 'segments'))}"
    has_valid = "valid" in parts.spec.dataset.segments
    spans = {name: _bounds(parts, name) for name in ("train", "valid", "test")
             if name != "valid" or has_valid}  # fmt: skip
    places = {
        name: (bisect_left(keys, first or ""), bisect_right(keys, last or "9"))
        for name, (first, last) in spans.items()
    }
    for name, (begin, stop) in places.items():
        if begin >= stop:
            raise ConfigError(
                f"{where}.{name} holds no session of the market, {keys[0]} to {keys[-1]}"
            )
    for before, after in zip(places, list(places)[1:], strict=False):
        if places[before][1] > places[after][0]:
            raise ConfigError(
                f"{where}: {after} begins on {spans[after][0]}, before {before} ends on "
                f"{spans[before][1]}; a model is tested on sessions after those it learned from: "
                f"expected train, valid and test one after the other"
            )
    first_trained = places["test"][0]
    window = first_trained - places["train"][0]
    valid = places["valid"][1] - places["valid"][0] if has_valid else min(MOST_VALID, window // 6)
    return Plan(keys[first_trained], window, max(1, valid), RETRAIN)


def _names_and_vwap(provider: QlibProvider | None, market: str, day: str) -> tuple[int, str]:
    """The number of members on a day, and `amount` if the folder has vwap for all of them."""
    if provider is None:
        return 250, "typical"
    universe = provider.instruments(market)
    spans, moment = universe.spans, pd.Timestamp(day)
    members = int(((spans["start"] <= moment) & (spans["end"] >= moment)).sum())
    lacking = provider.without_field(universe.instruments, "vwap")
    return members, "typical" if lacking else "amount"
