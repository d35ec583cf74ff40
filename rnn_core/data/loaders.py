"""`Alpha158DL` and `Alpha360DL`: qlib's tables of expressions, in qlib's form.

qlib's loaders name the expressions and read them from a provider. Here the tables alone are kept;
bars are an argument of the handlers. `fields_set` reads the forms in which qlib's
`get_feature_config` and `get_label_config` may answer:

    ([expression, ...], [name, ...])     expressions and their names
    [expression, ...]                    expressions, which are their own names

Rule matched: qlib contrib/data/loader.py; data/dataset/loader.py `DLWParser._parse_fields_info`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rnn_core.features.qlib_sets import alpha158_set, alpha360_set
from rnn_core.features.sets import FeatureSet
from rnn_core.suggestions import near_matches

Fields = tuple[list[str], list[str]]
FieldsInfo = Sequence[str] | Sequence[Sequence[str]]

GROUPS = ("kbar", "price", "volume", "rolling")


class _Table:
    """A table of expressions, which loads nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        name = type(self).__name__
        raise TypeError(
            f"{name} loads nothing: give bars to a handler, whose get_feature_config may "
            f"return {name}.get_feature_config(...)"
        )


class Alpha158DL(_Table):
    """qlib's table of Alpha158.

    Examples:
        >>> expressions, names = Alpha158DL.get_feature_config()
        >>> len(names), names[0], expressions[0]
        (158, 'KMID', '($close-$open)/$open')
    """

    @staticmethod
    def get_feature_config(config: Mapping[str, Any] | None = None) -> Fields:
        """Return expressions and names.

        Args:
            config: of "kbar", "price", "volume" and "rolling" those to have, each with its options
                (see `rnn_core.features.alpha158_set`); None is the handler's 158.

        Returns:
            (expressions, names), in qlib's order.

        Raises:
            ValueError: an unknown group, option or name (qlib ignores them), or an empty set.
        """
        if config is None:
            return fields_of(alpha158_set())
        for group in config:
            if group not in GROUPS:
                raise ValueError(
                    f"Alpha158 has no group {group!r}, expected some of {', '.join(GROUPS)}"
                    f"{near_matches(group, GROUPS)}"
                )
        groups = {g: {} if config[g] is None else config[g] for g in GROUPS if g in config}
        return fields_of(alpha158_set(**{"kbar": None, "price": None, "rolling": None, **groups}))


class Alpha360DL(_Table):
    """qlib's table of Alpha360.

    Examples:
        >>> expressions, names = Alpha360DL.get_feature_config()
        >>> len(names), names[0], expressions[0]
        (360, 'CLOSE59', 'Ref($close, 59)/$close')
    """

    @staticmethod
    def get_feature_config() -> Fields:
        """Return the 360 expressions and names, in qlib's order."""
        return fields_of(alpha360_set())


def fields_of(features: FeatureSet) -> Fields:
    """Return a set as qlib's pair (expressions, names); CORD is spelled as in qlib's loader."""
    texts = [
        text.replace("Ref($close, 1), Log", "Ref($close,1), Log") for text in features.values()
    ]
    return texts, list(features)


def fields_set(info: FieldsInfo, name: str) -> FeatureSet:
    """Build a feature set from an answer of qlib's `get_feature_config`.

    Args:
        info: (expressions, names), or a list of expressions that are their own names.
        name: of the set, for messages.

    Returns:
        The set.

    Raises:
        ValueError: `info` has another form, or holds what is no expression.
    """
    if isinstance(info, (list, tuple)) and len(info) == 2:
        expressions, names = info
        if isinstance(expressions, (list, tuple)) and isinstance(names, (list, tuple)):
            if len(expressions) != len(names):
                raise ValueError(
                    f"{name} has {len(expressions)} expressions and {len(names)} names: give "
                    f"each expression one name"
                )
            return FeatureSet(list(zip(names, expressions, strict=True)), name=name)
    if not isinstance(info, (list, tuple)) or not all(isinstance(text, str) for text in info):
        raise ValueError(
            f"{name} is {info!r:.80}, expected a pair of lists (expressions, names) or a list of "
            f"expressions"
        )
    return FeatureSet([(text, text) for text in info], name=name)
