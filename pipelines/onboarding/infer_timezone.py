"""Find the days that moments have in the time zones in which they may have been stamped.

A bar's moment has a day only in a place. Zones in which every moment has the same day are one
dating: the zone's name does not matter then. A zone in which the moments are midnights is the one
in which they were stamped, if the days that it gives are days of trading.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import available_timezones

import numpy as np
import pandas as pd

from pipelines.sources.session_dates import OFFSET

USUAL_ZONES = ("UTC", "America/New_York", "Europe/London", "Europe/Berlin", "Asia/Shanghai",
               "Asia/Tokyo")  # fmt: skip
"""The zones that come first where several give the same days."""

_MOST = 0.95  # of the moments; the newest one of a feed is often the time of asking
_MINUTE = pd.Timedelta(minutes=1)
_SAMPLE = 20  # moments that rule most zones out


@dataclass(frozen=True, eq=False)
class Dating:
    """The days of the data's rows in some time zones, which agree on all of them.

    Attributes:
        counts: number of rows by day, `YYYY-MM-DD` in order.
        zones: the zones; none for dates that are days already.
        midnights: those of the likely zones in which the moments are midnights, or the last
            minutes of days.
        elsewhere: those of the other zones of the world, where no likely one has midnights.
    """

    counts: pd.Series[int]
    zones: tuple[str, ...] = ()
    midnights: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()

    @property
    def has_midnights(self) -> bool:
        """True if the moments are midnights somewhere."""
        return bool(self.midnights or self.elsewhere)

    def zone(self, *preferred: str | None) -> str:
        """The zone to name: a preferred one or UTC with midnights, else a preferred one.

        Closes of Tokyo are midnights in Phoenix, so midnights elsewhere come last. The UTC of a
        calendar round the clock is no place, and says nothing against midnights of one.
        """
        likely = [zone for zone in (*preferred, "UTC") if zone in self.midnights]
        places = [zone for zone in preferred if zone != "UTC" or not self.midnights]
        likely += [zone for zone in places if zone in self.zones]
        return next(iter((*likely, *self.midnights, *self.elsewhere, *self.zones)))


def datings(moments: pd.Series[int], zones: Iterable[str], *, only: bool = False) -> list[Dating]:
    """The different ways to date moments.

    Args:
        moments: number of rows by moment, `2024-01-31T05:00:00Z`; days among them stay days.
        zones: the zones to try, the likely ones first; where the moments are midnights in none of
            them, the other zones of the world are tried as well.
        only: try no other zones.
    """
    is_day = moments.index.str.len() == len("2024-01-31")
    days = moments[is_day]
    times = pd.DatetimeIndex(pd.to_datetime(moments.index[~is_day], utc=True))
    rows = moments[~is_day].to_numpy()
    if not len(times):
        return [Dating(days)]
    candidates = list(dict.fromkeys(zones))
    midnights = {zone for zone in candidates if _are_midnights(times, zone)}
    others = () if midnights or only else _all_zones()
    elsewhere = [zone for zone in others if _are_midnights(times, zone)]
    by_days: dict[bytes, list[str]] = {}
    keys: dict[bytes, np.ndarray] = {}
    for zone in dict.fromkeys((*candidates, *elsewhere)):
        local = times.tz_convert(zone).tz_localize(None).to_numpy().astype("datetime64[D]")
        by_days.setdefault(local.tobytes(), []).append(zone)
        keys[local.tobytes()] = local
    result = []
    for mark, same in by_days.items():
        counts = pd.Series(rows, index=pd.Index(keys[mark].astype(str), dtype="str"))
        counts = pd.concat([days, counts]).groupby(level=0).sum().sort_index()
        near = tuple(zone for zone in same if zone in midnights)
        far = tuple(zone for zone in same if zone in elsewhere)
        result.append(Dating(counts, tuple(same), near, far))
    return result


def zone_as_written(texts: Sequence[str]) -> str | None:
    """A time zone whose clock shows the local times of texts with an offset; None for UTC's.

    Args:
        texts: moments such as `2024-01-31 00:00:00+01:00`.
    """
    written = pd.Series([re.sub(OFFSET, "", text) for text in texts])
    local = pd.DatetimeIndex(pd.to_datetime(written, format="ISO8601", errors="coerce").dropna())
    moments = pd.to_datetime(pd.Series(list(texts)), format="ISO8601", errors="coerce", utc=True)
    times = pd.DatetimeIndex(moments.dropna())
    if not len(times) or len(times) != len(local):
        return None
    if bool((times.tz_localize(None) == local).all()):
        return None
    zones = (*USUAL_ZONES, *_all_zones())
    return next((z for z in zones if bool((times.tz_convert(z).tz_localize(None) == local).all())),
                None)  # fmt: skip


def _are_midnights(times: pd.DatetimeIndex, zone: str) -> bool:
    if len(times) > 2 * _SAMPLE and not _are_midnights(times[:_SAMPLE], zone):
        return False
    local = times.tz_convert(zone).tz_localize(None)
    after_midnight = local - local.normalize()
    is_first = after_midnight == pd.Timedelta(0)
    is_last = after_midnight >= pd.Timedelta(days=1) - _MINUTE
    return bool(is_first.mean() >= _MOST or is_last.mean() >= _MOST)


@lru_cache(maxsize=1)
def _all_zones() -> tuple[str, ...]:
    """All zones of places, in order of their names."""
    regions = ("Africa", "America", "Asia", "Atlantic", "Australia", "Europe", "Indian", "Pacific")
    return tuple(sorted(z for z in available_timezones() if z.partition("/")[0] in regions))
