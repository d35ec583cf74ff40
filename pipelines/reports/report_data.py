"""Data of the reports: scores, labels and bars of a market, in the form of the library.

Rows are indexed by (datetime, instrument); the datetime of a score and of a label is the decision
session. Trivial baselines stand beside the models, so that a reader sees whether the networks earn
their keep: reversal and momentum of the bars, and a ridge regression on the very rows and features
that the models are trained on, unless a model of the family `linear` is that already.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipelines.bars.adjustment import load_bars
from pipelines.errors import PipelineError
from pipelines.market.chunks import PART_ROWS_AT_ONCE, chunks_of_rows
from pipelines.market.dataset import Dataset
from pipelines.market.extra_table import read_columns
from pipelines.market.market import ENSEMBLE, LABEL_NAME, Market
from pipelines.market.stage import Kind, Stage, by_model
from pipelines.training.learning_data import LearningRows, features_for
from pipelines.training.processors import ProcessorState, to_index
from pipelines.warehouse.schemas import EXTRA

if TYPE_CHECKING:
    from rnn_core.models import LinearModel
    from rnn_core.models.samples import Samples

_MOST_FITS = 12  # of the ridge regression, spread evenly over the trained sessions


@dataclass(frozen=True)
class ModelScores:
    """Scores of one model.

    Attributes:
        score: scores of every decision, the mean over the networks.
        seeds: scores of each network if all sessions have the same number of several, else none.
    """

    score: pd.Series
    seeds: tuple[pd.Series, ...] = ()


class ReportData:
    """A market's predictions, labels and bars; each part is read when it is first asked for.

    Args:
        market: the market.
        stages: its stages.
        needed_by: name of the report, for messages.

    Attributes:
        gaps: sentences on what could not be read, as it is found.
    """

    def __init__(self, market: Market, stages: Sequence[Stage], needed_by: str) -> None:
        self.market = market
        self._predictions = by_model(stages, Kind.PREDICTION)
        self._ensemble = self._predictions.pop(ENSEMBLE, None)
        self._needed_by = needed_by
        self.gaps: list[str] = []

    def rows(self, table: str, columns: list[str] | None = None) -> pd.DataFrame | None:
        """Every row of a table; None if it has no partition."""
        keys = self.market.warehouse.sessions(table)
        if not keys:
            return None
        return self.market.warehouse.read(
            table, keys, needed_by=self._needed_by, columns=columns
        ).frame

    @cached_property
    def scores(self) -> dict[str, ModelScores]:
        """Scores by model; a model without a prediction is left out."""
        scores = {}
        for model, stage in self._predictions.items():
            rows = self.rows(stage.name, ["instrument", "score", "seed_scores"])
            if rows is not None and not rows.empty:
                scores[model] = _model_scores(rows)
        return scores

    @cached_property
    def ensemble(self) -> pd.Series | None:
        """Scores of the ensemble; None if it has no rows.

        They are those of its partitions, which are traded. Without the section `ensemble` they are
        the rank average of the scores of its models, where there are two or more.
        """
        from rnn_core.evaluation import rank_average

        if self._ensemble is not None:
            rows = self.rows(self._ensemble.name, ["instrument", "score"])
            if rows is not None and not rows.empty:
                index = _index(rows["date"], rows["instrument"])
                scores = rows["score"].to_numpy(dtype="float64")
                return pd.Series(scores, index=index).sort_index()
        names = [name for name in self.market.ensemble_models if name in self.scores]
        if len(names) < 2:
            return None
        average = rank_average([self.scores[name].score for name in names])
        return average if len(average) else None

    @cached_property
    def labels(self) -> pd.Series:
        """Raw returns of the default dataset that have matured, by decision."""
        rows = self.rows(self.market.datasets[0].label, ["instrument", "decision_date", "label"])
        if rows is None or rows.empty:
            return pd.Series(dtype="float64", index=_index([], []))
        index = _index(pd.to_datetime(rows["decision_date"]), rows["instrument"])
        return pd.Series(rows["label"].to_numpy(dtype="float64"), index=index).sort_index()

    @cached_property
    def first(self) -> pd.Timestamp:
        """The first decision that has a score."""
        firsts = [
            one.score.index.get_level_values("datetime").min() for one in self.scores.values()
        ]
        return pd.Timestamp(min(firsts))

    @cached_property
    def bars(self) -> pd.DataFrame:
        """Adjusted bars, `factor` and `member`, from 61 sessions before the first score on."""
        market = self.market
        start = market.sessions.window(f"{self.first:%Y-%m-%d}", 62)[0]
        keys = tuple(k for k in market.warehouse.sessions("ohlcv") if k >= start)
        bars, parts = load_bars(market, keys, self._needed_by)
        bars["factor"] = parts.frame["adj_factor"].to_numpy()
        bars["member"] = parts.frame["member"].to_numpy(dtype=bool)
        return bars.set_index(["date", "instrument"]).rename_axis(["datetime", "instrument"])

    @cached_property
    def groups(self) -> pd.Series | None:
        """The group of each bar at its session, `evaluation.by_group`; None without one."""
        name = self.market.config.evaluation.by_group
        if name is None:
            return None
        stored_keys = self.market.warehouse.sessions(EXTRA)
        keys = [key for key in stored_keys if pd.Timestamp(key) >= self.first]
        read = read_columns(self.market, (name,), keys, self._needed_by) if keys else None
        if read is None or read.frame[name].isna().all():
            self.gaps.append(f"no bar since {self.first:%Y-%m-%d} has a value of {name}: no groups")
            return None
        index = _index(read.frame["date"], read.frame["instrument"])
        return pd.Series(read.frame[name].to_numpy(dtype=object), index=index, name=name)

    @cached_property
    def coverage(self) -> pd.DataFrame:
        """Bars, members among them and bars set aside, by closed session of the market's span.

        Returns:
            T rows with `bars`, `members`, `quarantined`; NaN for a session without a partition.
        """
        market = self.market
        keys = market.sessions.between(market.sessions.first, market.last_closed())
        stored_keys = [key for key in market.warehouse.sessions("ohlcv") if key in market.sessions]
        bars, aside = self.rows("ohlcv", ["member"]), self.rows("ohlcv_quarantine", ["instrument"])
        counts = pd.DataFrame(
            {
                "bars": _by_day(bars),
                "members": _by_day(None if bars is None else bars[bars["member"]]),
                "quarantined": _by_day(aside),
            }
        ).reindex(pd.DatetimeIndex(stored_keys))
        return counts.fillna(0.0).reindex(pd.DatetimeIndex(keys))

    def baselines(self) -> dict[str, pd.Series]:
        """Trivial scores of members, from the first decision that has a score on."""
        from rnn_core.evaluation import momentum, reversal

        member = self.bars["member"]
        members = member[member & (member.index.get_level_values(0) >= self.first)].index
        scores = {"reversal": reversal(self.bars), "momentum": momentum(self.bars)}
        baselines = {name: one.reindex(members).dropna() for name, one in scores.items()}
        if not self._has_linear:  # a linear model on the same rows says it better
            baselines["ridge"] = self._ridge()
        return {name: one for name, one in baselines.items() if len(one)}

    @property
    def _has_linear(self) -> bool:
        """True if a linear model of the default dataset has scores."""
        default = self.market.datasets[0].name
        return any(
            spec.family == "linear"
            and self.market.dataset_of(spec.name).name == default
            and spec.name in self.scores
            for spec in self.market.models
        )

    def _ridge(self) -> pd.Series:
        """Ridge scores of every session with a model, refitted on evenly spaced anchors.

        Each fit sees what a model as of its anchor sees, so no score knows a later label.
        """
        market, dataset = self.market, self.market.datasets[0]
        stored_keys = market.warehouse.sessions(dataset.features_read)
        served_keys = [key for key in stored_keys if self._is_served(key)]
        if not served_keys:
            return pd.Series(dtype="float64", index=_index([], []))
        first = market.sessions.position(market.plan.first_trained)
        every = max(market.plan.retrain_every, -(-len(served_keys) // _MOST_FITS))
        parts, reasons = [], {}
        for start in range(first, market.sessions.position(served_keys[-1]) + 1, every):
            anchor = market.sessions.keys[start]
            scored_keys = [k for k in served_keys if anchor <= k < self._end(start + every)]
            if not scored_keys:
                continue
            try:
                fit, state = _fitted(market, dataset, anchor, self._needed_by)
                scores = []
                for keys in chunks_of_rows(
                    market.warehouse, dataset.features_read, scored_keys, PART_ROWS_AT_ONCE
                ):
                    rows = features_for(market, dataset, keys, state, self._needed_by).frame
                    members = to_index(rows[rows["member"]], list(dataset.columns))
                    scores.append(pd.Series(fit.predict(_samples(members)), members.index))
                parts += scores  # of an anchor all or none
            except PipelineError as error:
                reasons[anchor] = str(error)  # its history is gone: its sessions have no baseline
        if reasons:
            anchor, reason = next(iter(reasons.items()))
            self.gaps.append(
                f"no ridge baseline was fitted at {len(reasons)} of its anchors, the first "
                f"{anchor}: {reason}"
            )
        return pd.concat(parts) if parts else pd.Series(dtype="float64", index=_index([], []))

    def _is_served(self, key: str) -> bool:
        return key >= self.market.plan.first_trained and pd.Timestamp(key) >= self.first

    def _end(self, position: int) -> str:
        keys = self.market.sessions.keys
        return keys[position] if position < len(keys) else "9999-12-31"


def _fitted(
    market: Market, dataset: Dataset, anchor: str, needed_by: str
) -> tuple[LinearModel, ProcessorState]:
    """Fit a ridge regression on the members' rows that models as of an anchor learn from.

    The window is read in parts and held once, in float32, as that of a training is.
    """
    from rnn_core.data import RowStack
    from rnn_core.models import LinearModel

    reader = LearningRows(market, dataset, anchor, needed_by)
    first, columns = pd.Timestamp(reader.window.train[0]), list(dataset.columns)
    rows, labels = RowStack(), list[NDArray[np.float32]]()
    for part in reader:
        learned = part["member"] & (part["date"] >= first) & part[LABEL_NAME].notna()
        rows.add(to_index(part[learned], columns))
        labels.append(part.loc[learned, LABEL_NAME].to_numpy(dtype=np.float32))
        del part, learned  # a part less while the next one is read
    model = LinearModel(alpha=1.0)
    model.fit(_samples(rows.frame(), np.concatenate(labels)), None, seed=0, threads=1)
    return model, reader.state


def _samples(rows: pd.DataFrame, label: NDArray[np.float32] | None = None) -> Samples:
    """The rows of a frame, (datetime, instrument), as windows of one session."""
    from rnn_core.models.samples import Samples

    values = rows.to_numpy(dtype=np.float32)
    return Samples(
        lambda first, stop: values[first:stop, None],
        cast(pd.MultiIndex, rows.index),
        list(rows.columns),
        steps=1,
        label=label,
    )


def _by_day(rows: pd.DataFrame | None) -> pd.Series:
    """The number of rows by session."""
    days = pd.Series(dtype="datetime64[ns]") if rows is None else pd.to_datetime(rows["date"])
    return days.value_counts().astype("float64")


def _model_scores(rows: pd.DataFrame) -> ModelScores:
    """The scores of a model from its partitions' rows."""
    index = _index(rows["date"], rows["instrument"])
    score = pd.Series(rows["score"].to_numpy(dtype="float64"), index=index).sort_index()
    several = rows["seed_scores"].dropna()
    if len(several) < len(rows) or len(set(several.map(len))) != 1:
        return ModelScores(score)
    each = np.stack(several.to_list(), axis=1)  # [K, S]
    return ModelScores(score, tuple(pd.Series(one, index=index).sort_index() for one in each))


def _index(days: Any, names: Any) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays(
        [pd.DatetimeIndex(days), np.asarray(names, dtype=object)],
        names=["datetime", "instrument"],
    )
