"""Propose the YAML of a new market, after checking it against all of its data."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from pipelines.config.loader import parse_config
from pipelines.config.market_file import FactoryConfig
from pipelines.errors import ConfigError
from pipelines.market.market import Market
from pipelines.onboarding.infer_market import Wishes, assemble
from pipelines.onboarding.profile_text import summary_lines
from pipelines.onboarding.yaml_template import Draft, draft_yaml
from pipelines.onboarding.yaml_validation import Findings, problems_of

_STEP = 0.05  # in which min_coverage is lowered


@dataclass(frozen=True)
class Proposal:
    """A YAML to be written.

    Attributes:
        name: the market's name.
        text: the text of the YAML.
        lines: the findings, for a person.
        start: the first session.
        end: the last session.
        problems: the number of problems that `validate` would find.
    """

    name: str
    text: str
    lines: tuple[str, ...]
    start: str
    end: str
    problems: int = 0


def propose(wishes: Wishes) -> Proposal:
    """Draft the YAML of a market.

    Raises:
        SourceError: the data cannot be read.
        ConfigError: the data is too little, or the YAML would not load.
    """
    return proposal_of(*assemble(wishes))


def proposal_of(draft: Draft, notes: Sequence[str], *, is_readable: bool = True) -> Proposal:
    """Check a draft against its data, and write its YAML.

    Args:
        draft: the draft.
        notes: lines for a person.
        is_readable: False if the data is not there, and only the YAML can be checked.

    Raises:
        SourceError: the data cannot be read.
        ConfigError: every bar would be set aside, or the YAML would not load.
    """
    config, findings, lines = _load(draft_yaml(draft), draft.name), Findings(), [*notes]
    if is_readable:
        with tempfile.TemporaryDirectory() as folder:
            findings = problems_of(Market(config, root=Path(folder)))
    _require_bars(findings, config)
    if findings.profile is not None:
        lines += summary_lines(findings.profile, config.market.quarantine.policies)
        checks = config.checks.bars
        share, when = findings.profile.least_share(checks.history_sessions)
        if share < checks.min_coverage:
            lowered = max(_STEP, round(math.floor(share / _STEP) * _STEP, 2))
            draft = replace(draft, min_coverage=lowered)
            lines.append(
                f"coverage   {when} has {share:.0%} of the usual names: min_coverage is {lowered}"
            )
            findings.problems = [p for p in findings.problems if "min_coverage" not in p]
            if share < lowered:  # nothing lower would find a fault in any session
                findings.problems.append(
                    f"checks.bars.min_coverage: {lowered} is the least that is proposed, and "
                    f"{when} has {int(findings.profile.kept[when])} names, {share:.1%} of the "
                    f"usual: the ingest would stop there; bring the others, or name the day under "
                    f"market.closed"
                )
    text = draft_yaml(draft)
    _load(text, draft.name)
    lines += [f"remark     {remark}" for remark in findings.remarks]
    lines += [f"problem    {problem}" for problem in findings.problems]
    plan = draft.plan
    lines.append(
        f"training   from {plan.first_trained} on, every {plan.retrain_every} sessions, on "
        f"{plan.window_sessions} sessions; processors are refitted with the models, on as many"
    )
    return Proposal(draft.name, text, tuple(lines), draft.start, draft.end, len(findings.problems))


def _require_bars(findings: Findings, config: FactoryConfig) -> None:
    """Confirm that the rules keep some bars.

    Raises:
        ConfigError: every row is set aside.
    """
    profile = findings.profile
    if profile is None or (len(profile.kept) and profile.kept.sum() > 0):
        return
    rules = ", ".join(
        f"{name} {n:,} (such as {', '.join(profile.examples.get(name, [])[:2])})"
        for name, n in profile.rules.items()
    )
    advice = "correct the data"
    if "zero_volume" in profile.rules:
        advice += ", or name a column that holds the volume, --column volume=NAME"
    raise ConfigError(
        f"no bar is left of {profile.rows:,} rows of {config.name}, and nothing was written: every "
        f"row breaks a rule, {rules or 'none of them lies in a session'}; {advice}"
    )


def _load(text: str, name: str) -> FactoryConfig:
    return parse_config(yaml.safe_load(text), where=f"the draft of {name}", text=text)
