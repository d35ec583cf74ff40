"""`Alpha158` and `Alpha360`: handlers that compute their frame from bars.

`Alpha158vwap` and `Alpha360vwap` have the return of average prices as their label. `handlers` makes
any of the four from qlib's configuration mapping.

Features and labels are computed together on the full history of the bars. The rows are then cut to
start_time ... end_time and to the members of their session, so the first rows have as much history
as the bars allow (see `bars`).

In strict semantics a row is a bar. In qlib's semantics the suspended sessions inside an
instrument's span are rows too, as in qlib.

A subclass may override `get_feature_config` and `get_label_config`, as in qlib. The arguments have
qlib's names and order; `bars` stands for the provider that qlib reads.

Apart from qlib: the columns of a label without names are LABEL0, LABEL1, ... (qlib names those of a
list of texts after the texts, quirk Q23); in strict semantics the default processors of Alpha360
leave the label alone (qlib standardises the label and fills it by 0, Q14); a field that is absent
or empty is an error (qlib gives a constant 0 after Fillna, Q8); so is a feature that looks ahead.

Rule matched: qlib contrib/data/handler.py `Alpha158`, `Alpha360`; data/data.py
`DatasetProvider.inst_calculator`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Never

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from rnn_core.data.bars import Bars, bars_panel, compute_rows, spans
from rnn_core.data.frame_view import CS_ALL, ColSet, View
from rnn_core.data.handler import DK_R, DataHandlerLP, InitType, ProcessType
from rnn_core.data.labels import label_names, label_set
from rnn_core.data.loaders import Alpha158DL, Fields, FieldsInfo, fields_of, fields_set
from rnn_core.data.steps import Step
from rnn_core.data.universe import Universe
from rnn_core.features.layout import ALPHA158_LABEL, ALPHA158VWAP_LABEL
from rnn_core.features.own_features import require_known
from rnn_core.features.qlib_sets import alpha158_set, alpha360_set
from rnn_core.features.sets import FeatureSet
from rnn_core.panel.frames import Semantics
from rnn_core.panel.panel import Panel
from rnn_core.panel.session_labels import DateLike, session_range
from rnn_core.suggestions import near_matches

Instruments = Sequence[str] | Universe | str | Path | None
Label = str | Sequence[Any] | None

LEARN: tuple[Step, ...] = (
    {"class": "DropnaLabel"},
    {"class": "CSZScoreNorm", "kwargs": {"fields_group": "label"}},
)
"""qlib's learn processors of both handlers."""

logger = logging.getLogger(__name__)


class _AlphaHandler(DataHandlerLP):
    """Base of the handlers that compute a feature set from bars; see `Alpha158`."""

    default_infer: ClassVar[tuple[Step, ...]] = ()
    default_set: ClassVar[Callable[[], FeatureSet]]
    default_label: ClassVar[str] = ALPHA158_LABEL[1]

    def __init__(
        self,
        instruments: Instruments = None,
        start_time: DateLike | None = None,
        end_time: DateLike | None = None,
        freq: str = "day",
        infer_processors: Iterable[Step] | None = None,
        learn_processors: Iterable[Step] = LEARN,
        fit_start_time: DateLike | None = None,
        fit_end_time: DateLike | None = None,
        process_type: ProcessType = "append",
        filter_pipe: Sequence[Any] | None = None,
        inst_processors: Sequence[Any] | None = None,
        *,
        bars: Bars | None = None,
        shared_processors: Iterable[Step] = (),
        label: Label = None,
        semantics: Semantics = "strict",
        threads: int | None = None,
        feature_set: FeatureSet | None = None,
        drop_raw: bool = False,
        init_type: InitType = "fit_seq",
    ) -> None:
        # Arguments of qlib that only say here what holds anyway.
        if bars is None:
            raise TypeError(
                f"{type(self).__name__} needs bars=...: a frame, a Panel or a path (qlib reads "
                f"the provider of qlib.init; rnn_core.data.QlibProvider reads its folder)"
            )
        if freq != "day":
            raise ValueError(f"freq is {freq!r}, expected 'day': other bars are not supported")
        for name, steps in (("filter_pipe", filter_pipe), ("inst_processors", inst_processors)):
            if steps:
                raise ValueError(
                    f"{name} is {steps!r:.80}, expected None: give the members as instruments (a "
                    f"Universe), and TimeRangeFlt as a processor"
                )
        self.bars, self.instruments = bars, instruments
        self.start_time, self.end_time = start_time, end_time
        self.threads = threads
        self.feature_set = self._own_features() if feature_set is None else feature_set
        self.label_set = label_set(self.get_label_config() if label is None else label)
        if self.feature_set.look_ahead:
            raise ValueError(
                f"{self.feature_set.name} looks {self.feature_set.look_ahead} sessions ahead: "
                f"features must be known at the close, put what is not into label="
            )
        super().__init__(
            bars,
            shared_processors=shared_processors,
            infer_processors=self.infer_steps(semantics)
            if infer_processors is None
            else infer_processors,
            learn_processors=learn_processors,
            fit_start_time=fit_start_time,
            fit_end_time=fit_end_time,
            process_type=process_type,
            drop_raw=drop_raw,
            semantics=semantics,
            init_type=init_type,
        )

    def get_feature_config(self) -> FieldsInfo:
        """Return the features as qlib's pair (expressions, names); a subclass may override it.

        Returns:
            The pair; an override may return a list of expressions as well.
        """
        return fields_of(type(self).default_set())

    def get_label_config(self) -> FieldsInfo:
        """Return the labels as qlib's pair (expressions, names); a subclass may override it.

        Returns:
            The pair; an override may return a list of expressions as well.
        """
        return [self.default_label], ["LABEL0"]

    def _own_features(self) -> FeatureSet:
        """Return the set of the class, or that of an overridden `get_feature_config`."""
        method = self.get_feature_config
        if getattr(method, "__func__", None) is _AlphaHandler.get_feature_config:
            return type(self).default_set()
        return fields_set(method(), f"get_feature_config of {type(self).__name__}")

    @classmethod
    def infer_steps(cls, semantics: Semantics) -> tuple[Step, ...]:
        """Return the default infer processors; qlib's have no group and take the label too.

        Args:
            semantics: "strict" or "qlib".
        """
        if semantics == "strict":
            return cls.default_infer
        return tuple({"class": step["class"]} for step in cls.default_infer)  # type: ignore[index]

    @classmethod
    def from_df(cls, df: pd.DataFrame) -> Never:
        """Refuse a frame of features: this handler computes them from bars."""
        raise TypeError(
            f"{cls.__name__} computes its features from bars: call DataHandlerLP.from_df for a "
            f"frame of features, or give bars=..."
        )

    def config(self, **settings: Any) -> None:
        """Change the settings that the next `setup_data` loads with.

        Args:
            **settings: `bars`, `instruments`, `start_time`, `end_time` or `threads`.

        Raises:
            TypeError: there is no such setting.
        """
        known = ("bars", "instruments", "start_time", "end_time", "threads")
        for name, value in settings.items():
            if name not in known:
                raise TypeError(
                    f"{type(self).__name__} has no setting {name!r} (it has {', '.join(known)})"
                    f"{near_matches(name, known)}"
                )
            setattr(self, name, value)

    def setup_data(self, init_type: InitType = "fit_seq", data: Any = None) -> None:
        """Make the views, as `DataHandlerLP.setup_data` does; `data` are bars.

        The raw features stay in memory only while another view shares them. Otherwise the first
        `fetch` of them computes them again from the same bars and rows, to the same bits.
        """
        super().setup_data(init_type, data)
        raw = self._views.get(DK_R)
        if raw is None:
            return
        frame = raw.frames[0]
        memo: dict[tuple[int, ...], pd.DataFrame] = {}
        labels = raw.only(raw.columns_of("label")[0]).detached(frame, memo)
        views = {k: v.detached(frame, memo) for k, v in self._views.items() if k != DK_R}
        if not any(frame is held for view in views.values() for held in view.frames):
            self._labels, self._views = labels, views

    def _load(self, data: Any) -> View:
        """Compute the raw view from bars."""
        if data is not None:
            self.bars = data
        fields = self.feature_set.fields | self.label_set.fields
        panel = bars_panel(self.bars, fields, self.feature_set.name)
        rows = self._rows(panel)
        if self.semantics == "qlib":
            panel = Panel(panel.sessions, panel.instruments, panel.fields, spans(panel.present))
        self._source, self._views = (panel, rows), {}  # the old views go before the new come
        return self._computed()

    def _computed(self) -> View:
        """Compute the features and labels of the rows."""
        sets = {"feature": self.feature_set, "label": self.label_set}
        return View.of(compute_rows(*self._source, sets, self.semantics, self.threads))

    def _view(self, data_key: str, col_set: ColSet = CS_ALL) -> View:
        if data_key == DK_R and not self.drop_raw and DK_R not in self._views:
            if col_set in ("label", ["label"]):
                return self._labels
            self._views[DK_R] = self._computed()
        return super()._view(data_key, col_set)

    def _rows(self, panel: Panel) -> NDArray[np.bool_]:
        """Select the cells that become rows, [N, T]."""
        rows = spans(panel.present) if self.semantics == "qlib" else panel.present.copy()
        span = session_range(panel.sessions, self.start_time, self.end_time)
        rows[:, : span.start] = rows[:, span.stop :] = False
        members = self.instruments
        if isinstance(members, (str, Path)):
            members = _universe_file(members)
        if isinstance(members, Universe):
            absent = sorted(set(members.instruments) - set(panel.instruments))
            if absent:
                logger.warning(
                    "%s: %d of %d instruments have no bars, the first are %s",
                    members.name,
                    len(absent),
                    len(members.instruments),
                    ", ".join(absent[:5]),
                )
            rows &= members.mask(panel.sessions, panel.instruments)
        elif members is not None:
            for name in members:
                if name not in panel.instruments:
                    raise KeyError(
                        f"no instrument {name!r} among the {len(panel.instruments)} of the bars"
                        f"{near_matches(name, panel.instruments)}"
                    )
            rows[~panel.instruments.isin(list(members))] = False
        if not rows.any():
            raise ValueError(
                f"no row is left of {int(panel.present.sum())} bars between "
                f"{panel.sessions[0]:%Y-%m-%d} and {panel.sessions[-1]:%Y-%m-%d}: check "
                f"start_time={self.start_time}, end_time={self.end_time} and instruments"
            )
        return rows

    def state(self) -> dict[str, Any]:
        """Return the fitted processors, the features and the labels, JSON-able and without data."""
        texts, names = list(self.label_set.values()), list(self.label_set)
        label: list[Any] = texts if names == label_names(len(names)) else [texts, names]
        sets = {"features": list(self.feature_set.items()), "label": label}
        return {**super().state(), "set_name": self.feature_set.name, **sets}

    @classmethod
    def _settings(cls, stored: Mapping[str, Any]) -> dict[str, Any]:
        if "features" not in stored:
            raise ValueError("the state is of a plain DataHandlerLP: use DataHandlerLP.load")
        pairs = [(str(name), str(text)) for name, text in stored["features"]]
        require_known(text for _, text in pairs)
        features = FeatureSet(pairs, name=stored["set_name"])
        return {
            **super()._settings(stored),
            "feature_set": features,
            "label": list(stored["label"]),
        }


class Alpha158(_AlphaHandler):
    """qlib's Alpha158 over bars: 158 features and a label.

    Args:
        instruments: the names to keep, a `Universe` or the path of its file; None for all.
        start_time: first session of the rows, or None.
        end_time: last session of the rows, included, or None. Bars outside the two serve as
            history, and as the future that labels need.
        freq: "day".
        infer_processors: see `DataHandlerLP`; by default none.
        learn_processors: by default DropnaLabel and CSZScoreNorm of the label.
        fit_start_time: first session of the fits, or None for the first row's.
        fit_end_time: last session of the fits, included.
        process_type: "append" or "independent".
        filter_pipe: None.
        inst_processors: None.
        bars: a long frame (date, instrument and the fields, adjusted; or the keys as index), a
            `Panel`, or a path to such a frame as .parquet or .csv.
        shared_processors: by default none.
        label: an expression or a list of them; None is that of `get_label_config`, which is qlib's,
            the return from the close of the next session to that of the one after. Also qlib's pair
            of lists (expressions, names).
        semantics: "strict" or "qlib", of features, labels and processors.
        threads: for the features; by default one per available core.
        feature_set: in place of the 158, e.g. `alpha158_set(price=..., rolling=...)`; None is what
            `get_feature_config` returns.
        drop_raw: drop the raw view after the processing.
        init_type: see `DataHandlerLP`.

    Raises:
        ValueError: a field that is absent or empty, no row left, a feature that looks ahead, a
            label that is no expression, another `freq`, a filter or an instrument processor; and as
            `DataHandlerLP` and `Panel.from_frame`.
        TypeError: no bars, or a subclass overrides what is never called.
        KeyError: an instrument without bars; and as `DataHandlerLP`.
        FileNotFoundError: a path without a file.

    Examples:
        >>> handler = Alpha158(bars=bars, start_time="2024-03-01")
        >>> handler.fetch(col_set="feature").shape[1]
        158
        >>> handler.fetch(col_set="label").columns.tolist()
        ['LABEL0']
    """

    default_set = staticmethod(alpha158_set)

    @staticmethod
    def parse_config_to_fields(config: Mapping[str, Any]) -> Fields:
        """Return `Alpha158DL.get_feature_config(config)`, under the name of older qlibs."""
        return Alpha158DL.get_feature_config(config)


class Alpha360(_AlphaHandler):
    """qlib's Alpha360 over bars: prices and volumes of 60 sessions, and a label.

    Arguments and errors are those of `Alpha158`, but for the default of `infer_processors`:
    ProcessInf, ZScoreNorm and Fillna of the features, so that `fit_end_time` is needed. In qlib
    semantics the three take the label too, with a warning.

    Examples:
        >>> handler = Alpha360(bars=bars, fit_end_time="2024-04-01")
        >>> handler.fetch(col_set="feature").shape[1]
        360
    """

    default_infer = tuple(
        {"class": name, "kwargs": {"fields_group": "feature"}}
        for name in ("ProcessInf", "ZScoreNorm", "Fillna")
    )

    default_set = staticmethod(alpha360_set)


class Alpha158vwap(Alpha158):
    """`Alpha158` whose default label is the return of average prices.

    Examples:
        >>> Alpha158vwap(bars=bars).get_label_config()
        (['Ref($vwap, -2)/Ref($vwap, -1) - 1'], ['LABEL0'])
    """

    default_label = ALPHA158VWAP_LABEL[1]


class Alpha360vwap(Alpha360):
    """`Alpha360` whose default label is the return of average prices.

    Examples:
        >>> Alpha360vwap(bars=bars, fit_end_time="2024-04-01").get_label_config()
        (['Ref($vwap, -2)/Ref($vwap, -1) - 1'], ['LABEL0'])
    """

    default_label = ALPHA158VWAP_LABEL[1]


def _universe_file(path: str | Path) -> Universe:
    """Read a universe from a file; a bare name is an error."""
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"instruments={str(path)!r} is no file: give names, a Universe, or the path of a file "
            f"of code, start, end separated by tabs"
        )
    return Universe.from_file(path)
