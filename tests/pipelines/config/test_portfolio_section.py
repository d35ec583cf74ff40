"""The section `portfolio`. Oracle: the hash that earlier releases recorded, and the messages."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from pipelines.config.portfolio_section import PortfolioSettings
from pipelines.warehouse.partition_file import fingerprint
from rnn_core.evaluation import TopkDropout

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


def test_the_shipped_strategy_has_the_settings():
    rule = PortfolioSettings(topk=7, n_drop=2, hold_thresh=3, risk_degree=0.5).rule()
    assert rule == TopkDropout(7, 2, 3, 0.5)


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"strategy": "topk"}, "unknown strategy 'topk': expected topk_dropout"),
        ({"options": {"topk": 3}}, "those of topk_dropout are keys of this section"),
        ({"strategy": "fractions:Fraction"}, "has no method `orders`"),
        ({"strategy": "nowhere.at_all:Rule"}, "cannot import nowhere.at_all"),
        ({"strategy": "a.b:C", "topk": 3, "n_drop": 1}, "topk, n_drop: of topk_dropout only"),
        ({"strategy": "a.b:C", "topk": 3}, "topk: of topk_dropout only"),
        ({"trade_unit": 0}, "greater than 0"),
        ({"sizing": "shares"}, "'cash_share' or 'fixed_shares'"),
    ],
)
def test_a_wrong_section_is_refused(section, said):
    with pytest.raises(ValidationError, match=said):
        PortfolioSettings(**section)
