"""What a market asks of its feature set, beyond that it can be read.

A feature must be known at the close of its session, read what adjusted bars have, and be a column
that SQL can tell from the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.errors import did_you_mean

if TYPE_CHECKING:
    from pipelines.market.market import Market
    from rnn_core.features import FeatureSet

KEYS = ("date", "instrument", "member")  # the columns beside the features


def checked_set(given: Any) -> FeatureSet:
    """The feature set that the YAML describes.

    Args:
        given: `alpha158`, `alpha360`, the path of a YAML file, a mapping as such a file holds, or
            a set.

    Raises:
        ValueError: it cannot be read, looks ahead, reads a field that bars do not have, or has a
            name that SQL cannot tell from another.
    """
    from rnn_core.features import FeatureSet, load_feature_set

    if isinstance(given, FeatureSet):
        features = given
    elif isinstance(given, str | Path | dict):
        try:
            features = load_feature_set(given)
        except OSError as error:
            raise ValueError(f"cannot read {given}: {error.strerror}") from error
    else:
        raise ValueError(
            f"expected alpha158, alpha360, the path of a .yaml file or a mapping, got {given!r}"
        )
    for name, node in zip(features, features.nodes, strict=True):
        if node.look_ahead:
            raise ValueError(
                f"{name} = {features[name]} reads {node.look_ahead} sessions ahead, which nobody "
                f"knows at its session's close: write Ref with a positive number of sessions; "
                f"what is to be predicted belongs into features.label"
            )
    require_fields(features.fields)
    seen: dict[str, str] = {name: name for name in KEYS}
    for name in features:
        other = seen.setdefault(name.lower(), name)
        if other != name or name in KEYS:
            what = "a column of every table" if other in KEYS else "another feature"
            raise ValueError(
                f"{name} cannot be told from {other}, {what}, in SQL, where case does not count: "
                f"rename it"
            )
    return features


def require_fields(fields: Iterable[str]) -> None:
    """Refuse fields that adjusted bars do not have.

    Raises:
        ValueError: naming the first, with the nearest one that there is.
    """
    from rnn_core.features import ALPHA158_FIELDS

    for name in sorted(set(fields) - set(ALPHA158_FIELDS)):
        raise ValueError(
            f"no field ${name} in adjusted bars; {did_you_mean(name, ALPHA158_FIELDS)}"
        )


def identity(features: FeatureSet) -> object:
    """What tells a set from others in provenance: the formulas, or the name of one of qlib's."""
    from rnn_core.features import ALPHA158_EXPRESSIONS, ALPHA360_EXPRESSIONS

    pairs = list(features.items())
    for name, known in (("alpha158", ALPHA158_EXPRESSIONS), ("alpha360", ALPHA360_EXPRESSIONS)):
        if pairs == list(known.items()):
            return name
    return pairs


def describe_features(market: Market) -> str:
    """What the asset `alpha158` of a market holds, for the UI."""
    from rnn_core.features.operators import UNBOUNDED

    features = market.feature_set
    name = identity(market.config.features.set)
    what = f"the set {name}" if isinstance(name, str) else "the configured set"
    back = features.look_back
    before = "all" if back >= UNBOUNDED else f"up to {back}"
    return (
        f"The {len(features)} features of {what} for every bar, {market.config.features.semantics} "
        f"semantics, from adjusted bars of this session and {before} before it. The asset keeps "
        f"this name whatever the set. The column descriptions give each formula."
    )
