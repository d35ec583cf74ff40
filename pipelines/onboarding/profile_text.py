"""Write the profile of a market's data as lines for a person."""

from __future__ import annotations

from pipelines.config.quarantine import RULES, Policy
from pipelines.errors import name_sessions
from pipelines.onboarding.profile import Profile

_WORST = 5


def summary_lines(profile: Profile, policies: dict[str, Policy]) -> list[str]:
    """Write span, names, gaps, missing values and suspicious rows.

    Args:
        profile: the profile.
        policies: the policy of each rule.
    """
    with_bars = len(profile.sessions) - len(profile.absent)
    lines = [
        f"sessions   {profile.sessions[0]} … {profile.sessions[-1]}: {len(profile.sessions)}, "
        f"{with_bars} of them with rows",
        f"rows       {profile.rows:,} of {len(profile.names):,} names, "
        f"{int(profile.kept.median())} a session (fewest {int(profile.kept.min())}, "
        f"most {int(profile.kept.max())})",
        f"names      {_names(profile)}",
    ]
    missing = ", ".join(f"{name} {n:,}" for name, n in profile.missing.items())
    lines.append(f"missing    {missing or 'no value'}")
    if profile.absent:
        lines.append(f"no row     {name_sessions(profile.absent)}")
    lines.append(
        "rules      broken by rows:" if profile.rules else "rules      every row keeps them"
    )
    for name, count in profile.rules.items():
        what = "set aside" if policies[name] == "quarantine" else "kept"
        if name == "future_date":
            what = "never read"
        examples = ", ".join(profile.examples[name])
        more = " …" if count > len(profile.examples[name]) else ""
        lines.append(f"  {count:>7,} {name} ({RULES[name].says}), {what}: {examples}{more}")
    return lines


def _names(profile: Profile) -> str:
    gaps = profile.gaps()
    whole = profile.names[(profile.names["first"] == profile.sessions[0])
                       & (profile.names["last"] == profile.sessions[-1])]  # fmt: skip
    full = int((gaps.reindex(whole.index) == 0).sum())
    holes = gaps[gaps > 0]
    text = (
        f"{full:,} have every session, {len(profile.names) - len(whole):,} begin late or end early"
    )
    if len(holes):
        worst = ", ".join(f"{name} {n}" for name, n in holes.head(_WORST).items())
        text += f"; {len(holes):,} miss sessions in between ({worst}{_more(len(holes))})"
    return text


def _more(count: int) -> str:
    return " …" if count > _WORST else ""
