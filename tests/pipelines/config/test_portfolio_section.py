"""The section `portfolio`. Oracle: the hash that earlier releases recorded, and the messages."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pipelines.config.loader import parse_config
from pipelines.config.portfolio_section import WEIGHTS, PortfolioSettings
from pipelines.errors import ConfigError
from pipelines.warehouse.partition_file import fingerprint
from rnn_core.evaluation import TopkDropout
from rnn_core.evaluation.strategies import Needs
from rnn_core.evaluation.strategy_names import SHIPPED
from tests.pipelines.conftest import TINY

EARLIER = {
    "topk": 50, "n_drop": 5, "hold_thresh": 1, "risk_degree": 0.95, "account": 1e8,
    "open_cost": 0.0005, "close_cost": 0.0015, "min_cost": 5.0, "limit_threshold": None,
    "deal_price": "close", "periods_per_year": 252,
}  # fmt: skip


def test_keys_of_later_releases_make_nothing_stale_at_their_default():
    """Oracle: the settings as the release before the books dumped them into fingerprints."""
    assert fingerprint(PortfolioSettings().identity) == fingerprint(EARLIER)
    spelt = {"strategy": "topk_dropout", "sizing": "cash_share", "trade_unit": None, "first": None}
    assert fingerprint(PortfolioSettings(**spelt).identity) == fingerprint(EARLIER)
    assert PortfolioSettings(sizing="fixed_shares").identity["sizing"] == "fixed_shares"


def test_what_decides_no_book_is_no_part_of_its_identity():
    one, other = PortfolioSettings(), PortfolioSettings(periods_per_year=238, first="2020-01-01")
    assert one.book_identity == other.book_identity
    assert one.book_identity != PortfolioSettings(topk=49).book_identity


def test_every_shipped_strategy_of_weights_has_its_name():
    assert set(WEIGHTS) == set(SHIPPED)
    made = {name: PortfolioSettings(strategy=name).rule() for name in WEIGHTS}
    assert all(type(made[name]) is SHIPPED[name] for name in WEIGHTS)
    assert PortfolioSettings(strategy="mean_variance", options={"sessions": 30}).needs == Needs(30)


def test_the_window_is_that_of_the_strategy_and_of_the_costs():
    """Returns of 30 sessions need 31 closes; costs of 20 know 20 returns before the session."""
    optimiser = {"strategy": "mean_variance", "options": {"sessions": 30}}
    assert PortfolioSettings().window_sessions == 0
    assert PortfolioSettings(**optimiser).window_sessions == 31
    assert PortfolioSettings(impact={}).window_sessions == 22
    assert PortfolioSettings(impact={"sessions": 40}, **optimiser).window_sessions == 42


def test_sessions_of_a_year_decide_a_book_that_pays_for_borrowing():
    def identity(**more):
        settings = PortfolioSettings(strategy="long_short", periods_per_year=250, **more)
        return settings.book_identity

    assert "periods_per_year" not in identity()
    assert identity(borrow_rate=0.01)["periods_per_year"] == 250
    assert identity(options={"quantile": 0.2}) != identity()


def test_a_column_that_the_market_lacks_is_refused():
    options = {"group": "sector", "group_cap": 0.2}
    section = {"strategy": "score_weighted", "options": options}
    raw = {**TINY, "portfolio": section}
    with pytest.raises(
        ConfigError, match="score_weighted reads the column 'sector', which is none"
    ):
        parse_config(raw)


def test_the_shipped_strategy_has_the_settings():
    rule = PortfolioSettings(topk=7, n_drop=2, hold_thresh=3, risk_degree=0.5).rule()
    assert rule == TopkDropout(7, 2, 3, 0.5)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"strategy": "topk"}, "unknown strategy 'topk': expected topk_dropout, long_short, "),
        ({"options": {"topk": 3}}, "those of topk_dropout are keys of this section"),
        ({"strategy": "fractions:Fraction"}, "has no method `orders`"),
        ({"strategy": "nowhere.at_all:Rule"}, "cannot import nowhere.at_all"),
        ({"strategy": "a.b:C", "topk": 3, "n_drop": 1}, "topk, n_drop: of topk_dropout only"),
        ({"strategy": "a.b:C", "topk": 3}, "topk: of topk_dropout only"),
        ({"trade_unit": 0}, "greater than 0"),
        ({"sizing": "shares"}, "'cash_share' or 'fixed_shares'"),
        ({"strategy": "long_short", "topk": 3}, "topk: of topk_dropout only, and strategy is long"),
        ({"strategy": "long_short", "sizing": "cash_share"}, "sizing: long_short fixes the shares"),
        ({"strategy": "long_short", "options": {"quantil": 0.1}}, "no option 'quantil'; did you"),
        ({"strategy": "long_short", "options": {"quantile": 0.7}}, "quantile=0.7: expected a"),
        ({"strategy": "long_short", "options": {"quantile": "x"}}, "quantile='x': expected a numb"),
        ({"strategy": "long_short", "options": {"gross": True}}, "gross=True: expected a number"),
        ({"strategy": "long_short", "options": {"band": None}}, "band=None: expected a number"),
        ({"strategy": "score_weighted", "options": {"names": 2.5}}, "names=2.5: expected a whole"),
        ({"strategy": "score_weighted", "options": {"names": True}}, "names=True: expected a who"),
        ({"strategy": "mean_variance", "options": {"long_only": "no"}}, "'no': expected true or f"),
        ({"strategy": "mean_variance", "options": {"ic": "x"}}, "ic='x': expected a number"),
        ({"strategy": "score_weighted", "options": {"group": 3}}, "group=3: expected a text"),
        ({"strategy": "long_short", "options": {"gross": 3}}, "gross 3 exceeds max_gross 2.0"),
        ({"strategy": "long_short", "borrow_rate": 5}, "less than or equal to 1"),
        ({"borrow_rate": 0.1}, "borrow_rate: of short positions only, and topk_dropout holds none"),
        ({"strategy": "score_weighted", "max_gross": 3.0}, "max_gross: of short positions only"),
        ({"strategy": "mean_variance", "borrow_rate": 0.1}, "borrow_rate: of short positions only"),
        ({"impact": {"coefficient": -1}}, "greater than or equal to 0"),
    ],
)
def test_a_wrong_section_is_refused(section, said):
    with pytest.raises(ValidationError, match=said):
        PortfolioSettings(**section)
