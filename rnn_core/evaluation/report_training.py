"""The trainings of a report: each beside what its scores have earned since."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from rnn_core.evaluation.plots_many import is_many
from rnn_core.evaluation.report_html import Format, fixed, folded, table

TRAINING_COLUMNS = (
    "model", "as_of", "epochs", "best_epoch", "valid_rank_ic", "sessions", "rank_ic",
)  # fmt: skip
_COUNT, _IC = fixed(0, sign=False), fixed(4)
_SHOWN = 3  # trainings of a model in sight, one where there are many; the others open on a click


def trainings_table(trainings: pd.DataFrame, colors: Mapping[str, str]) -> str:
    """Write the newest trainings of every model, and all of them folded.

    Args:
        trainings: one row a training with `TRAINING_COLUMNS`: as_of (session), epochs (mean over
            seeds; trees of lightgbm, penalties of linear), best_epoch (from 0), valid_rank_ic (on
            the rows that selected the epoch), sessions (that its scores were evaluated on), rank_ic
            (mean over them); newest last.
        colors: by model.

    Returns:
        HTML text; empty without trainings.
    """
    if trainings.empty:
        return ""
    columns: list[tuple[str, str, Format]] = [
        ("epochs\nor steps", "epochs", _COUNT),
        ("best\n(from 0)", "best_epoch", _COUNT),
        ("validation\nrank IC", "valid_rank_ic", _IC),
        ("sessions\nin force", "sessions", _COUNT),
        ("realised\nrank IC", "rank_ic", _IC),
    ]
    header = ["model", "trained at\nthe close of", *(text for text, _, _ in columns)]

    def rows(frame: pd.DataFrame) -> list[list[str]]:
        return [
            [
                str(row["model"]),
                f"{pd.Timestamp(row['as_of']):%Y-%m-%d}",
                *(write(float(row[key])) for _, key, write in columns),
            ]
            for _, row in frame.iterrows()
        ]

    shown = 1 if is_many(trainings["model"].unique()) else _SHOWN
    newest = trainings.groupby("model", sort=False).tail(shown)
    out = table(
        header, rows(newest), colors=colors,
        caption="The validation selected the epoch, so it flatters; realised is the mean over the "
        "sessions that the model was in force and evaluated",
    )  # fmt: skip
    if len(trainings) > len(newest):
        out += folded(f"All {len(trainings)} trainings", table(header, rows(trainings)))
    return out
