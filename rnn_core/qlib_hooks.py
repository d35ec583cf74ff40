"""Methods that subclasses of qlib's classes override, and that this library never calls.

qlib reaches some of its steps through methods (`train_epoch`, `_run_proc_l`, `_get_indices`), so a
subclass changes a step by replacing its method. The same step here has another form, and the
replacement would be ignored without a word. An object whose class, or which itself, defines such a
method is refused, with the way that does work. The methods that are called, and may be overridden,
are in docs/from_qlib.md.

Rule matched: qlib data/dataset/handler.py, data/dataset/__init__.py, data/dataset/processor.py,
contrib/model/pytorch_lstm.py, pytorch_lstm_ts.py, pytorch_krnn.py, pytorch_general_nn.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

_PROCESSOR = "write a Processor and name it in infer_processors or learn_processors"
_LOSS = "override loss_fn and metric_fn, which are called, or train with rnn_core.training.Trainer"
_WINDOW = (
    "change the frame that the sampler is given (DatasetH._prepare_seg is called), or override "
    "batch, which training and prediction call"
)

HANDLER_HOOKS: Mapping[str, str] = MappingProxyType(
    {
        "fit": _PROCESSOR,
        "fit_process_data": _PROCESSOR,
        "process_data": _PROCESSOR,
        "_run_proc_l": _PROCESSOR,
        "_is_proc_readonly": _PROCESSOR,
        "_fetch_data": "override fetch, which is called",
        "_get_df_by_key": "override fetch, which is called",
    }
)
"""Hooks of qlib's `DataHandlerLP` and its subclasses."""

DATASET_HOOKS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(
        ("_prepare_raw_seg", "_extend_slice", "_get_extrema"),
        "override _prepare_seg, which is called for every segment",
    )
)
"""Hooks of qlib's `DatasetH` and `TSDatasetH`."""

SAMPLER_HOOKS: Mapping[str, str] = MappingProxyType(
    dict.fromkeys(
        (
            "__getitem__",
            "_get_indices",
            "_get_row_col",
            "build_index",
            "flt_idx_map",
            "idx_map2arr",
            "slice_idx_map_and_data_index",
        ),
        _WINDOW,
    )
)
"""Hooks of qlib's `TSDataSampler`."""

PROCESSOR_HOOKS: Mapping[str, str] = MappingProxyType(
    {"config": "give the fit window to the constructor"}
)
"""Hooks of qlib's `Processor`; `fit`, `__call__` and `is_for_infer` are called, and `readonly` has
nothing to decide, since no processor writes to the frame of another."""

MODEL_HOOKS: Mapping[str, str] = MappingProxyType(
    {
        "train_epoch": _LOSS,
        "test_epoch": _LOSS,
        "mse": "override loss_fn, which is called",
        "_nn_predict": "override predict, which is called",
        "_get_fl": _WINDOW,
        "get_daily_inter": _LOSS,
        "use_gpu": "give GPU to the constructor",
    }
)
"""Hooks of qlib's models."""


def refuse_overrides(instance: object, base: type, hooks: Mapping[str, str]) -> None:
    """Refuse an object that replaces a method which is never called.

    Args:
        instance: an object of `base` or of a subclass.
        base: the library's class.
        hooks: method to the way that works instead.

    Raises:
        TypeError: the object or its class defines one of `hooks` anew.
    """
    kind = type(instance)
    for name, instead in hooks.items():
        own = name in getattr(instance, "__dict__", {})
        if own or getattr(kind, name, None) is not getattr(base, name, None):
            raise TypeError(
                f"{kind.__name__} overrides {name}, which qlib calls and this library does not: "
                f"{instead}"
            )
