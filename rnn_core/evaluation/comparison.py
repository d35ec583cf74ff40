"""Comparison of signals, with tests of their differences.

`compare_signals` sets models, their ensemble and trivial baselines on one sample, with the spread
over seeds, and tests every difference in mean IC.
The sample is common, because a mean IC over more names or other days is another quantity: by
default only rows that every signal has are compared, and the notes count the other rows.
The tests are paired, because the ICs of two signals on a day move together, so that their daily
difference is far less noisy than either. A Newey-West t and a circular block bootstrap, which
assumes no normal distribution, test the difference; if the two disagree, believe neither. Of many
pairs some p values below 0.05 are luck: `p_holm` is corrected for their number.
A model with several seeds enters with the mean over seeds of each daily figure; ratios such as ICIR
are means of the seeds' own, since the mean series is smoother than any training. The spread over
seeds is in `seeds`. The ensemble is the mean over models of the cross-sectional rank (in (0, 1)) of
each, over its seeds first, or scores that are given.

Shapes: `S` rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd

from rnn_core.evaluation.align import by_session_and_name
from rnn_core.evaluation.analysis import daily_statistics
from rnn_core.evaluation.inference import block_length, bootstrap_interval, holm, mean_test
from rnn_core.evaluation.rank_ensemble import ENSEMBLE, rank_average
from rnn_core.notebook import fact_line, fact_table, span_of
from rnn_core.panel.arrow_frames import as_frame
from rnn_core.panel.frames import one_column

Scores = pd.Series | Sequence[pd.Series]

_DAILY = ("ic", "rank_ic", "long_short", "hit_rate", "turnover", "autocorrelation")
_TESTS = ("ic", "rank_ic")


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Tables about several signals on one sample; formulas are in docs/evaluation.md.

    Attributes:
        summary: index `signal`; kind (model, ensemble, baseline), seeds, days; for ic and rank_ic
            the mean, `*_seed_std`, `*_ir`, `*_se_nw`, `*_t_nw`, `*_ci_low`, `*_ci_high`; means of
            long_short, hit_rate, turnover and autocorrelation.
        seeds: one row a model and statistic: signal, statistic, seeds, mean, std over seeds
            (ddof=1, NaN for one), lowest, highest.
        differences: one row a pair and statistic: a, b, statistic (ic, rank_ic), days, difference
            (mean of a - b), se_nw, t_nw, p_nw, p_holm (corrected for the number of pairs of the
            statistic), lags, boot_low, boot_high, block.
        ic: daily IC, one column a signal.
        rank_ic: daily rank IC, one column a signal.
        scores: the ensemble's scores on all of its rows, None without one.
        notes: sentences about the sample.
        horizon: sessions of the label.

    Examples:
        >>> isinstance(comparison, Comparison), comparison.summary.index.tolist()
        (True, ['planted', 'reversal', 'ensemble'])
    """

    summary: pd.DataFrame
    seeds: pd.DataFrame
    differences: pd.DataFrame
    ic: pd.DataFrame
    rank_ic: pd.DataFrame
    scores: pd.Series | None
    notes: tuple[str, ...]
    horizon: int = 1

    def _facts(self) -> dict[str, str]:
        return {"signals": ", ".join(map(str, self.summary.index)), **span_of(self.ic.index)}

    def __repr__(self) -> str:
        return fact_line(self, self._facts())

    def _repr_html_(self) -> str:
        columns = ["days", "ic", "ic_ir", "ic_t_nw", "rank_ic", "rank_ic_ir", "rank_ic_t_nw"]
        return fact_table(self, self._facts(), self.summary[columns])


def compare_signals(
    scores: Mapping[str, Scores],
    labels: pd.Series,
    *,
    baselines: Mapping[str, pd.Series] | None = None,
    ensemble: bool | pd.Series = True,
    common_rows: bool = True,
    quantiles: int = 5,
    lags: int | None = None,
    horizon: int = 1,
    draws: int = 2000,
    block: int | None = None,
    level: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Compare models with each other and with baselines.

    Args:
        scores: by model: its scores indexed by (datetime, instrument), or a sequence of them, one a
            seed.
        labels: simple returns that followed, indexed alike.
        baselines: trivial scores by name (`rnn_core.evaluation.baselines`).
        ensemble: add the rank average of the models, if there are two or more, or these scores:
            those of an ensemble that is traded are compared as they are traded.
        common_rows: compare only rows that all signals have, so that means are of the same sample.
        quantiles: score buckets.
        lags: of the Newey-West errors, None for the automatic length.
        horizon: sessions that a label holds, h. Labels of neighbouring sessions overlap by h - 1,
            so at least as many lags are taken, and longer blocks.
        draws: resamples of the bootstrap.
        block: sessions of a bootstrap block; None for max(T^(1/3), lags + 1).
        level: of the bootstrap intervals.
        seed: of the bootstrap; every difference is resampled with the same blocks.

    Returns:
        The tables; pairs of `differences` are in the order of `summary`, a before b.

    Raises:
        ValueError: no model, a name used twice, duplicated rows, no row in common, or a horizon
            below 1.

    Examples:
        >>> comparison.differences[["a", "b"]].drop_duplicates().values.tolist()
        [['planted', 'reversal'], ['planted', 'ensemble'], ['reversal', 'ensemble']]
    """
    # The signals: models, their ensemble and baselines, on the rows that all of them have.
    baselines = dict(baselines or {})
    models = {name: _seeds(name, model_scores) for name, model_scores in scores.items()}
    if not models:
        raise ValueError("scores is empty, expected one model or more by name")
    duplicates = (set(models) & set(baselines)) | ({ENSEMBLE} & (set(models) | set(baselines)))
    if duplicates:
        raise ValueError(
            f"{sorted(duplicates)} names two signals: rename one, {ENSEMBLE!r} is reserved"
        )
    kinds = dict.fromkeys(models, "model")
    signals = dict(models)
    average: pd.Series | None = None
    ensemble_notes: list[str] = []
    if isinstance(ensemble, pd.Series):
        average = one_column(ensemble, ENSEMBLE)
    elif ensemble and len(models) > 1:
        average = rank_average([rank_average(runs) for runs in models.values()])
    if average is not None:
        if len(average) or common_rows:
            signals[ENSEMBLE], kinds[ENSEMBLE] = [average], "ensemble"
        else:
            average, ensemble_notes = None, ["no ensemble: the models share no row"]
    for name, series in baselines.items():
        signals[name], kinds[name] = [one_column(series, name)], "baseline"
    notes: list[str] = []
    if common_rows:
        signals, notes = _common(signals)
    notes += ensemble_notes
    # The daily figures of a model are the means over its seeds.
    daily, spread, n_pairs = {}, {}, 0
    for name, runs in signals.items():
        parts = [daily_statistics(run, labels, quantiles=quantiles) for run in runs]
        spread[name] = _spread(parts)
        n_pairs += sum(int(part["n"].sum()) for part in parts)
        daily[name] = pd.concat([part[list(_DAILY)] for part in parts]).groupby(level=0).mean()
    tables = {s: pd.DataFrame({name: frame[s] for name, frame in daily.items()}) for s in _TESTS}
    if tables["ic"].isna().all(axis=None):
        reason = (
            "none has two names with score and label that are not all equal"
            if n_pairs
            else "the labels cover none of the scored rows (yet)"
        )
        notes.append(f"no session has an IC: {reason}")
    elif tables["ic"].isna().all(axis=1).any():
        count = int(tables["ic"].isna().all(axis=1).sum())
        notes.append(f"{count} of {len(tables['ic'])} sessions have no IC for any signal")
    summary = pd.DataFrame.from_dict(
        {
            name: {"kind": kinds[name], "seeds": len(runs)}
            | _means(daily[name], spread[name], lags, horizon)
            for name, runs in signals.items()
        },
        orient="index",
    ).rename_axis("signal")
    # Every pair of signals is tested on its daily difference.
    differences = [
        {"a": a, "b": b, "statistic": statistic}
        | _difference(table[a] - table[b], lags, horizon, block, draws, level, seed)
        for statistic, table in tables.items()
        for a, b in combinations(signals, 2)
    ]
    tests = pd.DataFrame(differences, columns=_DIFFERENCE)
    for _, pairs in tests.groupby("statistic"):
        tests.loc[pairs.index, "p_holm"] = holm(pairs["p_nw"].to_numpy(dtype=np.float64))
    return Comparison(
        summary=summary,
        seeds=pd.concat(spread, names=["signal"]).reset_index(),
        differences=tests,
        ic=tables["ic"],
        rank_ic=tables["rank_ic"],
        scores=average,
        notes=tuple(notes),
        horizon=horizon,
    )


def against(comparison: Comparison, references: Sequence[str]) -> pd.DataFrame:
    """Pick the tests of every model and of the ensemble against some references.

    Args:
        comparison: of `compare_signals`.
        references: models that the others have to beat, such as a linear one.

    Returns:
        One row a signal, reference and statistic, in the order of the summary: signal, reference,
        statistic (ic, rank_ic) and the columns of `Comparison.differences`; `difference` is the
        mean of signal - reference. References are held against one another, too, each pair once.

    Raises:
        ValueError: a reference is no signal of the comparison.

    Examples:
        >>> against(comparison, ["reversal"])["signal"].unique().tolist()
        ['planted', 'ensemble']
    """
    kinds = comparison.summary["kind"]
    absent = [name for name in references if name not in kinds.index]
    if absent:
        raise ValueError(f"no signal is called {absent[0]!r}, expected some of {list(kinds.index)}")
    table = comparison.differences
    rows = []
    for signal in kinds.index[kinds != "baseline"]:
        later = references[references.index(signal) + 1 :] if signal in references else references
        for reference in later:
            pair = table[(table["a"] == signal) & (table["b"] == reference)]
            turned = table[(table["a"] == reference) & (table["b"] == signal)]
            rows += [_turned(row, signal, reference, 1.0) for _, row in pair.iterrows()]
            rows += [_turned(row, signal, reference, -1.0) for _, row in turned.iterrows()]
    return pd.DataFrame(rows, columns=["signal", "reference", *_DIFFERENCE[2:]])


def _turned(row: pd.Series, signal: str, reference: str, sign: float) -> dict[str, object]:
    """One test as signal - reference."""
    low, high = sorted([sign * row["boot_low"], sign * row["boot_high"]])
    return {
        **row.drop(["a", "b"]),
        "signal": signal, "reference": reference, "difference": sign * row["difference"],
        "t_nw": sign * row["t_nw"], "boot_low": low, "boot_high": high,
    }  # fmt: skip


_DIFFERENCE = [
    "a", "b", "statistic", "days", "difference", "se_nw", "t_nw", "p_nw", "p_holm", "lags",
    "boot_low", "boot_high", "block",
]  # fmt: skip


def _seeds(name: str, given: Scores) -> list[pd.Series]:
    given = as_frame(given)
    alone = isinstance(given, (pd.Series, pd.DataFrame))
    runs = [one_column(run, name) for run in ([given] if alone else given)]
    if not runs or not all(len(run) for run in runs):
        raise ValueError(
            f"the scores of {name!r} are empty, expected a Series of scores, or one a seed"
        )
    return runs


def _common(
    signals: Mapping[str, Sequence[pd.Series]],
) -> tuple[dict[str, list[pd.Series]], list[str]]:
    """Restrict the signals to the rows that all of them have, with notes about the others."""
    scores: dict[str, list[pd.Series]] = {}
    for name, runs in signals.items():
        scores[name] = []
        for run in runs:
            rows = by_session_and_name(run.index, name)
            series = pd.Series(run.to_numpy(dtype=np.float64, na_value=np.nan), rows)
            scores[name].append(series.dropna())
    indexes: list[pd.Index] = [run.index for runs in scores.values() for run in runs]
    rows_of_all = indexes[0]
    for index in indexes[1:]:
        rows_of_all = rows_of_all if index.equals(rows_of_all) else rows_of_all.intersection(index)
    if not len(rows_of_all):
        sizes = {name: len(runs[0]) for name, runs in scores.items()}
        raise ValueError(
            f"the signals have no row in common (rows: {sizes}): check that instruments and dates "
            "are spelt alike, or pass common_rows=False"
        )
    losses = []
    for name, runs in scores.items():
        n_rows = max(len(run) for run in runs)
        if n_rows > len(rows_of_all):
            losses.append(f"{n_rows - len(rows_of_all)} of {n_rows} of {name}")
    notes = [f"scores not compared because another signal lacks them: {', '.join(losses)}"]
    return {name: [run.reindex(rows_of_all) for run in runs] for name, runs in scores.items()}, (
        notes if losses else []
    )


def _spread(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Compute mean and deviation over seeds of each seed's own figures, by `statistic`."""
    figures = []
    for part in parts:
        tests = {name: mean_test(part[name]) for name in _DAILY}
        statistics = {name: test["mean"] for name, test in tests.items()}
        figures.append(statistics | {f"{name}_ir": tests[name]["ir"] for name in _TESTS})
    table = pd.DataFrame(figures)  # (seeds, statistics)
    columns = {
        "seeds": len(table), "mean": table.mean(), "std": table.std(ddof=1),
        "lowest": table.min(), "highest": table.max(),
    }  # fmt: skip
    return pd.DataFrame(columns).rename_axis("statistic")


def _means(
    daily: pd.DataFrame, spread: pd.DataFrame, lags: int | None, horizon: int
) -> dict[str, float]:
    row: dict[str, float] = {"days": int(daily["ic"].notna().sum())}
    for name in _TESTS:
        test = mean_test(daily[name], lags=lags, horizon=horizon)
        row[name] = test["mean"]
        row[f"{name}_seed_std"] = float(spread["std"][name])
        row[f"{name}_ir"] = float(spread["mean"][f"{name}_ir"])
        row |= {f"{name}_{key}": test[key] for key in ("se_nw", "t_nw", "ci_low", "ci_high")}
    return row | {name: float(daily[name].mean()) for name in _DAILY if name not in _TESTS}


def _difference(
    daily: pd.Series,
    lags: int | None,
    horizon: int,
    block: int | None,
    draws: int,
    level: float,
    seed: int,
) -> dict[str, float]:
    test = mean_test(daily, lags=lags, horizon=horizon)
    size = block if block is not None else block_length(int(test["days"]), int(test["lags"]))
    low, high = bootstrap_interval(daily, draws=draws, block=size, level=level, seed=seed)
    return {
        "days": test["days"], "difference": test["mean"], "se_nw": test["se_nw"],
        "t_nw": test["t_nw"], "p_nw": test["p_nw"], "lags": test["lags"],
        "boot_low": low, "boot_high": high, "block": size,
    }  # fmt: skip
