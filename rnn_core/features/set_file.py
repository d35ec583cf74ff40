"""Feature sets as people write them: a name, a YAML file, or the mapping in such a file.

    set: alpha158                     # or alpha360; kbar, price, volume and rolling are its options
    rolling: {windows: [5, 10]}
    features:                         # own features, after those of the set
      GAP: "$open/Ref($close, 1)-1"
      MOM: my_research.features:Momentum   # a function (`own_features.FeatureFunction`)

Every mistake is an error that names its place: the file, the name and the character.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from rnn_core.features.qlib_sets import alpha158_set, alpha360_set
from rnn_core.features.sets import FeatureSet
from rnn_core.suggestions import near_matches
from rnn_core.text_encoding import read_text
from rnn_core.yaml_text import load_yaml

SETS = ("alpha158", "alpha360")
OPTIONS = ("kbar", "price", "volume", "rolling")
KEYS = ("set", *OPTIONS, "features")
ENDINGS = (".yaml", ".yml")


def load_feature_set(source: str | Path | Mapping[str, Any]) -> FeatureSet:
    """Read a feature set.

    Args:
        source: "alpha158", "alpha360", the path of a YAML file, or a mapping as such a file holds:
            `set` (one of the two names), for alpha158 its options `kbar`, `price`, `volume` and
            `rolling` (see `alpha158_set`), and `features`, name to expression, whose columns come
            after those of the set. One of `set` and `features` is needed.

    Returns:
        The set.

    Raises:
        ExpressionError: if an expression cannot be read; the message names the file and the
            feature and points at the character.
        ValueError: on any other fault; the message suggests names near a misspelt one.
        OSError: if the file cannot be read.

    Examples:
        >>> gap = {"GAP": "$open/Ref($close, 1) - 1"}
        >>> mine = load_feature_set({"set": "alpha158", "features": gap})
        >>> len(mine), list(mine)[-1]
        (159, 'GAP')
    """
    if isinstance(source, Mapping):
        return _from_mapping(source, "")
    text = str(source)
    if text in SETS:
        return _named(text, {})
    path = Path(source)
    if path.suffix.lower() not in ENDINGS:
        hint = near_matches(text, SETS) or f"; expected {' or '.join(SETS)}"
        raise ValueError(f"no feature set {text!r}{hint} (or the path of a .yaml file)")
    try:
        content = load_yaml(read_text(path))
    except yaml.YAMLError as error:
        raise ValueError(f"{path} is not valid YAML: {error}") from error
    return _from_mapping(content, f"{path}: ")


def _from_mapping(content: Any, where: str) -> FeatureSet:
    """Build the set that a mapping describes; `where` begins every message."""
    if not isinstance(content, Mapping):
        raise ValueError(f"{where}expected a mapping with `set` or `features`, found {content!r}")
    for key in content:
        if key not in KEYS:
            hint = near_matches(key, KEYS) or f"; expected one of {', '.join(KEYS)}"
            raise ValueError(f"{where}unknown key {key!r}{hint}")
    base_name, own = content.get("set"), content.get("features")
    options = {key: content[key] for key in OPTIONS if key in content}
    if options and base_name != "alpha158":
        state = "is not given" if base_name is None else f"is {base_name!r}"
        raise ValueError(
            f"{where}{', '.join(options)} configure the set alpha158, and `set` {state}: write"
            " `set: alpha158`"
        )
    if base_name is None and own is None:
        raise ValueError(f"{where}neither `set` ({' or '.join(SETS)}) nor `features` is given")
    if own is not None and not isinstance(own, Mapping):
        raise ValueError(f"{where}features: expected names with expressions, found {own!r}")
    if base_name is None:
        return FeatureSet(own or {}, name=f"{where}features")
    try:
        base = _named(base_name, options)
    except ValueError as error:
        raise ValueError(f"{where}{error}") from error
    if own is None:
        return base
    for name in own:
        if name in base:
            raise ValueError(
                f"{where}features: {name} is a feature of {base_name} already: rename yours"
            )
    added = FeatureSet(own, name=f"{where}features")
    return FeatureSet([*base.items(), *added.items()], name=f"{base.name} with own features")


def _named(name: Any, options: Mapping[str, Any]) -> FeatureSet:
    """Build one of qlib's sets."""
    if name == "alpha158":
        return alpha158_set(**options)
    if name == "alpha360":
        return alpha360_set()
    hint = near_matches(name, SETS) or f"; expected {' or '.join(SETS)}"
    raise ValueError(f"set: no feature set {name!r}{hint}")
