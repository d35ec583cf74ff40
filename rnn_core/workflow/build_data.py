"""The inputs of a workflow's run: dataset, bars of the backtest, benchmark.

Everything is loaded and checked before the training begins, so that a missing benchmark is
reported in seconds and not after a night.

The provider reads only the sessions of the handler, with the look-back of its features before and
the look-ahead of its label after, as in qlib, and only instruments that were members in between.
Features that the first infer processor, a FilterCol, throws away are not computed: the 20 of 158
that qlib's Alpha158 files of LSTM and GRU keep do not read vwap, which those files' own provider
lacks.

Rule matched: qlib data/data.py `LocalExpressionProvider.expression` (sessions read),
backtest/report.py `PortfolioMetrics._cal_benchmark` (benchmark).
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from rnn_core.data.bin_files import ProviderError
from rnn_core.data.datasets import DatasetH
from rnn_core.data.handlers import HANDLERS
from rnn_core.data.labels import label_set
from rnn_core.data.qlib_bins import QlibProvider
from rnn_core.data.universe import Universe
from rnn_core.evaluation import PortfolioConfig
from rnn_core.features.expression import horizon_of
from rnn_core.features.sets import FeatureSet
from rnn_core.panel.frames import Semantics
from rnn_core.panel.session_labels import session_bound, session_range
from rnn_core.workflow.problems import WorkflowError, asked_by
from rnn_core.workflow.read_dataset import DATASETS
from rnn_core.workflow.spec import DatasetSpec, PortfolioSpec, WorkflowSpec

CHANGE_SESSIONS = 60
"""Sessions before a backtest whose closes serve the first price change."""

FILTER = "FilterCol"
FACTOR = "factor"

NO_LOTS = (
    "portfolio: the provider has no factor for every bar, so amounts are fractions of adjusted "
    "shares, as in qlib, whatever trade_unit is"
)


@dataclass(frozen=True)
class Segment:
    """One segment after the processing.

    Attributes:
        name: of the segment.
        first: its first session with rows.
        last: its last one.
        sessions: number of sessions with rows.
        rows: number of rows in the view that is used: learn, or infer for "test".
    """

    name: str
    first: pd.Timestamp
    last: pd.Timestamp
    sessions: int
    rows: int


@dataclass(frozen=True, eq=False)
class Material:
    """The inputs of a run.

    Attributes:
        dataset: of the workflow.
        segments: of the dataset.
        n_features: columns after the processors.
        horizon: sessions that the first label holds.
        bars: of the backtest, None without one.
        sessions: of the backtest, likewise.
        benchmark: simple return of these sessions, None without one.
        portfolio: settings of the backtest, None without one.
        notes: sentences about the data for a reader of the results.
    """

    dataset: DatasetH
    segments: tuple[Segment, ...]
    n_features: int
    horizon: int = 1
    bars: pd.DataFrame | None = None
    sessions: pd.DatetimeIndex | None = None
    benchmark: pd.Series[Any] | None = None
    portfolio: PortfolioConfig | None = None
    notes: tuple[str, ...] = ()


def load_material(spec: WorkflowSpec) -> Material:
    """Load and process the inputs of a workflow.

    Args:
        spec: the workflow.

    Returns:
        The material.

    Raises:
        WorkflowError: the provider lacks something or is damaged, a segment is empty, the
            benchmark does not cover the backtest, or settings do not fit; the text begins with
            the key that asked.
    """
    with asked_by("qlib_init.provider_uri"):
        provider = QlibProvider(spec.provider.uri)
    with asked_by("task.dataset.kwargs.handler.kwargs.instruments"):
        universe = _members(provider, spec.dataset)
    with asked_by("task.dataset"):
        dataset, codes, horizon = _dataset(provider, universe, spec)
        segments = [_segment(dataset, name) for name in spec.dataset.segments]
        n_features = len(dataset.handler.get_cols("feature"))
    if spec.portfolio is None:
        return Material(dataset, tuple(segments), n_features, horizon)
    test = next(segment for segment in segments if segment.name == "test")
    with asked_by(spec.portfolio.key):
        sessions = _backtest_sessions(provider.calendar, spec.portfolio, test)
        config, bars, notes = _backtest_bars(provider, codes, sessions, spec.portfolio, spec)
        sessions = sessions[sessions.isin(bars["date"])]
    benchmark = _benchmark(provider, spec.portfolio, sessions, spec.semantics)
    return Material(
        dataset, tuple(segments), n_features, horizon, bars, sessions, benchmark, config, notes
    )


def needed_features(features: FeatureSet, arguments: Mapping[str, Any]) -> FeatureSet:
    """Select the features that remain after the first infer processor, if that is a FilterCol.

    Args:
        features: the handler's set.
        arguments: of the handler: processors and process_type.

    Returns:
        The smaller set, or the given one if another view may read the rest.
    """
    steps: Sequence[Mapping[str, Any]] = arguments.get("infer_processors") or ()
    if (
        not steps
        or steps[0]["class"] != FILTER
        or steps[0]["kwargs"].get("fields_group", "feature") != "feature"
        or arguments.get("shared_processors")
        or arguments.get("process_type") != "append"
    ):
        return features
    names = set(steps[0]["kwargs"]["col_list"])
    return FeatureSet([pair for pair in features.items() if pair[0] in names], name=features.name)


def _members(provider: QlibProvider, spec: DatasetSpec) -> Universe | tuple[str, ...]:
    """Select the instruments of the handler: spans that overlap its time, or codes."""
    if not isinstance(spec.instruments, str):
        return spec.instruments
    universe = provider.instruments(spec.instruments)
    start, end = session_bound(spec.start_time), session_bound(spec.end_time, last=True)
    inside = pd.Series(True, index=universe.spans.index)
    if start is not None:
        inside &= universe.spans["end"] >= start
    if end is not None:
        inside &= universe.spans["start"] <= end
    if not inside.any():
        raise WorkflowError(
            f"the universe {spec.instruments!r} has no member between {spec.start_time} and "
            f"{spec.end_time}: its spans run from {universe.spans['start'].min():%Y-%m-%d} to "
            f"{universe.spans['end'].max():%Y-%m-%d}"
        )
    return Universe(universe.spans[inside], name=universe.name)


def _dataset(
    provider: QlibProvider, universe: Universe | tuple[str, ...], spec: WorkflowSpec
) -> tuple[DatasetH, list[str], int]:
    """Build the dataset over its handler's bars; list the codes with bars, count the horizon."""
    dataset_spec = spec.dataset
    handler = HANDLERS[dataset_spec.handler]
    features = needed_features(handler.default_set(), dataset_spec.arguments)
    labels = label_set(dataset_spec.arguments.get("label", handler.default_label))
    # The sessions to read: those of the handler, its look-back and its look-ahead.
    calendar = provider.calendar
    span = session_range(calendar, dataset_spec.start_time, dataset_spec.end_time)
    if span.start == span.stop:
        raise WorkflowError(
            f"no session between start_time {dataset_spec.start_time} and end_time "
            f"{dataset_spec.end_time}: the calendar of {provider.root} spans "
            f"{calendar[0]:%Y-%m-%d} to {calendar[-1]:%Y-%m-%d}"
        )
    first = max(0, span.start - max(features.look_back, labels.look_back))
    last = min(len(calendar), span.stop + labels.look_ahead)
    panel = provider.panel(
        universe,
        calendar[first],
        calendar[last - 1],
        sorted(features.fields | labels.fields),
        keep_suspended=spec.semantics == "qlib",
        vwap=spec.provider.vwap,
    )
    # Only instruments with bars are members.
    codes = panel.instruments
    if isinstance(universe, Universe):  # the provider has logged those without a folder
        spans = universe.spans[universe.spans["instrument"].isin(codes)]
        instruments: Any = Universe(spans, name=universe.name)
    else:
        instruments = [code for code in universe if code in codes]
    # The handler and the dataset, in the form of qlib's configuration.
    kwargs = {
        **dataset_spec.arguments,
        "bars": panel,
        "instruments": instruments,
        "start_time": dataset_spec.start_time,
        "end_time": dataset_spec.end_time,
        "semantics": spec.semantics,
        "feature_set": features,
    }
    options: dict[str, Any] = {}
    if dataset_spec.step_len is not None:
        rows = "fetched" if spec.semantics == "qlib" else "infer"
        options = {"step_len": dataset_spec.step_len, "window_rows": rows}
    with warnings.catch_warnings():  # the notes of the file say so already
        warnings.filterwarnings("ignore", message=".*takes every column, the label included")
        dataset = DATASETS[dataset_spec.dataset](
            {"class": dataset_spec.handler, "kwargs": kwargs}, dataset_spec.segments, **options
        )
    return dataset, list(codes), horizon_of(labels.nodes[0])


def _segment(dataset: DatasetH, name: str) -> Segment:
    """Describe the content of a segment; an empty one is an error."""
    bounds = slice(*dataset.segments[name])
    key = "infer" if name == "test" else "learn"
    with asked_by(f"task.dataset.kwargs.segments.{name}"):
        rows = dataset.handler.fetch(bounds, col_set="label", data_key=key).index
        days = rows.get_level_values("datetime").unique()
        if not len(days):
            sessions = dataset.handler.sessions()
            raise WorkflowError(
                f"the segment {name!r}, {bounds.start} to {bounds.stop}, has no row: those of the "
                f"handler run from {sessions[0]:%Y-%m-%d} to {sessions[-1]:%Y-%m-%d}"
            )
    return Segment(name, days.min(), days.max(), len(days), len(rows))


def _backtest_sessions(
    calendar: pd.DatetimeIndex, spec: PortfolioSpec, test: Segment
) -> pd.DatetimeIndex:
    """Select the sessions of the backtest."""
    start = test.first if spec.start_time is None else spec.start_time
    first = session_range(calendar, start, None).start
    if spec.end_time is None:  # the scores of the last session are traded on the next
        stop = min(len(calendar), session_range(calendar, None, test.last).stop + 1)
    else:
        stop = session_range(calendar, None, spec.end_time).stop
    if first >= stop:
        raise WorkflowError(
            f"no session between the backtest's start_time {spec.start_time} and end_time "
            f"{spec.end_time}: the calendar spans {calendar[0]:%Y-%m-%d} to "
            f"{calendar[-1]:%Y-%m-%d}"
        )
    return pd.DatetimeIndex(calendar[first:stop], name="datetime")


def _backtest_bars(
    provider: QlibProvider,
    codes: Sequence[str],
    sessions: pd.DatetimeIndex,
    portfolio: PortfolioSpec,
    spec: WorkflowSpec,
) -> tuple[PortfolioConfig, pd.DataFrame, tuple[str, ...]]:
    """Read closes, deal prices and factors; a suspended name has no row.

    As in qlib lots count only if every bar has a factor; otherwise settings and notes say so.
    """
    config = portfolio.config
    fields = list(dict.fromkeys(["close", config.deal_price]))
    lots = config.trade_unit is not None and not provider.without_field(codes, FACTOR)
    before = int(provider.calendar.searchsorted(sessions[0])) - CHANGE_SESSIONS
    with asked_by(f"{portfolio.key}.exchange_kwargs.deal_price"):
        bars = provider.bars(
            codes,
            provider.calendar[max(0, before)],
            sessions[-1],
            [*fields, FACTOR] if lots else fields,
            vwap=spec.provider.vwap,
        )
    bars = bars[bars["close"].notna()]
    if config.trade_unit is None or (lots and bool((bars[FACTOR] > 0).all())):
        return config, bars, ()
    return dataclasses.replace(config, trade_unit=None), bars, (NO_LOTS,)


def _benchmark(
    provider: QlibProvider,
    spec: PortfolioSpec,
    sessions: pd.DatetimeIndex,
    semantics: Semantics,
) -> pd.Series[Any] | None:
    """Average the simple returns of the benchmark's codes on each session.

    In strict semantics the return after sessions without a close is the return over these sessions;
    in qlib's it is missing, on the next session too. A mean over no code is 0.
    """
    said = "" if spec.names_benchmark else " (not given, so qlib's default)"
    with asked_by(f"{spec.key}.benchmark{said}"):
        closes = [_benchmark_close(provider, code, sessions) for code in spec.benchmark]
    if semantics == "strict":
        closes = [close.ffill() for close in closes]
    returns = [(close / close.shift(1) - 1).reindex(sessions) for close in closes]
    if not returns:
        return None
    codes = spec.benchmark
    name = ", ".join(codes) if len(codes) <= 3 else f"mean of {len(codes)} codes"
    mean = pd.concat(returns, axis=1).mean(axis=1).fillna(0.0)
    return mean.astype("float64").rename(name)


def _benchmark_close(
    provider: QlibProvider, code: str, sessions: pd.DatetimeIndex
) -> pd.Series[Any]:
    """Read the closes of a benchmark, which must cover the backtest."""
    try:
        close = provider.series(code, "close")
    except ProviderError as error:
        raise WorkflowError(f"{error} (name another one, or null for none)") from error
    if close.index[0] > sessions[0] or close.index[-1] < sessions[-1]:
        raise WorkflowError(
            f"the benchmark {code} has closes from {close.index[0]:%Y-%m-%d} to "
            f"{close.index[-1]:%Y-%m-%d}, the backtest runs from {sessions[0]:%Y-%m-%d} to "
            f"{sessions[-1]:%Y-%m-%d}: move it, name another benchmark, or null for none"
        )
    return close
