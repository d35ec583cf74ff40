"""`DataHandlerLP`: one frame, processed for serving and for learning, with qlib's interface.

    raw    --shared-->  .  --infer-->  infer
    append:             infer         --learn-->  learn      (the default)
    independent:        . (after shared) --learn-->  learn

Each processor is fitted on the output of the one before it, within its fit window ("fit_seq"),
or on the raw frame ("fit_ind"), or not at all ("load_state"). The three views share their common
columns (see `frame_view`): learn costs its labels, not a second copy of the features. The handler
never writes to the caller's frame.

Apart from qlib: a list of instruments is a list, not a range from the first to the last; a fit
window that a processor and the handler state differently is an error (qlib takes the handler's);
state is JSON, never a pickle, and holds processors only, no data.

Rule matched: qlib data/dataset/handler.py `DataHandlerLP`, contrib/data/handler.py
`check_transform_proc`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pandas as pd

from rnn_core.atomic import atomic_write
from rnn_core.data.frame_view import CS_ALL, CS_RAW, ColSet, View
from rnn_core.data.processors import Processor, ProcessorChain
from rnn_core.data.steps import Step, build_steps, groups_of, one_of
from rnn_core.notebook import fact_table, span_of
from rnn_core.panel.arrow_frames import as_frame
from rnn_core.panel.frames import Semantics
from rnn_core.panel.session_labels import DateLike
from rnn_core.qlib_hooks import HANDLER_HOOKS, refuse_overrides
from rnn_core.suggestions import near_matches

DK_R = "raw"
"""The key of the frame before any processor.

Examples:
    >>> DK_R
    'raw'
"""

DK_I = "infer"
"""The key of the frame that scores are made from.

Examples:
    >>> DK_I
    'infer'
"""

DK_L = "learn"
"""The key of the frame that models learn from.

Examples:
    >>> DK_L
    'learn'
"""

InitType = Literal["fit_seq", "fit_ind", "load_state"]
ProcessType = Literal["append", "independent"]

INIT_TYPES = ("fit_seq", "fit_ind", "load_state")
PROCESS_TYPES = ("append", "independent")
STAGES = ("shared", "infer", "learn")

FORMAT = 1
"""Version of the stored form; a reader refuses one it does not know."""


class DataHandlerLP:
    """Raw, infer and learn views of a frame.

    Args:
        data: index (datetime, instrument), two-level columns ("feature" or "label", name); or a
            table of another library with `date`, `instrument` and flat columns, of which those that
            begin with LABEL are labels. The handler sorts a copy if need be and leaves the frame as
            it is.
        shared_processors: steps before both views: processors, mappings {"class", "kwargs"} or
            names. A mapping may leave out fit_start_time, fit_end_time and semantics.
        infer_processors: steps of the infer view.
        learn_processors: steps of the learn view; only these may look at labels.
        fit_start_time: first session of the fits, or None for the frame's first.
        fit_end_time: last session of the fits, included.
        process_type: "append": learn starts from infer; "independent": from shared.
        drop_raw: drop the raw view after the processing.
        semantics: "strict" or "qlib", for the processors that know both.
        init_type: "fit_seq", "fit_ind" or "load_state"; see the module.

    Attributes:
        shared_processors, infer_processors, learn_processors: the steps, as processors.

    Raises:
        ValueError: a frame without the two levels, rows repeated, an unknown `process_type` or
            `init_type`, a fit window missing or stated twice.
        TypeError: a step is no processor, a step of shared or infer needs labels, there is no
            frame, or a subclass overrides what is never called.
        KeyError: a processor is unknown, or lacks a column that it needs.

    Examples:
        >>> handler = DataHandlerLP(frame, learn_processors=["DropnaLabel"])
        >>> len(handler.fetch(data_key=DK_I)), len(handler.fetch(data_key=DK_L))
        (6, 3)
    """

    CS_ALL, CS_RAW = CS_ALL, CS_RAW
    DK_R, DK_I, DK_L = DK_R, DK_I, DK_L
    IT_FIT_SEQ: ClassVar[InitType] = "fit_seq"
    IT_FIT_IND: ClassVar[InitType] = "fit_ind"
    IT_LS: ClassVar[InitType] = "load_state"
    PTYPE_A: ClassVar[ProcessType] = "append"
    PTYPE_I: ClassVar[ProcessType] = "independent"

    def __init__(
        self,
        data: Any = None,
        *,
        shared_processors: Iterable[Step] = (),
        infer_processors: Iterable[Step] = (),
        learn_processors: Iterable[Step] = (),
        fit_start_time: DateLike | None = None,
        fit_end_time: DateLike | None = None,
        process_type: ProcessType = "append",
        drop_raw: bool = False,
        semantics: Semantics = "strict",
        init_type: InitType = "fit_seq",
        **of_the_loader: Any,
    ) -> None:
        refuse_overrides(self, DataHandlerLP, HANDLER_HOOKS)
        if data is None or of_the_loader:
            given = f" was given {', '.join(of_the_loader)} and" if of_the_loader else ""
            raise TypeError(
                f"{type(self).__name__}{given} loads nothing by itself: give it a frame (data, or "
                f"DataHandlerLP.from_df); for expressions over bars subclass Alpha158 and override "
                f"get_feature_config and get_label_config"
            )
        one_of("process_type", process_type, PROCESS_TYPES)
        one_of("semantics", semantics, ("strict", "qlib"))
        self.process_type, self.drop_raw, self.semantics = process_type, drop_raw, semantics
        defaults = {
            "fit_start_time": fit_start_time,
            "fit_end_time": fit_end_time,
            "semantics": semantics,
        }
        steps = (shared_processors, infer_processors, learn_processors)
        self._chains = {
            stage: ProcessorChain(build_steps(own, stage, defaults))
            for stage, own in zip(STAGES, steps, strict=True)
        }
        self._views: dict[str, View] = {}
        self.setup_data(init_type, data)

    @classmethod
    def from_df(cls, df: pd.DataFrame) -> Self:
        """Make a handler of a frame, without processors.

        Args:
            df: as `data` of the constructor.

        Returns:
            The handler; its three views are the frame.
        """
        return cls(df)

    @property
    def shared_processors(self) -> tuple[Processor, ...]:
        """The steps before both views."""
        return self._chains["shared"].processors

    @property
    def infer_processors(self) -> tuple[Processor, ...]:
        """The steps of the infer view."""
        return self._chains["infer"].processors

    @property
    def learn_processors(self) -> tuple[Processor, ...]:
        """The steps of the learn view."""
        return self._chains["learn"].processors

    def get_all_processors(self) -> tuple[Processor, ...]:
        """Shared, infer and learn, in this order."""
        return self.shared_processors + self.infer_processors + self.learn_processors

    def config(self, **settings: Any) -> None:
        """Change the settings that the next `setup_data` loads with; this class has none.

        Raises:
            TypeError: any setting is given.
        """
        if settings:
            raise TypeError(
                f"{type(self).__name__} has no settings {sorted(settings)}: give the new frame to "
                f"setup_data(data=...)"
            )

    def setup_data(self, init_type: InitType = "fit_seq", data: Any = None) -> None:
        """Make the three views; later calls make them anew.

        Args:
            init_type: "fit_seq": fit each processor on the output of the one before; "fit_ind":
                fit each on the raw frame; "load_state": process with the state at hand.
            data: new data to process instead of the present data.

        Raises:
            ValueError: `init_type` is unknown, or the raw frame was dropped and `data` is None.
            RuntimeError: "load_state" with a processor that was never fitted.
        """
        one_of("init_type", init_type, INIT_TYPES)
        raw = self._load(data)
        if init_type == "fit_ind":
            frame = raw.whole()
            for processor in self.get_all_processors():
                processor.fit(frame)
            del frame
        fit = init_type == "fit_seq"
        shared = _applied(self._chains["shared"], raw, fit)
        infer = _applied(self._chains["infer"], shared, fit)
        base = infer if self.process_type == "append" else shared
        learn = _applied(self._chains["learn"], base, fit)
        self._views = {DK_R: raw, DK_I: infer, DK_L: learn}
        if self.drop_raw:
            memo: dict[tuple[int, ...], pd.DataFrame] = {}
            views = {k: v for k, v in self._views.items() if k != DK_R}
            self._views = {k: v.detached(raw.frames[0], memo) for k, v in views.items()}

    def _load(self, data: Any) -> View:
        """Return the raw view of new data, or the present one."""
        if data is not None:
            data = as_frame(data, groups=True)
            if not isinstance(data, pd.DataFrame):
                raise TypeError(f"data is {type(data).__name__}, expected a pandas DataFrame")
            return View.of(data)
        if DK_R not in self._views:
            raise ValueError("the raw frame was dropped (drop_raw=True): give it again as data=")
        return self._views[DK_R]

    def fetch(
        self,
        selector: Any = slice(None),
        level: str | int | None = "datetime",
        col_set: ColSet = CS_ALL,
        data_key: str = DK_I,
    ) -> pd.DataFrame:
        """Fetch rows and columns of a view.

        Args:
            selector: a slice (both ends included; None is open), one label ("2020-03" is the
                month), or an index or list of labels. A pair of dates, in a list or tuple, is a
                range, as in qlib. A MultiIndex names rows.
            level: "datetime", "instrument", 0 or 1, the level of the selector's labels; None hands
                the selector to `DataFrame.loc`.
            col_set: "__all" (every column, names only), "__raw" (every column, two levels), a
                group (names only), or a list of groups or of (group, name), two levels.
            data_key: "raw", "infer" or "learn".

        Returns:
            A frame sorted by (datetime, instrument), which the caller may write to. pandas lets the
            frame share the view's memory until then.

        Raises:
            KeyError: a label, column group or view does not exist.
            AttributeError: "raw" of a handler that dropped the raw view.
        """
        view = self._view(data_key, col_set)
        columns, both = view.columns_of(col_set)
        if level is None or isinstance(selector, pd.MultiIndex):
            frame = pd.DataFrame(view.take(slice(None), columns).loc(axis=0)[selector])
        else:
            pair = isinstance(selector, (list, tuple)) and len(selector) == 2
            if pair and level in (0, "datetime"):
                selector = slice(*selector)
            frame = view.take(view.rows_of(selector, level), columns)
        if not both:
            frame.columns = frame.columns.get_level_values(1)
        return frame

    def get_cols(self, col_set: ColSet = CS_ALL, data_key: str = DK_I) -> list[Any]:
        """Return the columns that `fetch` would return.

        Args:
            col_set: see `fetch`.
            data_key: "raw", "infer" or "learn".

        Returns:
            Names, or (group, name) where `fetch` has two levels.
        """
        view = self._view(data_key, col_set)
        positions, both = view.columns_of(col_set)
        columns = view.columns[positions]
        return list(columns if both else columns.get_level_values(1))

    def sessions(self, data_key: str = DK_I) -> pd.DatetimeIndex:
        """Return the sorted sessions on which a view has rows."""
        return self._view(data_key).sessions()

    def _view(self, data_key: str, col_set: ColSet = CS_ALL) -> View:
        """Return a view that has at least the columns of `col_set`."""
        if data_key not in (DK_R, DK_I, DK_L):
            raise KeyError(
                f"data_key is {data_key!r}, expected 'raw', 'infer' or 'learn'"
                f"{near_matches(data_key, (DK_R, DK_I, DK_L))}"
            )
        if data_key not in self._views:
            raise AttributeError(
                "the raw view was dropped: make the handler with drop_raw=False to fetch it"
            )
        return self._views[data_key]

    def state(self) -> dict[str, Any]:
        """Return the fitted processors, JSON-able and without data."""
        chains = {stage: chain.to_dict() for stage, chain in self._chains.items()}
        return {
            "format": FORMAT,
            "process_type": self.process_type,
            "semantics": self.semantics,
            **chains,
        }

    def save(self, path: str | Path) -> None:
        """Write `state` as JSON, in one step."""
        text = json.dumps(self.state(), indent=1, sort_keys=True, allow_nan=False)
        atomic_write(Path(path), f"{text}\n".encode())

    @classmethod
    def load(
        cls,
        path: str | Path,
        *args: Any,
        classes: Mapping[str, type[Processor]] | None = None,
        **kwargs: Any,
    ) -> Self:
        """Make a handler over other data, with the fitted processors of a saved handler.

        Args:
            path: a file that `save` wrote.
            *args: the data, as the constructor takes them.
            classes: the processors that the file may name (default: those that are known).
            **kwargs: arguments of the constructor that the file does not hold.

        Returns:
            The handler; nothing was fitted.

        Raises:
            ValueError: the file has another format, or already holds one of `kwargs`.
        """
        stored = json.loads(Path(path).read_text(encoding="utf-8"))
        if stored.get("format") != FORMAT:
            raise ValueError(
                f"{Path(path).name} is of format {stored.get('format')!r}, expected {FORMAT}: "
                f"save it anew with this version"
            )
        settings = cls._settings(stored)
        for stage in STAGES:
            chain = ProcessorChain.from_dict(stored[stage], classes=classes)
            settings[f"{stage}_processors"] = list(chain)
        repeats = sorted(set(settings) & set(kwargs))
        if repeats:
            names = ", ".join(repeats)
            raise ValueError(f"{names}: held by {Path(path).name}, leave out of load()")
        return cls(*args, **{**settings, **kwargs, "init_type": "load_state"})

    @classmethod
    def _settings(cls, stored: Mapping[str, Any]) -> dict[str, Any]:
        """Return the constructor's arguments that a state holds, processors apart."""
        return {"process_type": stored["process_type"], "semantics": stored["semantics"]}

    def _repr_html_(self) -> str:
        sizes = {name: f"{len(v):,} rows of {len(v.columns)}" for name, v in self._views.items()}
        view = next(iter(self._views.values()), None)
        return fact_table(self, sizes if view is None else {**sizes, **span_of(view.index)})

    def __repr__(self) -> str:
        sizes = ", ".join(f"{k} {len(v)} x {len(v.columns)}" for k, v in self._views.items())
        return f"{type(self).__name__}({sizes})"


def _applied(chain: ProcessorChain, view: View, fit: bool) -> View:
    """Apply the steps to a view; columns of other groups are shared, not copied."""
    if not len(chain):
        return view
    groups, labels = groups_of(chain), view.columns.get_level_values(0)
    run = chain.fit if fit else chain.transform
    if not groups or not groups < set(labels):
        return View.of(run(view.whole()))
    columns = np.flatnonzero(labels.isin(groups))
    return view.replaced(columns, run(view.take(slice(None), columns)))
