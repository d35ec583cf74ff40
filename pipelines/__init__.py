"""A Dagster code location: raw bars to evaluated signals of RNN models, partitioned by session.

ARCHITECTURE.md shows the rooms in their order. A room imports only from rooms below it, and nothing
here is imported by `rnn_core`, the library that does the computing.
"""

from __future__ import annotations

from rnn_core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
