"""The page "what is served today", `reports/NAME.served.html`, and its text for the UI.

It is no part of a report: a report has the same bytes for the same inputs, and this page names the
moment at which it was made. Where scripts run it says itself that it is old, once the next session
was due and it was not replaced.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from zoneinfo import ZoneInfo

from pipelines.market.market import Market
from pipelines.staleness.serving import FEWEST_NAMES, ModelState, Service, Shift

_HEADER = ("model", "newest scores", "trained at\nthe close of", "in force\nsince", "age",
           "names scored", "drift of scores")  # fmt: skip
_CLIPPED = 3.0  # where a norm that clips ends
_WORDS = {
    "age": "sessions since the training",
    "names scored": "of the members of the universe that have a bar",
    "drift of scores": "population stability index to the sessions before that the same model "
    f"scored (from {FEWEST_NAMES} names on), and what it is by chance: below 0.1 steady, "
    "above 0.25 another distribution",
    "drift of features": "the column whose median over the names is furthest from the centre that "
    "the processors were fitted to, in units of its scale then; a market that moves as a whole "
    "moves it, too",
}
# An hour for the run itself.
_OLD = """
const due = new Date(%s).getTime() + 3600e3;
if (Date.now() > due) document.getElementById("old").hidden = false;
"""


def publish_page(market: Market, service: Service) -> None:
    """Put the page in place, beside the report's."""
    market.served_page.write(serving_html(market, service).encode())


def serving_markdown(market: Market, service: Service) -> str:
    """Write the state of service for a page of the UI."""
    lines = [
        _lead(service),
        "",
        _row([title.replace("\n", " ") for title in _HEADER]),
        _row(["---"] * len(_HEADER)),
    ]
    lines += [_row(_cells(state)) for state in service.models]
    lines += ["", *(f"- {point}" for point in _points(market, service))]
    lines += ["", f"The page of the same is `reports/{market.served_page.name}`."]
    return "\n".join(lines)


def serving_html(market: Market, service: Service) -> str:
    """Write the page.

    Args:
        market: the market.
        service: its state.

    Returns:
        HTML text without external resources.
    """
    from rnn_core.evaluation.report_html import bullets, facts, page, remarks, table

    passed = [
        f"{state.model}: the model of {why}"
        for state in service.models
        for why in state.passed_over
    ]
    state = table(_HEADER, [_cells(one) for one in service.models])
    drift = facts({_features(s): _shift_words(market, s) for s in service.shifts})
    sections = [
        ("Models", _old(service) + state + remarks(passed)),
        ("Drift", drift),
        ("Next", facts({"next session is looked for": _next(service)})),
        ("Open points", bullets(service.open_points or ["nothing is missing, waits or failed"])),
        ("What the words mean", facts(_WORDS)),
    ]  # fmt: skip
    return page(f"{service.market}: what is served", _lead(service), sections)


def _old(service: Service) -> str:
    """Write the warning that shows once the page should have been replaced."""
    if service.next_tick is None:
        return ""
    due = json.dumps(service.next_tick.isoformat())
    return (
        '<p id="old" class="verdict" hidden>This page is old: the next session was due at '
        f"{_clock(service.next_tick, service)}, and the page was not made again.</p>"
        f"<script>{_OLD % due}</script>"
    )


def _lead(service: Service) -> str:
    """Say of which moment and session the page is."""
    ahead = [s for s in service.models if s.session == service.newest]
    scored = (
        "every model has scored it"
        if len(ahead) == len(service.models)
        else f"{len(ahead)} of {len(service.models)} models have scored it"
    )
    return (
        f"Made at {_clock(service.made, service)}. The newest closed session is {service.newest}: "
        f"{scored}."
    )


def _cells(state: ModelState) -> list[str]:
    """The texts of a model's row."""
    if state.session is None:
        return [state.model, state.reason or "none yet", *["–"] * 5]
    late = f" ({state.behind} behind)" if state.behind else ""
    psi = "–" if state.psi is None else f"{state.psi[0]:.2f} ({state.psi[1]:.2f} by chance)"
    none = "–" if state.passed_over == () else "none passes its checks"
    return [
        state.model,
        f"{state.session}{late}",
        state.as_of or none,
        state.since or "–",
        f"{state.age} sessions" if state.as_of else "–",
        f"{state.names:,} of {state.members:,}",
        psi,
    ]


def _points(market: Market, service: Service) -> list[str]:
    """Write the points that are worth a line beside the table, in order."""
    points = [
        f"{state.model} passed over the model of {why}"
        for state in service.models
        for why in state.passed_over
    ]
    points += [f"{_features(s)}: {_shift_words(market, s)}" for s in service.shifts]
    points.append(f"next session: {_next(service)}")
    return points + list(service.open_points)


def _features(shift: Shift) -> str:
    """Name the features of a dataset; the default one has no name."""
    return f"drift of features of {shift.dataset}" if shift.dataset else "drift of features"


def _shift_words(market: Market, shift: Shift) -> str:
    """Say how far the features moved."""
    if shift.reason:
        return shift.reason
    limit = market.config.checks.dataset.max_drift
    beyond = f", beyond {limit:g} (checks.dataset.max_drift)" if shift.scales > limit else ""
    far = f"{shift.scales:.2f}" if shift.scales < _CLIPPED else f"{_CLIPPED:g} or more"
    return f"{shift.column} is {far} scales from its centre{beyond}"


def _next(service: Service) -> str:
    """Say when the next session is looked for."""
    if service.next_tick is None:
        return service.schedule
    return f"{_clock(service.next_tick, service)} ({service.schedule})"


def _clock(moment: dt.datetime, service: Service) -> str:
    return f"{moment.astimezone(ZoneInfo(service.zone)):%Y-%m-%d %H:%M %Z}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
