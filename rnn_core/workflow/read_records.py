"""The section `task.record`: the analyses of the scores, checked.

The defaults of strategy, exchange and account are qlib's, including those that depend on the
region. Anything that the backtest does not have (other strategies, nested executors, price impact)
is a problem, never left out silently.

Rules matched: qlib workflow/record_temp.py, backtest/exchange.py `Exchange`,
contrib/strategy/signal_strategy.py `TopkDropoutStrategy`, config.py `_default_region_config`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, get_args

from rnn_core.evaluation import PortfolioConfig
from rnn_core.evaluation.portfolio_config import TRADE_UNITS, DealPrice
from rnn_core.panel.frames import Semantics
from rnn_core.workflow.problems import Keys, Problems, Section, read_date, shown, told
from rnn_core.workflow.spec import PortfolioSpec, Region, SignalSpec

RECORDS = ("SignalRecord", "SigAnaRecord", "PortAnaRecord")
RECORD_MODULES = ("qlib.workflow.record_temp",)
STRATEGY_MODULES = ("qlib.contrib.strategy", "qlib.contrib.strategy.signal_strategy")
EXECUTOR_MODULES = ("qlib.backtest.executor",)

LIMITS: Mapping[Region, float | None] = {"cn": 0.095, "us": None}
"""Default price limit by region, a simple return."""

REGIONS: tuple[Region, ...] = ("cn", "us")
"""The supported regions; each names its lot in `TRADE_UNITS`."""

BENCHMARK = "SH000300"
"""qlib's benchmark, for a backtest that names none."""

ACCOUNT = 1e9
OPEN_COST, CLOSE_COST = 0.0015, 0.0025
"""qlib's values, for a backtest that names none; its default configuration has others."""

_DEFAULT_CONFIG: Mapping[str, Any] = {
    "strategy": {"class": "TopkDropoutStrategy", "kwargs": {"topk": 50, "n_drop": 5}},
    "backtest": {
        "start_time": None,
        "end_time": None,
        "account": 100000000,
        "benchmark": BENCHMARK,
        "exchange_kwargs": {
            "limit_threshold": 0.095,
            "deal_price": "close",
            "open_cost": 0.0005,
            "close_cost": 0.0015,
            "min_cost": 5,
        },
    },
}


@dataclasses.dataclass(frozen=True)
class Records:
    """The requested analyses, None for one that is not requested."""

    signal: SignalSpec | None = None
    portfolio: PortfolioSpec | None = None


def read_records(
    given: Any, path: Keys, problems: Problems, region: Region, semantics: Semantics
) -> Records:
    """Read the section.

    Args:
        given: one record or a list of them; None for none.
        path: of the section.
        problems: collects the problems of the section.
        region: "cn" or "us".
        semantics: "qlib" or "strict", of the portfolio.

    Returns:
        The analyses, valid only if no problem was noted.
    """
    records = [given] if isinstance(given, Mapping) else given or []
    if not isinstance(records, list):
        problems.add(path, f"is {shown(records)}, expected a list of records")
        return Records()
    # Each record is read by itself; its place in the file is the path of its problems.
    analyses, classes = Records(), set()
    for k, record in enumerate(records):
        record_path: Keys = path if isinstance(given, Mapping) else (*path, k)
        section = Section(record, record_path, problems)
        name = section.choice("class", RECORDS)
        section.choice("module_path", RECORD_MODULES, None)
        kwargs = section.optional("kwargs")
        section.close()
        classes.add(name)
        if name is None:
            kwargs.rest()
            continue
        _placeholders(kwargs)
        kwargs.ignore("recorder", "skip_existing")
        if name == "SigAnaRecord":
            analyses = dataclasses.replace(analyses, signal=_signal(kwargs))
        elif name == "PortAnaRecord":
            portfolio = _portfolio(kwargs, region, semantics)
            analyses = dataclasses.replace(analyses, portfolio=portfolio)
        kwargs.close()
    # In qlib the analyses read the scores that SignalRecord stores.
    if classes & {"SigAnaRecord", "PortAnaRecord"} and "SignalRecord" not in classes:
        problems.add(path, "has an analysis without SignalRecord, which makes its scores: add one")
    return analyses


def _placeholders(kwargs: Section) -> None:
    """Accept only `model: <MODEL>` and `dataset: <DATASET>`."""
    for key in ("model", "dataset"):
        kwargs.choice(key, (f"<{key.upper()}>", None), None)


def _signal(kwargs: Section) -> SignalSpec:
    long_short = kwargs.choice("ana_long_short", (True, False), False)
    kwargs.choice("label_col", (0,), 0)
    return SignalSpec(bool(long_short), kwargs.number("ann_scaler", 252, least=1))


def _portfolio(kwargs: Section, region: Region, semantics: Semantics) -> PortfolioSpec | None:
    """Read the backtest of a PortAnaRecord."""
    for key in ("risk_analysis_freq", "indicator_analysis_freq"):
        if kwargs.get(key) not in (None, "day", "1day", ["day"], ["1day"]):
            kwargs.problem(key, f"{shown(kwargs.get(key))} is not supported, expected day")
    kwargs.ignore("indicator_analysis_method")
    if "config" in kwargs:
        config = kwargs.section("config", "a mapping with strategy and backtest")
    else:
        config = Section(_DEFAULT_CONFIG, (*kwargs.path, "config"), kwargs.problems)
        kwargs.ignore("config")
    settings = _strategy(config.section("strategy", "a mapping with class and kwargs"))
    _executor(config)
    backtest = config.section("backtest", "a mapping with start_time, end_time and account")
    config.close()
    dates = [read_date(backtest, key) for key in ("start_time", "end_time")]
    settings["account"] = backtest.number("account", ACCOUNT)
    backtest.choice("pos_type", ("Position",), "Position")
    benchmark = backtest.get("benchmark", BENCHMARK)
    codes = [benchmark] if isinstance(benchmark, str) else benchmark or []
    if not isinstance(codes, list) or not all(isinstance(code, str) for code in codes):
        backtest.problem("benchmark", f"is {shown(benchmark)}, expected a code or a list of codes")
        codes = []
    settings |= _exchange(backtest.optional("exchange_kwargs"), region)
    backtest.close()
    try:
        portfolio_config = PortfolioConfig(**settings, semantics=semantics)
    except (ValueError, TypeError) as error:
        config.problems.add(config.path, told(error))
        return None
    key = ".".join(map(str, backtest.path))
    is_named = "config" in kwargs and "benchmark" in backtest
    return PortfolioSpec(portfolio_config, dates[0], dates[1], tuple(codes), key, is_named)


def _strategy(given: Section) -> dict[str, Any]:
    """Read the settings of TopkDropoutStrategy."""
    given.choice("class", ("TopkDropoutStrategy",))
    given.choice("module_path", STRATEGY_MODULES, None)
    kwargs = given.section("kwargs", "a mapping with signal, topk and n_drop")
    given.close()
    _placeholders(kwargs)
    signal = kwargs.get("signal", "<PRED>")
    if signal not in ("<PRED>", ["<MODEL>", "<DATASET>"]):
        kwargs.problem("signal", f"{shown(signal)} is not supported, expected <PRED>")
    kwargs.choice("method_sell", ("bottom",), "bottom")
    kwargs.choice("method_buy", ("top",), "top")
    for key in ("topk", "n_drop"):
        kwargs.need(key, "a number of names")
    settings = {
        "topk": kwargs.number("topk", 50, whole=True),
        "n_drop": kwargs.number("n_drop", 5, whole=True),
        "hold_thresh": kwargs.number("hold_thresh", 1, whole=True),
        "risk_degree": kwargs.number("risk_degree", 0.95),
        "only_tradable": kwargs.choice("only_tradable", (True, False), False),
        "forbid_all_trade_at_limit": kwargs.choice(
            "forbid_all_trade_at_limit", (True, False), True
        ),
    }
    kwargs.close()
    return settings


def _executor(config: Section) -> None:
    """Accept only the plain daily executor."""
    executor = config.optional("executor")
    if "class" not in executor:
        executor.close()
        return
    executor.choice("class", ("SimulatorExecutor",))
    executor.choice("module_path", EXECUTOR_MODULES, None)
    kwargs = executor.optional("kwargs")
    executor.close()
    kwargs.choice("time_per_step", ("day", "1day"), "day")
    kwargs.choice("generate_portfolio_metrics", (True,), True)
    kwargs.choice("trade_type", ("serial",), "serial")
    kwargs.ignore("verbose", "track_data", "indicator_config")
    kwargs.close()


def _exchange(given: Section, region: Region) -> dict[str, Any]:
    """Read the settings of the exchange; the region gives the defaults."""
    limit = given.get("limit_threshold")
    if limit is None:
        limit = LIMITS[region]
    elif isinstance(limit, bool) or not isinstance(limit, float):
        given.problem(
            "limit_threshold",
            f"{shown(limit)} is not supported, expected a simple return such as 0.095",
        )
        limit = None
    # qlib writes a price as a field, "$close".
    deal_price = given.get("deal_price") or "close"
    price = deal_price.removeprefix("$") if isinstance(deal_price, str) else None
    if price not in get_args(DealPrice):
        given.problem(
            "deal_price",
            f"{shown(deal_price)} is not supported, expected {', '.join(get_args(DealPrice))}",
        )
        price = "close"
    given.choice("freq", ("day",), "day")
    given.choice("codes", ("all",), "all")
    unit: Any = TRADE_UNITS[region]
    if "trade_unit" in given and given.get("trade_unit") is None:
        unit = None  # qlib: an absent key is the region's lot, null is fractions of shares
    else:
        unit = given.number("trade_unit", unit, least=1, whole=True)
    if given.get("impact_cost"):
        given.problem("impact_cost", "is not supported, leave it out")
    # The backtest has no price impact, no volume limits and no other exchange.
    for key in ("volume_threshold", "subscribe_fields", "extra_quote", "exchange"):
        if given.get(key):
            given.problem(key, "is not supported, leave it out")
    settings = {
        "limit_threshold": limit,
        "deal_price": price,
        "trade_unit": unit,
        "open_cost": given.number("open_cost", OPEN_COST),
        "close_cost": given.number("close_cost", CLOSE_COST),
        "min_cost": given.number("min_cost", 5.0),
    }
    given.close()
    return settings
