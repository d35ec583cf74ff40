"""The portfolio's tables on a report page: risk, drawdowns, years and months, newest holdings."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from rnn_core.evaluation.account_figures import performance, returns_by_period, worst_drawdowns
from rnn_core.evaluation.plots_many import is_many
from rnn_core.evaluation.portfolio import PortfolioResult
from rnn_core.evaluation.portfolio_figures import YEAR_SESSIONS
from rnn_core.evaluation.report_html import Format, fixed, folded, remarks, table

_RATIO, _COUNT = fixed(2), fixed(0, sign=False)
_PERCENT, _SHARE = fixed(1, scale=100, unit="%"), fixed(1, scale=100, unit="%", sign=False)
_FIGURES: tuple[tuple[str, str, Format], ...] = (
    ("growth\na year", "growth", _PERCENT),
    ("volatility\na year", "volatility", _SHARE),
    ("Sharpe", "sharpe", _RATIO),
    ("Sortino", "sortino", _RATIO),
    ("Calmar", "calmar", _RATIO),
    ("beta to\nbenchmark", "beta", _RATIO),
    ("deepest\ndrawdown", "max_drawdown", _PERCENT),
    ("sessions\nthat gained", "hit_rate", fixed(0, scale=100, unit="%", sign=False)),
)
_HOLDINGS = 50  # names in the table of holdings at most: a page is read, a file is searched


def portfolio_tables(
    portfolios: Mapping[str, PortfolioResult],
    *,
    periods_per_year: float | str,
    colors: Mapping[str, str],
) -> str:
    """Write the tables below the pictures of the portfolios.

    Args:
        portfolios: by model, of a backtest.
        periods_per_year: to annualise.
        colors: by model.

    Returns:
        HTML text.
    """
    figures = {
        name: performance(result, periods_per_year=periods_per_year)
        for name, result in portfolios.items()
    }
    # A figure of a year needs sessions enough, as those of the headline do.
    rows = [
        [name, *(w(float(one[key])) for _, key, w in _FIGURES)]
        for name, one in figures.items()
        if one["sessions"] >= YEAR_SESSIONS
    ]
    body = ""
    if rows:
        body += table(
            ["portfolio", *(text for text, _, _ in _FIGURES)], rows, colors=colors,
            caption="The account itself after costs, compounded, not in excess of a benchmark",
        )  # fmt: skip
    each = "".join(
        folded(f"{name}: newest holdings, drawdowns, years and months", _of_one(result))
        for name, result in portfolios.items()
    )
    return body + (folded("Each portfolio", each) if is_many(portfolios) else each)


def _of_one(result: PortfolioResult) -> str:
    """Write the newest holdings, the drawdowns and periods of one portfolio."""
    falls = worst_drawdowns(result)
    rows = [
        [
            _day(r["high"], "the start"), _day(r["low"], ""), _day(r["recovered"], "not yet"),
            _PERCENT(float(r["depth"])), _COUNT(float(r["sessions"])),
        ]
        for _, r in falls.iterrows()
    ]  # fmt: skip
    out = holdings_table(result)
    if rows:
        header = ["from the high of", "low", "recovered", "depth", "sessions"]
        out += table(header, rows, caption="Deepest drawdowns of the account after costs")
    header = ["", "sessions", "return", "benchmark", "excess", "costs", "turnover\na session"]
    for caption, pattern in (("By year", "%Y"), ("By month", "%Y-%m")):
        periods = returns_by_period(result, pattern)
        rows = [
            [
                str(name), _COUNT(float(r["sessions"])), _PERCENT(float(r["return"])),
                _PERCENT(float(r["bench"])), _PERCENT(float(r["excess"])),
                fixed(2, scale=100, unit="%", sign=False)(float(r["cost"])),
                _SHARE(float(r["turnover"])),
            ]
            for name, r in periods.iterrows()
        ]  # fmt: skip
        out += table(header, rows, caption=f"{caption}, after costs, compounded")
    return out


def holdings_table(result: PortfolioResult) -> str:
    """Write the positions at the newest close with the trades that led to them.

    Args:
        result: of a backtest.

    Returns:
        HTML text: names by weight, short ones last, with the trade since the session before; of a
        book with short positions also its exposure, long, short, gross and net.
    """
    days = result.daily.index
    positions = result.positions.set_index("instrument")
    now = positions[positions["datetime"] == days[-1]]
    before = (
        positions[positions["datetime"] == days[-2]] if len(days) > 1 else positions.iloc[:0]
    )["amount"].to_dict()
    order = now["weight"].abs().sort_values(ascending=False, kind="stable").index
    shown = now.loc[order[:_HOLDINGS]].sort_values("weight", ascending=False, kind="stable")
    rows = [
        [str(name), _SHARE(float(r["weight"])), _trade(before.get(name, 0.0), float(r["amount"])),
         "no bar, last price" if r["suspended"] else ""]
        for name, r in shown.iterrows()
    ]  # fmt: skip
    cash = float(result.daily["cash"].iloc[-1] / result.daily["account"].iloc[-1])
    rows.append(["cash", _SHARE(cash), "", ""])
    notes = _exposure(result)
    gone = {name: amount for name, amount in before.items() if name not in now.index}
    for word, names in (
        ("sold", [str(name) for name, amount in gone.items() if amount > 0]),
        ("covered", [str(name) for name, amount in gone.items() if amount < 0]),
    ):
        if names:
            more = f" and {len(names) - _HOLDINGS} more" if len(names) > _HOLDINGS else ""
            notes.append(f"{word} on the session: {', '.join(names[:_HOLDINGS])}{more}")
    if len(now) > _HOLDINGS:
        notes.append(f"{len(now) - _HOLDINGS} smaller positions are left out")
    caption = f"Positions at the close of {_day(days[-1], '')}"
    return table(["name", "weight", "trade", "remark"], rows, caption=caption) + remarks(notes)


def _trade(before: float, now: float) -> str:
    """Name the trade that led from one amount to another, which is not 0."""
    if before == now:
        return ""
    if before * now > 0:
        return "changed"
    opened = "bought" if now > 0 else "sold short"
    return opened if not before else f"{'covered' if now > 0 else 'sold'}, {opened}"


def _exposure(result: PortfolioResult) -> list[str]:
    """Say how long and how short the account is, at the newest close and on average."""
    weight = result.positions.set_index("datetime")["weight"]
    if not (weight < 0).any():
        return []
    by_day = weight.groupby(level=0)
    sums = pd.DataFrame({"gross": weight.abs().groupby(level=0).sum(), "net": by_day.sum()})
    sums = sums.reindex(result.daily.index, fill_value=0.0)
    newest, mean = sums.iloc[-1], sums.mean()
    longs, shorts = (newest["gross"] + newest["net"]) / 2, (newest["gross"] - newest["net"]) / 2
    return [
        f"of the account: long {_SHARE(longs)}, short {_SHARE(shorts)}, gross "
        f"{_SHARE(newest['gross'])}, net {_PERCENT(newest['net'])}; on average of all sessions "
        f"gross {_SHARE(mean['gross'])}, net {_PERCENT(mean['net'])}; cash holds the proceeds of "
        f"short sales"
    ]


def _day(value: object, otherwise: str) -> str:
    """Write a session, or what stands for a missing one."""
    stamp = pd.Timestamp(value) if value is not pd.NaT else pd.NaT  # type: ignore[arg-type]
    return otherwise if pd.isna(stamp) else f"{stamp:%Y-%m-%d}"
