"""The sessions that are missing, found without sets of all of history. Oracle: those sets.

An old session that goes off the record while the process lives is asked for again.
"""

from __future__ import annotations

import random

import pytest

from pipelines.automation.new_models import newcomers
from pipelines.automation.next_session import _AT_ONCE, _lacking
from pipelines.instance.materializations import forget
from pipelines.market.stage import Kind, Stage
from tests.pipelines.conftest import key_of, open_record
from tests.pipelines.ticks import CRON, keys_of, mark_done, tick

CALENDAR = tuple(f"{i:05}" for i in range(3 * _AT_ONCE))
LENGTHS = (0, 1, 5, _AT_ONCE - 1, _AT_ONCE, _AT_ONCE + 1, 2 * _AT_ONCE)


def histories(seed):
    """Sessions that are due, and a record that differs: gaps, an end, a later start, other days."""
    rng = random.Random(seed)
    start = rng.choice((0, 3, _AT_ONCE))
    due = CALENDAR[start : start + rng.choice(LENGTHS)]
    keys = set(
        CALENDAR[rng.choice((0, start, start + 7)) : start + len(due) + rng.randrange(-3, 4)]
    )
    keys -= set(rng.sample(CALENDAR, rng.choice((0, 0, 1, 40))))
    keys |= {f"{i:05}x" for i in rng.sample(range(len(CALENDAR)), rng.choice((0, 0, 2)))}
    return due, tuple(sorted(rng.choice((keys, keys, set()))))


def test_the_missing_sessions_are_those_of_the_sets():
    for seed in range(300):
        due, done = histories(seed)
        assert list(_lacking(due, done)) == sorted(set(due) - set(done)), seed


@pytest.mark.parametrize("seed", range(40))
def test_the_newcomers_are_those_of_the_sets(seed):
    due, one = histories(seed)
    other = random.Random(seed).choice((one, one[5:], histories(seed + 1000)[1]))
    done = {
        Stage(name, Kind.EVALUATION, make=pytest.fail, code_version="1", model=name[0]): keys
        for name, keys in (("a_evaluation", one), ("b_evaluation", other))
    }
    found = newcomers(due, done)
    sets = {stage: set(due) & set(keys) for stage, keys in done.items()}
    if len(set().union(*sets.values())) < 2:
        assert (found.since, found.without) == ({}, ())
        return
    firsts = {stage: min(keys) for stage, keys in sets.items() if keys}
    assert found.without == tuple(stage for stage in sets if stage not in firsts)
    begun = min(firsts.values())
    assert found.since == {stage: key for stage, key in firsts.items() if key != begun}
    assert found.first == due[0]


def test_the_histories_differ_in_every_way():
    cases = [(due, done, set(due) - set(done)) for due, done in map(histories, range(300))]
    assert any(due and not gone for due, _, gone in cases), "none is complete"
    assert any(1 < len(gone) < len(due) and min(gone) > due[_AT_ONCE] for due, _, gone in cases
               if len(due) > _AT_ONCE), "none has a late gap"  # fmt: skip
    assert any(gone and len(gone) < 9 and min(gone) < due[9] for due, _, gone in cases
               if len(due) > _AT_ONCE), "none has an old gap"  # fmt: skip
    assert any(due and not done for due, done, _ in cases), "none has no session"
    assert any(key.endswith("x") for _, done, _ in cases for key in done), "no day is foreign"


def test_an_old_session_that_goes_off_the_record_is_asked_for_again(market, tmp_path):
    done = [key for key in market.sessions.keys if "2020-04-01" <= key <= "2020-04-07"]
    with open_record(tmp_path / "record") as instance:
        mark_done(instance, done)
        assert "every closed session is done" in tick(market, instance, CRON).skip_message
        forget(instance, key_of("gru_portfolio"), done[1:3])
        assert keys_of(tick(market, instance, CRON)) == [done[1]]
        mark_done(instance, [done[1]])
        assert keys_of(tick(market, instance, CRON)) == [done[2]]
