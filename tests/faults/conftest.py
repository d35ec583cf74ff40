"""The states at rest, the length of the suite, and the marker of its tests."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults import market
from tests.faults.commands import good
from tests.pipelines.built_once import copy_built_once
from tests.pipelines.conftest import shared_folder

LONG = os.environ.get("RNN_FAULTS", "short") == "long"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.faults)


@pytest.fixture(scope="session")
def states(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The states at rest, built once for all workers; not to be written to."""
    copy = tmp_path_factory.mktemp("states") / "states"
    copy_built_once(shared_folder(tmp_path_factory) / "states", copy, market.build)
    return copy


@pytest.fixture(scope="session")
def completed(states: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The market after `market.WORDS`, undisturbed."""
    folder = market.put(states / "until", tmp_path_factory.mktemp("completed") / "folder")
    good(folder, *market.WORDS)
    return folder


@pytest.fixture
def noted(record_property: Callable[[str, str], None]) -> Callable[[str], None]:
    """Write down the faults of a test."""
    return lambda what: record_property("fault", what)


def pytest_terminal_summary(terminalreporter) -> None:
    """Say how many faults of each kind the tests met."""
    counts: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            of_call = getattr(report, "when", "") == "call"
            for name, value in report.user_properties if of_call else ():
                if name == "fault":
                    counts[str(value).partition(": ")[0]] += 1
    if counts:
        total = ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))
        terminalreporter.write_line(f"faults met: {sum(counts.values())} ({total})")
