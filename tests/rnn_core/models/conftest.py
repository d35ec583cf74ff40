"""One thread of torch for the networks' tests."""

from __future__ import annotations

from tests.rnn_core.training.conftest import _one_thread

__all__ = ["_one_thread"]
