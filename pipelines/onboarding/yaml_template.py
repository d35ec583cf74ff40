"""Write the YAML of a new market, with a comment at every key, as the shipped ones have.

The calendar decides figures of the place (costs, price limits, sessions a year); the draft brings
those of the data (spans, windows, names held).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from pipelines.config.json_schema import schema_line
from pipelines.onboarding.training_windows import Plan

_COMMENT_AT = 32


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


_SOURCE = {
    "kind": "files, qlib_bin, sql and others; see pipelines/config/shipped",
    "path": "a file, a folder or a pattern",
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
    plan, place = draft.plan, _place(draft.calendar)
    # The place decides costs and price limits; the data decide windows and names held.
    topk = max(1, min(50, draft.names // 5))
    lines = [
        schema_line(),
        f"# {draft.data}",
        "# Drafted by `rnn-pipelines init`; sample.yaml explains what is not explained here.",
        "#",
        f"#   rnn-pipelines demo --config {draft.name}.yaml",
        "",
        _line(f"name: {_scalar(draft.name)}", f"all state lies under data/{draft.name}/"),
        "",
        # The market: source, calendar, members and the policies of its bars.
        "market:",
        "  source:",
        *_source(draft.source, draft.remarks),
        *_calendar(draft.calendar, draft.remarks.get("calendar")),
        _line(f"  closed: {_list(draft.closed)}", draft.remarks.get("closed")
              or "sessions of the calendar on which the market was closed after all"),
        _line(f"  extra_sessions: {_list(draft.extra)}",
              "days that were sessions, though the calendar has none"),
        _line(f"  start: {draft.start}", "first session; adjustment factors start here at 1.0"),
        _line(f"  end: {draft.end}", "last session; leave it out for a market that goes on"),
        *_universe(draft.universe),
        _line(f"  vwap: {draft.vwap}", draft.remarks.get("vwap") or "amount ÷ volume, a real one"),
        _line("  quarantine:", "bars that break a rule: quarantine sets them aside, accept keeps "
              "and counts"),
        _line("    zero_volume: quarantine", "them; docs/markets.md has all rules"),
        _line("    jump: accept", "the adjusted close moved further since the bar before than"),
        _line("    jump_limit: 0.5", "so much up, or down to less than 1 / (1 + jump_limit) of it"),
        "",
        "features:",
        # Features, dataset and models are those of qlib's benchmarks, in strict semantics.
        _line("  set: alpha158", "qlib's 158 features"),
        _line("  semantics: strict",
              "strict repairs qlib's quirks (docs/deviations.md), or qlib"),
        "  label: Ref($close, -2)/Ref($close, -1) - 1   # return from the close of t+1 to that of "
        "t+2",
        "",
        # The dataset and the training: windows of the plan.
        "dataset:",
        _line("  fit:", "processors are fitted again with the models, on what was known then; or"),
        _line("    rolling:", "expanding, or fixed with fit_start and fit_end (docs/markets.md)"),
        _line(f"      window_sessions: {plan.window_sessions}",
              "on the newest so many sessions, those that a model learns from"),
        _line("  step_len: 20", "sessions a model sees"),
        *_PROCESSORS,
        "",
        "training:",
        # Windows follow from the length of the data (`training_windows.py`).
        _line(f"  first_trained: {plan.first_trained}",
              "first session with a model"),
        _line(f"  window_sessions: {plan.window_sessions}",
              "labels matured in the last so many sessions"),
        _line(f"  valid_sessions: {plan.valid_sessions}",
              "the newest decisions, held out for early stopping"),
        _line(f"  retrain_every: {plan.retrain_every}",
              "sessions between trainings; 1 trains after every session"),
        _line("  seed: 0", "initial weights and the order of batches"),
        _line("  device: auto", "auto (a GPU where there is one), cpu, cuda, cuda:1"),
        "",
        *(_QUICK_MODELS if draft.quick else _MODELS),
        "",
        *_checks(draft.min_coverage, quick=draft.quick),
        # The evaluation and the portfolio: sizes follow the number of names.
        "evaluation:",
        _line(f"  quantiles: {5 if draft.names >= 25 else 2}",
              "score buckets of the quantile returns"),
        "",
        # Costs are those of the place, per side.
        _line("portfolio:", "TopkDropout, traded at the session after the score"),
        _line(f"  topk: {topk}", "names held"),
        _line(f"  n_drop: {max(1, topk // 10)}", "replaced a session at most"),
        _line("  hold_thresh: 1", "sessions a name is held at least"),
        _line(f"  account: {place.account}", f"{place.currency} at the start"),
        _line(f"  open_cost: {place.open_cost}", "share of the value bought: spread and fees"),
        _line(f"  close_cost: {place.close_cost}", place.close_means),
        _line(f"  min_cost: {place.min_cost}", f"{place.currency} a trade at least"),
        _line(f"  limit_threshold: {_scalar(place.limit_threshold)}", "no price limits"
              if place.limit_threshold is None else
              "of a limit of 10 %: no trade beyond (20 % of ChiNext, STAR)"),
        _line("  deal_price: close", "close, open or vwap"),
        _line(f"  periods_per_year: {place.periods_per_year}", "to annualise"),
        "",
        "schedule:",
        # A person turns the schedule on, once bars arrive daily.
        _line("  enabled: false", "true turns the daily schedule on, once data comes daily"),
        _line('  cron: "30 0 * * *"', "in the calendar's time zone, after the session's midnight"),
        _line(f"  drop_folder: {_scalar(draft.drop_folder)}",
              "new files in this folder bring a waiting run forward"),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


_PROCESSORS = """\
  infer_processors:             # applied to features, in order; fitted as `fit` says
    - FilterCol:                # qlib's 20 of the 158
        col_list: [RESI5, WVMA5, RSQR5, KLEN, RSQR10, CORR5, CORD5, CORR10, ROC60, RESI10,
                   VSTD5, RSQR60, CORR60, WVMA60, STD5, RSQR20, CORD60, CORD10, CORR20, KLOW]
    - RobustZScoreNorm:         # (x - median) / (1.4826 MAD)
        clip_outlier: true      # clipped to [-3, 3]
    - Fillna:                   # what is still missing
        fill_value: 0           # the centre of a standardised column
  learn_processors:             # applied to the label of members, a session at a time
    - DropnaLabel               # no label, no row
    - CSRankNorm                # cross-sectional rank, centred and scaled to about unit variance
""".splitlines()

_MODELS = """\
models:                         # an entry a model; what is left out is qlib's benchmark value
  lstm:                         # 2 layers of 64 units
    lr: 0.001                   # learning rate of Adam
  gru:                          # the same size
    lr: 0.0002                  # smaller, as in qlib's benchmark
  krnn:                         # a convolution over sessions, then parallel GRUs
    batch_size: 2000            # rows
""".splitlines()


_QUICK_MODELS = """\
models:                         # small and of few epochs, to see everything run; leave the keys
  lstm:                         # out for qlib's benchmark values
    hidden_size: 16             # hidden units a layer
    lr: 0.001                   # learning rate of Adam
    n_epochs: 5                 # at most
  gru:                          # the same size
    hidden_size: 16
    lr: 0.001
    n_epochs: 5
  krnn:                         # a convolution over sessions, then parallel GRUs
    batch_size: 2000            # rows
    n_epochs: 5
""".splitlines()


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
            lines.append(_line(f"    {key}:", comment))
            for name, inner in value.items():
                comment_of_key = _BASIS.get(name, "") if key == "basis" else f"our {name}"
                comment_of_key = "this value" if key == "keep" else comment_of_key
                lines.append(_line(f"      {_scalar(name)}: {_scalar(inner)}", comment_of_key))
        else:
            lines.append(_line(f"    {key}: {_scalar(value)}", comment))
    return lines


def _calendar(calendar: Any, remark: str | None) -> list[str]:
    if isinstance(calendar, str):
        comment = remark or "a calendar of exchange_calendars: partitions are its sessions"
        return [_line(f"  calendar: {_scalar(calendar)}", comment)]
    return [
        _line("  calendar:", "no exchange's calendar fits well:"),
        _line("    from: data", "sessions are the days that have bars"),
        _line(f"    timezone: {calendar['timezone']}", "of the market; a session ends at midnight"),
        _line(f"    min_instruments: {calendar['min_instruments']}", "with fewer it is no session"),
    ]


def _universe(universe: Any) -> list[str]:
    if universe == "all":
        return [_line("  universe: all", "every name of the data; if these are survivors, a return "
                      "on them is"),
                _line("", "too good: `spans: FILE` says who was a member when")]  # fmt: skip
    ((key, value),) = universe.items()
    return ["  universe:", _line(f"    {key}: {_scalar(value)}", "who was a member when")]


def _checks(min_coverage: float | None, *, quick: bool) -> list[str]:
    bars = [
        "  bars:",
        _line(f"    min_coverage: {min_coverage}", "of the usual number of names at least; 0.8 is "
              "usual, and"),
        _line("", "some session of the data has fewer"),
    ]  # fmt: skip
    rank_ic = [_line("    rank_ic: block", "one that does not even order its validation rows stays "
                     "out")]  # fmt: skip
    if quick:
        rank_ic = [
            _line(
                "    rank_ic: warn", "to see everything run; block keeps out a model that does not"
            ),
            _line("", "even order its validation rows"),
        ]
    return [
        _line("checks:", "the others keep their defaults (sample.yaml)"),
        *([] if min_coverage is None else bars),
        _line("  model:", "whether a trained model is put in force"),
        _line("    beats_constant: warn", "returns of a session are nearly noise, and good models "
              "lose to a"),
        _line("", "constant in squared error; block keeps those out of service"),
        *rank_ic,
        "",
    ]  # fmt: skip


def _line(text: str, comment: str) -> str:
    return (
        f"{text:<{_COMMENT_AT}}# {comment}" if len(text) < _COMMENT_AT else f"{text}   # {comment}"
    )


def _scalar(value: Any) -> str:
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=True, width=10**6)
    return str(text).removesuffix("...\n").strip()


def _list(days: Sequence[str]) -> str:
    return f"[{', '.join(days)}]"
