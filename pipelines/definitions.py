"""The Dagster code location: the market that `RNN_CONFIG` names (default: the sample).

`dg`, the webserver and the daemon load `defs` from here. It is the one place that reads the
environment at import; everything else takes a market (`pipelines.build.build_definitions`).
"""

from __future__ import annotations

import os

from pipelines.build import build_definitions
from pipelines.config.loader import ENV_CONFIG, load_config
from pipelines.market.market import Market

defs = build_definitions(Market(load_config(), named=os.environ.get(ENV_CONFIG)))
