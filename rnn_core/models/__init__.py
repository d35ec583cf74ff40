"""Models: networks from windows [B, L, F] to scores [B], estimators that are none, their tables.

Here are the layers, the fused kernels and `MODEL_FAMILIES`; `LinearModel`, `LightGBMModel`, the
contract that they keep (`EstimatorModel`) and `ESTIMATOR_FAMILIES`. Training is in
`rnn_core.training`. qlib's estimators are in `rnn_core.estimators`; their names are offered here as
well, since qlib keeps estimator and network in one module (`qlib.contrib.model`). Names load on
first use.
"""

from __future__ import annotations

from rnn_core.lazy import attach_stub

__getattr__, __dir__, __all__ = attach_stub(__name__, __file__)
