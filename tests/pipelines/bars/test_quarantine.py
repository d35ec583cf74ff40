"""The rules of bars by name, and their policies. Oracles: the cases, and bars written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.bars.quarantine import any_of, broken_rules, counts, examples, jumps, verdict
from pipelines.config.loader import parse_config
from pipelines.config.quarantine import OPTIONAL, RULES, QuarantineConfig
from pipelines.errors import ConfigError
from tests.pipelines.conftest import TINY, merged
from tests.pipelines.good_bars import bars

POLICIES = QuarantineConfig().policies
NO_PRIOR = pd.Series(dtype="float64")


def names(frame: pd.DataFrame) -> list[str]:
    return verdict(broken_rules(frame), POLICIES).rule.tolist()


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({}, ""),
        ({"amount": np.nan}, ""),
        ({"low": 10.0, "high": 10.5}, ""),  # the body touches both ends
        ({"open": np.nan}, "missing_price"),
        ({"close": np.inf}, "missing_price"),
        ({"low": 0.0}, "non_positive_price"),
        ({"high": 8.0}, "high_below_low"),
        ({"low": 10.2}, "low_above_body"),
        ({"high": 10.4}, "high_below_body"),
        ({"volume": 0.0}, "zero_volume"),
        ({"volume": np.nan}, "missing_volume"),
        ({"volume": np.inf}, "missing_volume"),
        ({"volume": -1.0}, "negative_volume"),
        ({"amount": -1.0}, "negative_amount"),
        ({"adj_ratio": 0.0}, "bad_adj_ratio"),
        ({"adj_ratio": np.nan}, "bad_adj_ratio"),
        ({"instrument": None}, "no_instrument"),
        ({"session": "2024-01-03"}, "off_calendar"),
        ({"open": -1.0, "low": -2.0, "volume": 0.0}, "non_positive_price; zero_volume"),
    ],
)
def test_each_rule(change, rule):
    assert names(bars({"session": "2024-01-02", **change})) == [rule]


@pytest.mark.parametrize(
    ("vwap", "change", "is_broken"),
    [
        (10.0, {}, False),
        (9.995, {"low": 10.0}, False),  # rounded to the cent
        (9.98, {"low": 10.0}, True),
        (10.51, {"high": 10.5}, False),
        (10.52, {"high": 10.5}, True),
        (0.0, {}, True),
        (-1.0, {}, True),
        (np.nan, {}, False),
        (2.05e-8, {"open": 2e-8, "high": 2.1e-8, "low": 1.9e-8, "close": 2e-8}, False),
        (2.3e-8, {"open": 2e-8, "high": 2.1e-8, "low": 1.9e-8, "close": 2e-8}, True),
    ],
)
def test_a_vwap_of_the_data_lies_in_the_bar(vwap, change, is_broken):
    """The turnover of markets without an own vwap is not judged."""
    frame = bars({"low": 9.5, "high": 10.5, "open": 10.2, "close": 10.3, **change})
    frame["amount"] = vwap * frame["volume"]
    assert broken_rules(frame, own_vwap=True)["vwap_outside"].tolist() == [is_broken]
    assert not broken_rules(frame)["vwap_outside"].any()
    nothing = frame.assign(volume=0.0, amount=0.0)
    assert not broken_rules(nothing, own_vwap=True)["vwap_outside"].any()


def test_the_newest_rules_leave_older_partitions_current():
    """At its default the section is written as it was before the rules; another policy is one."""
    newest = {"vwap_outside": "accept", "infinite_extra": "quarantine"}
    assert not newest.keys() & QuarantineConfig().model_dump(mode="json").keys()
    changed = QuarantineConfig(**newest).model_dump(mode="json")
    assert newest.items() <= changed.items()
    assert set(changed) == set(QuarantineConfig.model_fields)


def test_copies_and_contradictions():
    """Of equal bars one is kept; of different ones none can be trusted, copied or not."""
    both = "contradicting_duplicate"
    rows = bars({}, {}, {"instrument": "B"}, {"instrument": "B", "close": 10.0})
    assert names(rows) == ["", "duplicate", both, both]
    assert names(bars({}, {}, {"close": 10.0})) == [both] * 3


def test_rows_without_a_name_are_no_copies_of_each_other():
    """Whose bars they are is not known, so nothing is kept that they could be copies of."""
    none = {"instrument": None}
    assert names(bars(none, none, {**none, "close": 10.0})) == ["no_instrument"] * 3
    assert names(bars(none, none, {}, {})) == ["no_instrument"] * 2 + ["", "duplicate"]


def test_policies_decide_what_is_set_aside():
    rows = bars({}, {"instrument": "B", "volume": 0.0}, {"instrument": "C", "high": 10.4,
                                                         "volume": 0.0})  # fmt: skip
    found = verdict(broken_rules(rows), {**POLICIES, "zero_volume": "accept"})
    assert found.rule.tolist() == ["", "zero_volume", "high_below_body; zero_volume"]
    assert found.policy.tolist() == ["", "accept", "quarantine; accept"]
    assert found.aside.tolist() == [False, False, True]
    assert counts(list(found.rule)) == {"high_below_body": 1, "zero_volume": 2}
    told = examples(rows.assign(rule=found.rule)[1:], limit=1)
    assert told == "B: zero_volume … (2 in all)"


def jumped(closes, *, ratios=None, stands=None, prior=NO_PRIOR, limit=0.5):
    rows = bars(*({"date": f"d{k:03d}", "close": c} for k, c in enumerate(closes)))
    factor = np.cumprod(ratios if ratios is not None else np.ones(len(rows)))
    ok = np.ones(len(rows), dtype=bool) if stands is None else np.array(stands)
    return jumps(rows, rows["close"].to_numpy() * factor, ok, prior, limit)


def test_jumps_up_and_down_are_equally_far():
    """A rise of more than half, or a fall to less than two thirds; not at the limit itself."""
    assert jumped([10.0, 15.0, 10.0, 16.0])[0].tolist() == [False, False, False, True]
    assert jumped([9.0, 6.0, 3.9])[0].tolist() == [False, False, True]
    assert not jumped([10.0, 15.1], limit=1.0)[0].any()


def test_a_stated_split_is_no_jump():
    assert jumped([100.0, 50.0])[0].tolist() == [False, True]
    assert not jumped([100.0, 50.0], ratios=[1.0, 2.0])[0].any()


def test_a_bad_tick_is_passed_over_and_a_shifted_level_is_one_jump():
    """What another rule sets aside is no reference; a jump itself is one."""
    flags, last = jumped([36.0, 17.0, 35.0], stands=[True, False, True])
    assert not flags.any()
    assert last.tolist() == [36.0, 36.0, 35.0]
    flags, last = jumped([100.0, 45.0, 46.0, 44.0])
    assert flags.tolist() == [False, True, False, False]
    assert last.tolist() == [100.0, 45.0, 46.0, 44.0]


def test_the_close_before_the_first_row_counts():
    prior = pd.Series({"A": 30.0, "B": np.nan})
    flags, last = jumped([10.0], prior=prior)
    assert (flags.tolist(), last.tolist()) == ([True], [10.0])
    flags, last = jumped([10.0], prior=prior, stands=[False])
    assert (flags.tolist(), last.tolist()) == ([False], [30.0])
    nameless = bars({"instrument": None}, {"instrument": "B"})
    flags, last = jumps(nameless, np.array([1.0, 1.0]), np.array([False, True]), prior, 0.5)
    assert not flags.any()
    np.testing.assert_array_equal(last, [np.nan, 1.0])
    assert jumps(bars({}).iloc[:0], np.empty(0), np.empty(0, bool), prior, 0.5)[0].shape == (0,)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_jumps_alone_and_in_a_range(data):
    """Cut anywhere and shuffled: the same flags and the same close that leaves. Oracle: a loop."""
    count = data.draw(st.integers(1, 40))
    rows = pd.DataFrame(
        {
            "date": [f"d{data.draw(st.integers(0, 9))}" for _ in range(count)],
            "instrument": [data.draw(st.sampled_from("ABC")) for _ in range(count)],
        }
    ).drop_duplicates(ignore_index=True)
    rows = rows.sort_values(["date", "instrument"], ignore_index=True)
    close = np.array([data.draw(st.sampled_from([5.0, 10.0, 11.0, 20.0])) for _ in rows.index])
    ok = np.array([data.draw(st.booleans()) for _ in rows.index])
    expected, last, newest = [], [], {}
    for name, x, stands in zip(rows["instrument"], close, ok, strict=True):
        was = newest.get(name)
        expected.append(bool(stands and was is not None and (x > 1.5 * was or 1.5 * x < was)))
        if stands:
            newest[name] = x
        last.append(newest.get(name, np.nan))
    flags, leaving = jumps(rows, close, ok, NO_PRIOR, 0.5)
    assert flags.tolist() == expected
    np.testing.assert_array_equal(leaving, last)

    cut = rows["date"] < f"d{data.draw(st.integers(0, 10))}"
    head = pd.Series(leaving[cut], rows["instrument"][cut]).groupby(level=0).last()
    tail = np.flatnonzero(~cut)
    data.draw(st.randoms(use_true_random=False)).shuffle(tail)
    flags, leaving = jumps(rows.iloc[tail], close[tail], ok[tail], head, 0.5)
    assert flags.tolist() == np.array(expected, dtype=bool)[tail].tolist()
    np.testing.assert_array_equal(leaving, np.array(last)[tail])


def test_any_of_the_rules_that_are_there():
    found = broken_rules(bars({}, {"volume": 0.0}))
    assert any_of(found, ["zero_volume", "jump"], 2).tolist() == [False, True]


def test_the_page_on_markets_has_every_rule_as_it_is():
    """Name, default and whether it may be accepted, from docs/markets.md."""
    page = Path(__file__).parents[3] / "docs" / "markets.md"
    section = page.read_text().split("## Rows that break a rule")[1].split("\n## ")[0]
    cells = [[c.strip() for c in line.split("|")[1:-1]] for line in section.splitlines()]
    table = {row[0].strip("`"): row for row in cells if len(row) == 4 and row[0].startswith("`")}
    assert list(table) == list(RULES)
    for name, (_, _, default, accepted) in table.items():
        assert accepted.startswith("yes" if name in OPTIONAL else "no"), name
        assert default == ("never read" if name == "future_date" else POLICIES[name]), name


# --- configuration ---------------------------------------------------------------------------


def configured(section) -> QuarantineConfig:
    return parse_config(merged(TINY, {"market": {"quarantine": section}})).market.quarantine


def test_every_rule_has_a_policy():
    fields = set(QuarantineConfig.model_fields) - {"jump_limit"}
    assert fields == set(RULES) == set(POLICIES)
    defaults = {name for name, policy in POLICIES.items() if policy == "accept"}
    assert defaults == {"jump", "infinite_extra"}, "the bars stored are those of before"
    accepted = configured(dict.fromkeys(OPTIONAL, "accept"))
    assert set(accepted.set_aside) == set(RULES) - set(OPTIONAL)
    assert configured({"jump": "quarantine", "jump_limit": 0.3}).jump_limit == 0.3


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"zero_volum": "accept"}, r"'zero_volum' is no rule; did you mean 'zero_volume'.*; the "
                                   r"rules are no_instrument, missing_price.*jump_limit"),
        ({"zero_volume": "keep"}, r"zero_volume: 'keep' is no policy; expected quarantine .*acc"),
        ({"zero_volume": True}, r"True is no policy"),
        ({"missing_price": "accept"}, r"missing_price: accept is not possible: a bar is stored "
                                      r"with all of its four prices; leave it out. accept goes "),
        ({"duplicate": "accept"}, r"an instrument has one bar a session"),
        ({"jump_limit": 0}, r"jump_limit: Input should be greater than 0"),
        ("accept", r"market.quarantine: "),
    ],
)  # fmt: skip
def test_a_wrong_policy_is_named(section, message):
    with pytest.raises(ConfigError, match=message):
        configured(section)
