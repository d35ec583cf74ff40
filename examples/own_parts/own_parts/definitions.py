"""The code location of the weekly report; docs/own_assets.md says how the UI loads it.

`OWN_MARKET` names the YAML of the market, `OWN_MODEL` the model.
"""

from __future__ import annotations

import os

from own_parts.weekly import weekly_definitions
from pipelines.config.loader import load_config
from pipelines.market.market import Market

_MARKET, _MODEL = os.environ.get("OWN_MARKET", "sample"), os.environ.get("OWN_MODEL", "lstm")

defs = weekly_definitions(Market(load_config(_MARKET), named=_MARKET, read_only=True), _MODEL)
