"""What was found in a market's data, as lines for a person."""

from __future__ import annotations

from pipelines.config.quarantine import RULES, Policy
from pipelines.errors import name_sessions
from pipelines.onboarding.profile import Look

_WORST = 5


def summary_lines(look: Look, policies: dict[str, Policy]) -> list[str]:
    """Span, names, gaps, missing values and suspicious rows.

    Args:
        look: what was found.
        policies: what becomes of rows, by rule.
    """
    with_bars = len(look.sessions) - len(look.absent)
    lines = [
        f"sessions   {look.sessions[0]} … {look.sessions[-1]}: {len(look.sessions)}, "
        f"{with_bars} of them with rows",
        f"rows       {look.rows:,} of {len(look.names):,} names, {int(look.kept.median())} a "
        f"session (fewest {int(look.kept.min())}, most {int(look.kept.max())})",
        f"names      {_names(look)}",
    ]
    missing = ", ".join(f"{name} {n:,}" for name, n in look.missing.items())
    lines.append(f"missing    {missing or 'no value'}")
    if look.absent:
        lines.append(f"no row     {name_sessions(look.absent)}")
    lines.append("rules      broken by rows:" if look.rules else "rules      every row keeps them")
    for name, count in look.rules.items():
        what = "set aside" if policies[name] == "quarantine" else "kept"
        if name == "future_date":
            what = "never read"
        shown = ", ".join(look.examples[name])
        more = " …" if count > len(look.examples[name]) else ""
        lines.append(f"  {count:>7,} {name} ({RULES[name].says}), {what}: {shown}{more}")
    return lines


def _names(look: Look) -> str:
    gaps = look.gaps()
    whole = look.names[(look.names["first"] == look.sessions[0])
                       & (look.names["last"] == look.sessions[-1])]  # fmt: skip
    full = int((gaps.reindex(whole.index) == 0).sum())
    holes = gaps[gaps > 0]
    said = f"{full:,} have every session, {len(look.names) - len(whole):,} begin late or end early"
    if len(holes):
        worst = ", ".join(f"{name} {n}" for name, n in holes.head(_WORST).items())
        said += f"; {len(holes):,} miss sessions in between ({worst}{_more(len(holes))})"
    return said


def _more(count: int) -> str:
    return " …" if count > _WORST else ""
