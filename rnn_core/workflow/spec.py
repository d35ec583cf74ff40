"""The specification of a workflow: plain frozen values, checked.

The names are those of the file; their meaning is documented in `rnn_core.data` for handler and
dataset, in `rnn_core.estimators` for the model, in `rnn_core.evaluation` for the analyses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rnn_core.data.qlib_bins import Vwap
from rnn_core.evaluation import PortfolioConfig
from rnn_core.panel.frames import Semantics
from rnn_core.panel.session_labels import DateLike
from rnn_core.workflow.yaml_document import Document

Region = Literal["cn", "us"]


@dataclass(frozen=True)
class ProviderSpec:
    """The source of the bars.

    Attributes:
        uri: folder of the provider.
        region: decides the exchange's defaults.
        vwap: "typical" if an absent vwap may be computed.
    """

    uri: str
    region: Region
    vwap: Vwap = None


@dataclass(frozen=True)
class DatasetSpec:
    """Handler, processors and segments.

    Attributes:
        dataset: "DatasetH" or "TSDatasetH".
        handler: "Alpha158", "Alpha158vwap", "Alpha360" or "Alpha360vwap".
        instruments: name of a universe, or codes.
        start_time: first session of the rows, or None.
        end_time: last session of the rows, included, or None.
        arguments: the handler's other arguments, as `rnn_core.data.alpha` takes them.
        segments: name to (start, end), both included.
        step_len: L in sessions, of a TSDatasetH.
        notes: sentences about the processors for a reader of the results.
    """

    dataset: str
    handler: str
    instruments: str | tuple[str, ...]
    start_time: DateLike | None
    end_time: DateLike | None
    arguments: Mapping[str, Any]
    segments: Mapping[str, tuple[Any, Any]]
    step_len: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ModelSpec:
    """The estimator: a class of `rnn_core.estimators` and its arguments."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class SignalSpec:
    """Analysis of the scores.

    Attributes:
        long_short: True if the returns of the best and the worst names are computed too.
        sessions_per_year: annualises those returns.
    """

    long_short: bool = False
    sessions_per_year: float = 252


@dataclass(frozen=True)
class PortfolioSpec:
    """Backtest of the scores.

    Attributes:
        config: of strategy, exchange and account; its lot counts only if the provider has
            a factor for every name.
        start_time: first session, or None for the first with scores.
        end_time: last session, included, or None for the one after the last with scores.
        benchmark: codes whose mean return is the benchmark; none for no benchmark.
        key: the path of the backtest in the file, for messages.
        names_benchmark: False if the benchmark is qlib's default.
    """

    config: PortfolioConfig
    start_time: DateLike | None
    end_time: DateLike | None
    benchmark: tuple[str, ...]
    key: str = "backtest"
    names_benchmark: bool = True


@dataclass(frozen=True)
class WorkflowSpec:
    """A workflow that can be run.

    Attributes:
        document: the file.
        semantics: "qlib" or "strict", of features, processors and portfolio.
        provider: source of the bars.
        dataset: rows and segments.
        model: the estimator.
        signal: analysis of the scores, None if the file asks for none.
        portfolio: backtest of the scores, likewise.
        notes: sentences for a reader of the results.

    Examples:
        >>> isinstance(spec, WorkflowSpec), spec.semantics
        (True, 'qlib')
    """

    document: Document
    semantics: Semantics
    provider: ProviderSpec
    dataset: DatasetSpec
    model: ModelSpec
    signal: SignalSpec | None = None
    portfolio: PortfolioSpec | None = None
    notes: tuple[str, ...] = field(default=())
