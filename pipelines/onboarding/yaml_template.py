"""Write the YAML of a new market, with a comment at every key, as the shipped ones have.

The calendar decides figures of the place (costs, price limits, sessions a year); the draft brings
those of the data (spans, windows, names held).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipelines.config.json_schema import schema_line
from pipelines.onboarding.training_windows import Plan
from pipelines.onboarding.yaml_datasets import (
    MODELS,
    QUICK_MODELS,
    DatasetDraft,
    Models,
    dataset_lines,
    feature_lines,
    model_lines,
)
from pipelines.onboarding.yaml_lines import comment_lines, line, scalar


@dataclass(frozen=True)
class Place:
    """The costs of trading at a place, and its periods a year."""

    currency: str
    open_cost: float
    close_cost: float
    min_cost: float
    limit_threshold: float | None
    periods_per_year: int
    account: float = 1e8
    close_means: str = "share of the value sold: the same"


ELSEWHERE = Place("units of the currency", 0.0005, 0.0005, 0.0, None, 252)
PLACES: Mapping[str, Place] = {
    "XNYS": Place("dollars", 0.0005, 0.0005, 0.0, None, 252),
    "XSHG": Place("yuan", 0.0005, 0.0015, 5.0, 0.095, 238,
                  close_means="share of the value sold: the same and stamp duty"),
    "24/7": Place("dollars", 0.001, 0.001, 0.0, None, 365, account=1e6),
}  # fmt: skip
"""Places by calendar, with the figures of the configurations that ship with the package."""


@dataclass(frozen=True)
class Draft:
    """The content of the YAML.

    Attributes:
        name: the market's name.
        data: one line on the data.
        source: the section `market.source`, without comments of its own.
        calendar: a name, or the section of a calendar derived from the data.
        closed: sessions of the calendar that have no bar.
        extra: days with bars that are no sessions of it.
        start: first session.
        end: last session.
        universe: `all`, or its section.
        vwap: `amount` or `typical`.
        plan: windows.
        names: instruments of a usual session.
        min_coverage: share of the usual number of names, if the default would stop the ingest.
        remarks: remarks for a person, by key of `market`.
        quick: small models of few epochs.
        drop_folder: the folder in which new bars arrive, if one is known.
        remainder: paragraphs of comment at the top.
        datasets: by name; the only one needs none.
        models: by name; none for those of qlib's benchmarks, or small ones.
        training: seed, device and other keys of `training` beside the windows.
        portfolio: keys that a person's settings give; the place and the names decide the others.
        place: the calendar whose place decides the costs; "" for the market's own.
    """

    name: str
    data: str
    source: Mapping[str, Any]
    calendar: Any
    closed: Sequence[str]
    extra: Sequence[str]
    start: str
    end: str
    universe: Any
    vwap: str
    plan: Plan
    names: int
    min_coverage: float | None = None
    remarks: Mapping[str, str] = field(default_factory=dict)
    quick: bool = False
    drop_folder: str | None = None
    remainder: Sequence[str] = ()
    datasets: Mapping[str, DatasetDraft] = field(default_factory=lambda: {"": DatasetDraft()})
    models: Models = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=lambda: {"seed": 0, "device": "auto"})
    portfolio: Mapping[str, Any] = field(default_factory=dict)
    place: str = ""


_SOURCE = {
    "kind": "files, qlib_bin, sql and others; see pipelines/config/shipped",
    "path": "a file, a folder or a pattern",
    "instruments": "read only names that were ever in it; null reads all",
    "format": "csv, parquet or feather",
    "ignore": "files of it that hold no bars",
    "header": "rows of the header, or none",
    "names": "the columns' names, in order",
    "columns": "our name: theirs, where they differ",
    "from_name": "what a file's name says of all its rows",
    "name_pattern": "which part of the path that is",
    "date_format": "how dates are written",
    "timezone": "in which a moment's day is read",
    "codes": "SH600000 for sh.600000, as in qlib's universes",
    "scale": "factors that turn their units into shares and currency",
    "delimiter": "between the fields of a line",
    "encoding": "of the text",
    "decimal": "the decimal mark of numbers",
    "thousands": "the mark of thousands in numbers",
    "skip_lines": "lines in which this is found are no bars",
    "keep": "rows that are bars: the others are not read",
    "basis": "how splits and dividends show in the prices",
}
_TRAINING = {
    "seed": "initial weights and the order of batches",
    "device": "auto (a GPU where there is one), cpu, cuda, cuda:1",
    "precision": "float32; tf32 on a GPU; bfloat16 on a GPU or a CPU with AMX",
    "threads": "of a training on the CPU",
}
_BASIS = {
    "adjusted": "prices are adjusted already",
    "preclose": "as traded; the previous close as the exchange restates it",
    "adj_close": "as traded, and the adjusted close beside it",
    "factor": "cumulative: adjusted price = price × factor",
    "prices": "the prices were multiplied by the factor already",
    "inverse": "adjusted price = price ÷ factor",
    "ratio": "close of the row before ÷ that close on this bar's basis",
}


def _place(calendar: Any) -> Place:
    """The place of a calendar, by its name or by an alias such as NYSE."""
    import exchange_calendars

    name = exchange_calendars.resolve_alias(calendar) if isinstance(calendar, str) else ""
    return PLACES.get(name, ELSEWHERE)


def draft_yaml(draft: Draft) -> str:
    """Write the text of the YAML."""
    # Sections stand in the order in which the pipeline uses them; costs come with the place.
    plan, place = draft.plan, _place(draft.place or draft.calendar)
    lines = [
        schema_line(),
        *comment_lines(draft.data),
        "# Drafted by `rnn-pipelines init`; sample.yaml explains what is not explained here.",
        "#",
        f"#   rnn-pipelines demo --config {draft.name}.yaml",
        *(text for paragraph in draft.remainder for text in comment_lines(paragraph)),
        "",
        line(f"name: {scalar(draft.name)}", f"all state lies under data/{draft.name}/"),
        "",
        # The market: source, calendar, members and the policies of its bars.
        "market:",
        "  source:",
        *_source(draft.source, draft.remarks),
        *_calendar(draft.calendar, draft.remarks.get("calendar")),
        line(f"  closed: {_list(draft.closed)}", draft.remarks.get("closed")
             or "sessions of the calendar on which the market was closed after all"),
        line(f"  extra_sessions: {_list(draft.extra)}",
             "days that were sessions, though the calendar has none"),
        line(f"  start: {draft.start}", "first session; adjustment factors start here at 1.0"),
        line(f"  end: {draft.end}", "last session; leave it out for a market that goes on"),
        *_universe(draft.universe),
        line(f"  vwap: {draft.vwap}", draft.remarks.get("vwap") or "amount ÷ volume, a real one"),
        line("  quarantine:", "bars that break a rule: quarantine sets them aside, accept keeps "
             "and counts"),
        line("    zero_volume: quarantine", "them; docs/markets.md has all rules"),
        line("    jump: accept", "the adjusted close moved further since the bar before than"),
        line("    jump_limit: 0.5", "so much up, or down to less than 1 / (1 + jump_limit) of it"),
        "",
        # Features, datasets and models; those of qlib's benchmarks where nobody said others.
        *feature_lines(draft.datasets),
        *dataset_lines(draft.datasets, plan.window_sessions),
        "training:",
        # Windows follow from the length of the data (`training_windows.py`).
        line(f"  first_trained: {plan.first_trained}",
             "first session with a model"),
        line(f"  window_sessions: {plan.window_sessions}",
             "labels matured in the last so many sessions"),
        line(f"  valid_sessions: {plan.valid_sessions}",
             "the newest decisions, held out for early stopping"),
        line(f"  retrain_every: {plan.retrain_every}",
             "sessions between trainings; 1 trains after every session"),
        *(line(f"  {key}: {scalar(v)}", _TRAINING[key]) for key, v in draft.training.items()),
        "",
        *model_lines(draft.models or (QUICK_MODELS if draft.quick else MODELS), quick=draft.quick),
        *_checks(draft.min_coverage, quick=draft.quick),
        # The evaluation and the portfolio: sizes follow the number of names.
        "evaluation:",
        line(f"  quantiles: {5 if draft.names >= 25 else 2}",
             "score buckets of the quantile returns"),
        "",
        line("portfolio:", "TopkDropout, traded at the session after the score"),
        *_portfolio(draft, place),
        "",
        "schedule:",
        # A person turns the schedule on, once bars arrive daily.
        line("  enabled: false", "true turns the daily schedule on, once data comes daily"),
        line('  cron: "30 0 * * *"', "in the calendar's time zone, after the session's midnight"),
        line(f"  drop_folder: {scalar(draft.drop_folder)}",
             "new files in this folder bring a waiting run forward"),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _source(source: Mapping[str, Any], remarks: Mapping[str, str]) -> list[str]:
    lines = []
    for key, comment in _SOURCE.items():
        if key not in source:
            continue
        value = source[key]
        if key == "timezone":
            comment = remarks.get(key, comment)
        if key == "basis" and isinstance(value, str):
            comment = remarks.get(key) or _BASIS[value]
        if isinstance(value, Mapping):
            lines.append(line(f"    {key}:", comment))
            for name, inner in value.items():
                comment_of_key = _BASIS.get(name, "") if key == "basis" else f"our {name}"
                comment_of_key = "this value" if key == "keep" else comment_of_key
                lines.append(line(f"      {scalar(name)}: {scalar(inner)}", comment_of_key))
        else:
            lines.append(line(f"    {key}: {scalar(value)}", comment))
    return lines


def _calendar(calendar: Any, remark: str | None) -> list[str]:
    if isinstance(calendar, str):
        comment = remark or "a calendar of exchange_calendars: partitions are its sessions"
        return [line(f"  calendar: {scalar(calendar)}", comment)]
    return [
        line("  calendar:", "no exchange's calendar fits well:"),
        line("    from: data", "sessions are the days that have bars"),
        line(f"    timezone: {calendar['timezone']}", "of the market; a session ends at midnight"),
        line(f"    min_instruments: {calendar['min_instruments']}", "with fewer it is no session"),
    ]


def _universe(universe: Any) -> list[str]:
    if universe == "all":
        return [line("  universe: all", "every name of the data; if these are survivors, a return "
                     "on them is"),
                line("", "too good: `spans: FILE` says who was a member when")]  # fmt: skip
    ((key, value),) = universe.items()
    return ["  universe:", line(f"    {key}: {scalar(value)}", "who was a member when")]


def _checks(min_coverage: float | None, *, quick: bool) -> list[str]:
    bars = [
        "  bars:",
        line(f"    min_coverage: {min_coverage}", "of the usual number of names at least; 0.8 is "
             "usual, and"),
        line("", "some session of the data has fewer"),
    ]  # fmt: skip
    rank_ic = [line("    rank_ic: block", "one that does not even order its validation rows stays "
                    "out")]  # fmt: skip
    if quick:
        rank_ic = [
            line(
                "    rank_ic: warn", "to see everything run; block keeps out a model that does not"
            ),
            line("", "even order its validation rows"),
        ]
    return [
        line("checks:", "the others keep their defaults (sample.yaml)"),
        *([] if min_coverage is None else bars),
        line("  model:", "whether a trained model is put in force"),
        line("    beats_constant: warn", "returns of a session are nearly noise, and good models "
             "lose to a"),
        line("", "constant in squared error; block keeps those out of service"),
        *rank_ic,
        "",
    ]  # fmt: skip


def _portfolio(draft: Draft, place: Place) -> list[str]:
    topk = max(1, min(50, draft.names // 5))
    settings = {
        "topk": topk,
        "n_drop": max(1, topk // 10),
        "hold_thresh": 1,
        "account": place.account,
        "open_cost": place.open_cost,
        "close_cost": place.close_cost,
        "min_cost": place.min_cost,
        "limit_threshold": place.limit_threshold,
        "deal_price": "close",
        "periods_per_year": place.periods_per_year,
    } | dict(draft.portfolio)
    comments = {
        "topk": "names held",
        "n_drop": "replaced a session at most",
        "hold_thresh": "sessions a name is held at least",
        "risk_degree": "share of the cash that purchases may use",
        "account": f"{place.currency} at the start",
        "open_cost": "share of the value bought: spread and fees",
        "close_cost": place.close_means,
        "min_cost": f"{place.currency} a trade at least",
        "limit_threshold": "no price limits" if settings["limit_threshold"] is None
        else "of a limit of 10 %: no trade beyond (20 % of ChiNext, STAR)",
        "deal_price": "close, open or vwap",
        "periods_per_year": "to annualise",
    }  # fmt: skip
    return [line(f"  {key}: {scalar(value)}", comments[key]) for key, value in settings.items()]


def _list(days: Sequence[str]) -> str:
    return f"[{', '.join(days)}]"
