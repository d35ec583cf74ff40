"""Bars of A-shares from baostock, as traded, with the previous close that the exchange restates.

`adj_ratio` is the previous close ÷ `preclose`, so no table of dividends is needed and no history is
ever restated. Suspended sessions come as rows with `tradestatus` 0 and are left out.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from pipelines.calendar.sessions import Sessions
from pipelines.config.sources import BaostockSource
from pipelines.errors import MissingPackageError, SourceError
from pipelines.sources.base import RAW_COLUMNS
from pipelines.sources.columns import code_of
from pipelines.sources.corporate_actions import preclose_ratios
from pipelines.sources.downloads import DownloadedBars, downloaded_bars
from pipelines.sources.network import VendorBusyError

FIELDS = (
    "date",
    "code",
    "open",
    "high",
    "low",
    "close",
    "preclose",
    "volume",
    "amount",
    "tradestatus",
)
TOLERANCE = 1e-6
"""Prices are published to the tick: two equal ones are equal, this is for the division."""
NOT_LOGGED_IN, NETWORK = "10001001", "10002"  # the latter begins the codes of network errors


def baostock_bars(settings: BaostockSource, sessions: Sessions, folder: Path) -> DownloadedBars:
    """The source of the configured symbols; its answers are kept in `folder`."""
    history = BaostockClient()

    def get(symbol: str, first: str) -> pd.DataFrame:
        return traded_bars(symbol, history(vendor_code(symbol), first))

    return downloaded_bars("baostock", settings, get, folder, sessions.timezone)


class BaostockClient:
    """Ask baostock for the daily bars of a code from a day on; no other place knows its client."""

    def __init__(self) -> None:
        self._ready = False

    def __call__(self, code: str, first: str) -> pd.DataFrame:
        """Return the columns `FIELDS` as text.

        Raises:
            MissingPackageError: baostock is not installed.
            SourceError: it refuses the code.
            VendorBusyError: the network or the session with it failed.
        """
        try:
            import baostock
        except ImportError as error:
            raise MissingPackageError("baostock", "that package", "baostock", error) from error
        if not self._ready:
            _require_success(baostock.login(), "login")
            self._ready = True
        answer = baostock.query_history_k_data_plus(
            code, ",".join(FIELDS), start_date=first, frequency="d", adjustflag="3"
        )
        if answer.error_code == NOT_LOGGED_IN:
            self._ready = False
        _require_success(answer, code)
        rows = []
        while answer.next():
            rows.append(answer.get_row_data())
        _require_success(answer, code)  # a page that failed ends the rows as well
        return pd.DataFrame(rows, columns=list(answer.fields))


def _require_success(answer: object, what: str) -> None:
    code, message = getattr(answer, "error_code", ""), getattr(answer, "error_msg", "")
    if code == "0":
        return
    text = f"{what}: error {code}: {message}"
    if code == NOT_LOGGED_IN or str(code).startswith(NETWORK):
        raise VendorBusyError(text)
    raise SourceError(text)


def traded_bars(symbol: str, history: pd.DataFrame) -> pd.DataFrame:
    """Bars as traded from baostock's rows.

    Args:
        symbol: the instrument, in any writing; SH600000 in the result.
        history: the columns `FIELDS`, as text.
    """
    if history.empty:
        return pd.DataFrame(columns=list(RAW_COLUMNS))
    rows = history[history["tradestatus"] == "1"].sort_values("date", ignore_index=True)
    numbers = ["open", "high", "low", "close", "preclose", "volume", "amount"]
    out = rows[numbers].apply(pd.to_numeric, errors="coerce").astype("float64")
    out.insert(0, "date", rows["date"])
    out.insert(1, "instrument", code_of(symbol, "qlib"))
    if len(out):
        preclose = out["preclose"].to_numpy()
        out["adj_ratio"] = preclose_ratios(out, preclose, tolerance=TOLERANCE)
    else:
        out["adj_ratio"] = np.empty(0)
    bars: pd.DataFrame = out[list(RAW_COLUMNS)]
    return bars


def vendor_code(symbol: str) -> str:
    """sh.600000 for SH600000, 600000.SH or sh.600000."""
    code = code_of(symbol, "qlib")
    return f"{code[:2].lower()}.{code[2:]}"
