"""`compare`: models of markets and runs of `qrun` side by side, on the rows that all of them have.

`rnn_core.evaluation.compare_signals` does the statistics. A model of a market enters with the
scores that it published. All signals are measured on the labels of the first, of a market those of
its default dataset, and a note says where those of another differ.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from pipelines.assets.stages import stages
from pipelines.config.loader import CONFIGS, DEFAULT_CONFIG, ENV_CONFIG, config_path, load_config
from pipelines.errors import PipelineError, did_you_mean
from pipelines.instance.market_list import config_of, markets_of
from pipelines.market.market import Market
from pipelines.market.paths import data_root
from pipelines.market.stage import Kind, Stage, by_model
from pipelines.reports.report_data import ReportData
from rnn_core.features import horizon_of

if TYPE_CHECKING:
    from rnn_core.evaluation import Comparison

_RUN_FILES = ("predictions.parquet", "label.parquet")
_TITLES = {"ic": "IC", "rank_ic": "rank IC"}
_KEYS = ["datetime", "instrument"]


@dataclass(frozen=True, eq=False)
class Signal:
    """One signal that is compared.

    Attributes:
        name: `market.model`, or the folder of a run.
        identity: what it is, however it is named.
        scores: index (datetime, instrument).
        labels: simple returns that followed, likewise.
        horizon: sessions that a label holds.
    """

    name: str
    identity: str
    scores: pd.Series
    labels: pd.Series
    horizon: int


def compare(
    words: Sequence[str], config: str | None, start: str | None = None, end: str | None = None
) -> Comparison:
    """Compare the signals that some words name.

    Args:
        words: models, markets or folders of runs.
        config: the market whose models may be named without it; None for the default one.
        start: the first decision session; None for all.
        end: the last decision session.

    Returns:
        The tables; notes say what was left out, named twice or measured on other labels.

    Raises:
        PipelineError: a word names nothing, fewer than two signals are left, or they have no row
            in common.
    """
    from rnn_core.evaluation import compare_signals

    reader = _Reader(config)
    signals: dict[str, Signal] = {}
    notes = []
    for word in words:
        for signal in reader.read(word):
            if signal.identity in signals:
                notes.append(f"{signal.name} is named twice, and compared once")
            else:
                signals[signal.identity] = signal
    notes += reader.notes
    chosen = [_between(signal, start, end) for signal in signals.values()]
    if len(chosen) < 2:
        names = ", ".join(signal.name for signal in chosen)
        raise PipelineError(
            f"a comparison needs two signals, and {' '.join(words)} names one: {names}; name "
            f"another model, market or folder of qrun beside it"
        )
    notes += _label_notes(chosen)
    spans = "; ".join(f"{signal.name} {_span(signal.scores)}" for signal in chosen)
    rows = chosen[0].scores.index
    for signal in chosen[1:]:
        rows = rows.intersection(signal.scores.index)
    if rows.empty:
        raise PipelineError(
            f"the signals have no session and name in common: {spans}; compare signals of the same "
            f"days, whose instruments are spelt alike"
        )
    if len({_span(signal.scores) for signal in chosen}) > 1:
        notes.append(
            f"the signals have other sessions or names: {spans}; compared are {_span(rows)}"
        )
    scores = {signal.name: signal.scores for signal in chosen}
    result = compare_signals(scores, chosen[0].labels, ensemble=False, horizon=chosen[0].horizon)
    return replace(result, notes=(*notes, *result.notes))


class _Reader:
    """Reads signals by the words of a command line; a market is opened once.

    Args:
        config: the market of models that are named alone.

    Attributes:
        notes: sentences on models that were left out.
    """

    def __init__(self, config: str | None) -> None:
        self._config = config
        self._markets: dict[str, tuple[Market, ReportData, tuple[Stage, ...]]] = {}
        self.notes: list[str] = []

    def read(self, word: str) -> Iterator[Signal]:
        """The signals that a word names.

        Raises:
            PipelineError: it names nothing, or a model without scores.
        """
        folder = Path(word)
        if all((folder / name).is_file() for name in _RUN_FILES):
            yield _run(folder)
            return
        known = markets_of(data_root())
        market, _, model = word.rpartition(".")
        is_market = market in known or (CONFIGS / f"{market}.yaml").is_file()
        if is_market and not folder.is_file():
            yield self._model(self._market_of(market, known), model)
            return
        own = self._own_models()
        if word in own:
            yield self._model(own[word], word)
            return
        if word in known or folder.is_file() or (CONFIGS / f"{word}.yaml").is_file():
            market_name = self._market_of(word, known)
            models = self._models(market_name)
            made = [name for name in models if self._has_scores(market_name, name)]
            if made:  # else the first says what to run
                absent = [f"{market_name}.{name}" for name in models if name not in made]
                self.notes += [f"{name} has no scores yet and is left out" for name in absent]
            for name in made or models:
                yield self._model(market_name, name)
            return
        if folder.is_dir():
            raise PipelineError(
                f"{folder} is no folder that qrun has written: it lacks "
                f"{' and '.join(n for n in _RUN_FILES if not (folder / n).is_file())}"
            )
        names = [*own, *known, *(path.stem for path in CONFIGS.glob("*.yaml"))]
        raise PipelineError(
            f"{word!r} is no model, market or folder of qrun; {did_you_mean(word, names)}, or "
            f"write a model as MARKET.MODEL"
        )

    def _own_models(self) -> dict[str, str]:
        """The market of the models that may be named alone; none where it cannot be read."""
        named = self._config or os.environ.get(ENV_CONFIG) or DEFAULT_CONFIG
        try:
            market = self._open(named)
        except PipelineError:
            if self._config:
                raise
            return {}
        return dict.fromkeys(self._models(market), market)

    def _market_of(self, word: str, known: dict[str, str | None]) -> str:
        """Open the market of a name or a YAML, and return its name."""
        is_name = word in known and not Path(word).is_file()
        return self._open(config_of(data_root(), word) if is_name else word)

    def _open(self, named: str) -> str:
        path = str(config_path(named))
        if path not in self._markets:
            market = Market(load_config(named), named=named, read_only=True)
            table = stages(market)
            opened = market, ReportData(market, table, "compare"), table
            self._markets[path] = self._markets[market.config.name] = opened
        return self._markets[path][0].config.name

    def _models(self, name: str) -> tuple[str, ...]:
        """The models of an open market, in the order of its assets."""
        return tuple(by_model(self._markets[name][2], Kind.PREDICTION))

    def _has_scores(self, name: str, model: str) -> bool:
        market, _, table = self._markets[name]
        return market.warehouse.store.has_partitions(by_model(table, Kind.PREDICTION)[model].name)

    def _model(self, name: str, model: str) -> Signal:
        market, data, table = self._markets[name]
        predictions = by_model(table, Kind.PREDICTION)
        if model not in predictions:
            raise PipelineError(
                f"{name} has no model {model!r}; {did_you_mean(model, predictions)}"
            )
        rows = data.rows(predictions[model].name, ["instrument", "score"])
        if rows is None or rows.empty:
            raise PipelineError(
                f"{name}.{model} has no scores yet; run `{market.command('demo')}` first"
            )
        scores = _series(rows.rename(columns={"date": "datetime"}), "score")
        root = market.paths.root.resolve()
        horizon = market.datasets[0].label_horizon
        return Signal(f"{name}.{model}", f"{root} {model}", scores, data.labels, horizon)


def _run(folder: Path) -> Signal:
    """The signal of a folder that `qrun` has written.

    Raises:
        PipelineError: its files cannot be read.
    """
    try:
        scores, labels = (pd.read_parquet(folder / name) for name in _RUN_FILES)
        return Signal(
            str(folder),
            str(folder.resolve()),
            _series(scores, "score"),
            _series(labels, str(labels.columns.difference(_KEYS)[0])),
            _run_horizon(folder / "handler.json"),
        )
    except (OSError, ValueError, KeyError, IndexError) as error:
        raise PipelineError(f"{folder} is a damaged folder of qrun: {error}") from error


def _run_horizon(handler: Path) -> int:
    """The horizon of a run's first label; 1 in a folder without the state of a handler."""
    if not handler.is_file():
        return 1
    from rnn_core.data.labels import label_set

    label = json.loads(handler.read_text(encoding="utf-8"))["label"]
    return horizon_of(label_set(label).nodes[0])


def _series(rows: pd.DataFrame, column: str) -> pd.Series:
    """A column by (datetime, instrument), rows without a value left out."""
    days = pd.to_datetime(rows["datetime"]).dt.as_unit("ns")
    index = pd.MultiIndex.from_arrays([days, rows["instrument"].astype(object)], names=_KEYS)
    return pd.Series(rows[column].to_numpy(dtype=np.float64), index=index).dropna().sort_index()


def _between(signal: Signal, start: str | None, end: str | None) -> Signal:
    """The signal on the decisions of a span.

    Raises:
        PipelineError: none is left.
    """
    days = signal.scores.index.get_level_values("datetime")
    first, last = pd.Timestamp(start or days.min()), pd.Timestamp(end or days.max())
    scores = signal.scores[(days >= first) & (days <= last)]
    if scores.empty:
        raise PipelineError(
            f"{signal.name} has no score from {start or 'its first session'} to "
            f"{end or 'its last'}: it has {_span(signal.scores)}"
        )
    return replace(signal, scores=scores)


def _span(rows: pd.Series | pd.Index) -> str:
    """The span of some rows in words."""
    index = rows.index if isinstance(rows, pd.Series) else rows
    days, names = index.get_level_values("datetime"), index.get_level_values("instrument")
    return (
        f"{days.min():%Y-%m-%d} to {days.max():%Y-%m-%d} ({days.nunique()} sessions, "
        f"{names.nunique()} names)"
    )


def _label_notes(signals: Sequence[Signal]) -> Iterator[str]:
    """Sentences on signals whose own labels are not those that all are measured on."""
    first = signals[0]
    for signal in signals[1:]:
        both = pd.concat({"a": first.labels, "b": signal.labels}, axis=1, join="inner").dropna()
        differ = int((~np.isclose(both["a"], both["b"], rtol=1e-4, atol=1e-6)).sum())
        if differ:
            yield (
                f"the labels of {signal.name} differ from those of {first.name} on {differ} of "
                f"{len(both)} rows; all signals are measured on those of {first.name}"
            )


def rows_of(result: Comparison) -> pd.DataFrame:
    """The figures as one table: a row a signal or pair, and statistic.

    Returns:
        Columns statistic (ic, rank_ic), a, b (empty for a signal by itself), days, mean (of a, or
        of a − b), ir (of a signal: ICIR), se_nw, t_nw, p_holm and p_nw (of a pair), low and high
        (95%; of a pair those of the bootstrap).
    """
    rows: list[dict[str, Any]] = []
    for name in _TITLES:
        for signal, row in result.summary.iterrows():
            own = {key: row[f"{name}_{key}"] for key in ("ir", "se_nw", "t_nw")}
            ends = {"low": row[f"{name}_ci_low"], "high": row[f"{name}_ci_high"]}
            rows.append(
                {"statistic": name, "a": signal, "b": "", "days": row["days"], "mean": row[name]}
                | own | ends
            )  # fmt: skip
        pairs = result.differences[result.differences["statistic"] == name]
        renamed = {"difference": "mean", "boot_low": "low", "boot_high": "high"}
        rows += [
            {str(key): value for key, value in row.items()}
            for row in pairs.rename(columns=renamed).to_dict("records")
        ]
    columns = ["statistic", "a", "b", "days", "mean", "ir", "se_nw", "t_nw", "p_nw", "p_holm",
               "low", "high"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def text_of(result: Comparison) -> str:
    """The figures as tables for a terminal."""
    summary, parts = result.summary, []
    table = {"sessions": summary["days"].map("{:.0f}".format)}
    for name, title in _TITLES.items():
        ratio = "ICIR" if name == "ic" else "rank ICIR"
        table |= {
            title: summary[name].map("{:.4f}".format),
            ratio: summary[f"{name}_ir"].map("{:.3f}".format),
            f"t ({title})": summary[f"{name}_t_nw"].map("{:.2f}".format),
        }
    parts.append(pd.DataFrame(table).rename_axis(None).to_string())
    for name, title in _TITLES.items():
        pairs = result.differences[result.differences["statistic"] == name]
        parts.append(
            f"paired daily difference in {title} (t of Newey and West, 95% of the bootstrap)\n"
            + pd.DataFrame(
                {
                    "": pairs["a"] + " − " + pairs["b"],
                    "sessions": pairs["days"],
                    "mean": pairs["difference"].map("{:.4f}".format),
                    "from": pairs["boot_low"].map("{:.4f}".format),
                    "to": pairs["boot_high"].map("{:.4f}".format),
                    "t": pairs["t_nw"].map("{:.2f}".format),
                    "p": pairs["p_nw"].map("{:.3f}".format),
                    "p (Holm)": pairs["p_holm"].map("{:.3f}".format),
                }
            ).to_string(index=False)
        )
    return "\n\n".join(parts)


def picture(result: Comparison, path: str) -> Path:
    """Draw the comparison.

    Args:
        result: the comparison.
        path: of the PNG; its folder is made if need be.

    Raises:
        PipelineError: the file cannot be written.
    """
    from rnn_core.evaluation import plot_comparison, to_png

    try:
        return to_png(plot_comparison(result), path)
    except OSError as error:
        raise PipelineError(f"--out {path} cannot be written: {error}") from error
