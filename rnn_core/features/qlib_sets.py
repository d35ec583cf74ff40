"""qlib's two feature sets, with the options of its loaders.

An unknown name, which qlib silently ignores, and a repeated column are errors. The formulas and
their order are those of `layout`.

qlib: contrib/data/loader.py, Alpha158DL.get_feature_config and Alpha360DL.get_feature_config.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import numpy as np

from rnn_core.features import layout
from rnn_core.features.sets import FeatureSet
from rnn_core.suggestions import near_matches

Group = Mapping[str, Any] | bool | None
_HANDLER_PRICE: Mapping[str, Any] = MappingProxyType(
    {"windows": (0,), "feature": layout.ALPHA158_PRICES}
)


def alpha158_set(
    *,
    kbar: Group = True,
    price: Group = True,
    volume: Group = None,
    rolling: Group = True,
) -> FeatureSet:
    """Build Alpha158 with qlib's options; by default the 158 features of qlib's handler.

    None or False leave a group out; True gives the handler's group. A mapping holds qlib's options;
    a missing option has the loader's default (which for prices is not the handler's).

    Args:
        kbar: the nine shapes of the bar.
        price: {"windows": lags in sessions, by default 0 to 4; "feature": of OPEN, HIGH, LOW,
            CLOSE and VWAP, by default all}: OPEN0, OPEN1, ..., field by field.
        volume: {"windows": lags in sessions, by default 0 to 4}: VOLUME0, VOLUME1, ...
        rolling: {"windows": by default 5, 10, 20, 30, 60; "include": the families to keep, by
            default all; "exclude": the families to drop}. The order of the families is qlib's,
            whatever the order of the lists, and their names are qlib's switches: LOW for MIN5, ...

    Returns:
        The set, in qlib's order: kbar, price, volume, rolling.

    Raises:
        ValueError: on an unknown option or name (qlib ignores both), a repeated entry, a negative
            lag, a window below 1, or an empty set.

    Examples:
        >>> rolling = {"windows": [5], "include": ["ROC"]}
        >>> dict(alpha158_set(kbar=None, price=None, rolling=rolling).items())
        {'ROC5': 'Ref($close, 5)/$close'}
    """
    # The groups in qlib's order: bar shapes, prices, volumes, rolling features.
    features: dict[str, str] = {}
    if _options("kbar", kbar, ()) is not None:
        features |= layout.KBAR
    price = _HANDLER_PRICE if price is True else price
    if (options := _options("price", price, ("windows", "feature"))) is not None:
        fields = _prices("price.feature", options.get("feature", layout.PRICES))
        lags = _sessions("price.windows", options.get("windows", layout.LAGS), least=0)
        features |= layout.price_features(fields, lags)
    if (options := _options("volume", volume, ("windows",))) is not None:
        lags = _sessions("volume.windows", options.get("windows", layout.LAGS), least=0)
        features |= layout.volume_features(lags)
    if (options := _options("rolling", rolling, ("windows", "include", "exclude"))) is not None:
        windows = _sessions("rolling.windows", options.get("windows", layout.WINDOWS), least=1)
        include = _switches("rolling.include", options.get("include"), tuple(layout.SWITCHES))
        exclude = _switches("rolling.exclude", options.get("exclude"), ())
        families = [
            family
            for switch, family in layout.SWITCHES.items()
            if switch in include and switch not in exclude
        ]
        features |= layout.rolling_features(families, windows)
    return FeatureSet(features, name="Alpha158")


@lru_cache(maxsize=1)
def alpha360_set() -> FeatureSet:
    """Build the 360 features of qlib's handler Alpha360: prices and volumes of 60 sessions.

    Examples:
        >>> len(alpha360_set())
        360
    """
    return FeatureSet(layout.ALPHA360_EXPRESSIONS, name="Alpha360")


def _options(group: str, value: Any, known: Sequence[str]) -> Mapping[str, Any] | None:
    """Return the options of a group; None if the group is off."""
    if value is None or value is False:
        return None
    if value is True:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{group} is {value!r}, expected true, false or a mapping of options")
    for key in value:
        if key not in known:
            options = f"known: {', '.join(known)}" if known else "it has none"
            raise ValueError(f"{group} has no option {key!r}{near_matches(key, known)}; {options}")
    return value


def _listed(place: str, entries: Any) -> list[Any]:
    """Check a list for repeats; a bare text is an error, which qlib searches for letters."""
    if isinstance(entries, str) or not isinstance(entries, Iterable):
        raise ValueError(f"{place} is {entries!r}, expected a list")
    values = list(entries)
    repeats = [value for n, value in enumerate(values) if value in values[:n]]
    if repeats:
        raise ValueError(f"{place} lists {repeats[0]!r} twice: every column needs its own name")
    return values


def _check_names(place: str, names: Iterable[Any], known: Collection[str]) -> None:
    """Refuse a name that qlib would ignore."""
    for name in names:
        if name not in known:
            hint = near_matches(name, known) or f"; known: {', '.join(known)}"
            raise ValueError(f"{place} has no {name!r}{hint}")


def _prices(place: str, entries: Any) -> list[str]:
    """Check names of price fields, which qlib takes in any case."""
    names = [name.upper() if isinstance(name, str) else name for name in _listed(place, entries)]
    _check_names(place, names, layout.PRICES)
    return _listed(place, names)


def _switches(place: str, entries: Any, default: Sequence[str]) -> Sequence[str]:
    """Check names of families, as qlib's switches."""
    if entries is None:
        return default
    names = _listed(place, entries)
    if "MIN" in names:
        raise ValueError(f"{place} has no 'MIN': qlib's switch of MIN5, MIN10, ... is 'LOW'")
    _check_names(place, names, layout.SWITCHES)
    return names


def _sessions(place: str, entries: Any, *, least: int) -> list[int]:
    """Check lags or windows: whole numbers of sessions."""
    values = _listed(place, entries)
    for value in values:
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or value < least:
            hint = "; a negative lag would look ahead" * (whole and least == 0)
            raise ValueError(
                f"{place} holds {value!r}, expected whole numbers of sessions from {least} on{hint}"
            )
    return [int(value) for value in values]
