"""qlib's two feature sets, with the options that its loaders take.

Where qlib silently ignores a name that it does not know, or repeats a column, this is an error.
The formulas and their order are those of `layout`.

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
    """Alpha158 with qlib's options; by default the 158 features of qlib's handler.

    A group is left out by None or False, and is what the handler has by True. A mapping holds
    qlib's options, those left out being the loader's defaults (for prices not the handler's).

    Args:
        kbar: the nine shapes of the bar.
        price: {"windows": lags in sessions, by default 0 to 4; "feature": of OPEN, HIGH, LOW,
            CLOSE and VWAP, by default all}: OPEN0, OPEN1, ..., field by field.
        volume: {"windows": lags in sessions, by default 0 to 4}: VOLUME0, VOLUME1, ...
        rolling: {"windows": by default 5, 10, 20, 30, 60; "include": the families to have, by
            default all; "exclude": those not to have}. Families are in qlib's order whatever
            that of the lists, and named as qlib's switches: MIN5 and its like belong to LOW.

    Returns:
        The set, in qlib's order: kbar, price, volume, rolling.

    Raises:
        ValueError: on an unknown option or name (qlib ignores both), something listed twice, a
            negative lag, a window below 1, or nothing left.
    """
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
        wanted = _switches("rolling.include", options.get("include"), tuple(layout.SWITCHES))
        unwanted = _switches("rolling.exclude", options.get("exclude"), ())
        families = [
            family
            for switch, family in layout.SWITCHES.items()
            if switch in wanted and switch not in unwanted
        ]
        features |= layout.rolling_features(families, windows)
    return FeatureSet(features, name="Alpha158")


@lru_cache(maxsize=1)
def alpha360_set() -> FeatureSet:
    """The 360 features of qlib's handler Alpha360: prices and volumes of the last 60 sessions."""
    return FeatureSet(layout.ALPHA360_EXPRESSIONS, name="Alpha360")


def _options(group: str, given: Any, known: Sequence[str]) -> Mapping[str, Any] | None:
    """The options of a group, None where it is off."""
    if given is None or given is False:
        return None
    if given is True:
        return {}
    if not isinstance(given, Mapping):
        raise ValueError(f"{group} is {given!r}, expected true, false or a mapping of options")
    for key in given:
        if key not in known:
            options = f"known: {', '.join(known)}" if known else "it has none"
            raise ValueError(f"{group} has no option {key!r}{near_matches(key, known)}; {options}")
    return given


def _listed(place: str, given: Any) -> list[Any]:
    """A list without anything twice; a bare text is refused, which qlib searches for letters."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ValueError(f"{place} is {given!r}, expected a list")
    values = list(given)
    twice = [value for n, value in enumerate(values) if value in values[:n]]
    if twice:
        raise ValueError(f"{place} lists {twice[0]!r} twice: every column needs its own name")
    return values


def _check_names(place: str, names: Iterable[Any], known: Collection[str]) -> None:
    """Refuse a name that qlib would ignore."""
    for name in names:
        if name not in known:
            hint = near_matches(name, known) or f"; known: {', '.join(known)}"
            raise ValueError(f"{place} has no {name!r}{hint}")


def _prices(place: str, given: Any) -> list[str]:
    """Names of price fields, which qlib takes in any case."""
    names = [name.upper() if isinstance(name, str) else name for name in _listed(place, given)]
    _check_names(place, names, layout.PRICES)
    return _listed(place, names)


def _switches(place: str, given: Any, default: Sequence[str]) -> Sequence[str]:
    """Names of families as qlib's switches."""
    if given is None:
        return default
    names = _listed(place, given)
    if "MIN" in names:
        raise ValueError(f"{place} has no 'MIN': qlib's switch of MIN5, MIN10, ... is 'LOW'")
    _check_names(place, names, layout.SWITCHES)
    return names


def _sessions(place: str, given: Any, *, least: int) -> list[int]:
    """Lags or windows: whole numbers of sessions."""
    values = _listed(place, given)
    for value in values:
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if not whole or value < least:
            why = "; a negative lag would look ahead" * (whole and least == 0)
            raise ValueError(
                f"{place} holds {value!r}, expected whole numbers of sessions from {least} on{why}"
            )
    return [int(value) for value in values]
