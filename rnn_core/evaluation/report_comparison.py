"""The comparison of signals on a report page: all on the same rows, and the tests of pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from rnn_core.evaluation.comparison import Comparison, against
from rnn_core.evaluation.plots_many import is_many
from rnn_core.evaluation.report_html import fixed, folded, remarks, table

_IC, _RATIO, _T = fixed(4), fixed(2), fixed(1)
_BP, _SHARE = fixed(1, scale=1e4), fixed(0, scale=100, unit="%", sign=False)
_COUNT, _P = fixed(0, sign=False), fixed(3, sign=False)


def comparison_tables(
    comparison: Comparison | None, colors: Mapping[str, str], references: Sequence[str]
) -> str:
    """Write the figures of signals on common rows, and the tests of their differences.

    Args:
        comparison: of `compare_signals`; None gives no text.
        colors: by signal.
        references: models that the others have to beat, in a table of their own.

    Returns:
        HTML text; of many signals only the tests of the best against each other one.
    """
    if comparison is None:
        return ""
    many = is_many(comparison.summary["kind"])
    rows = []
    for name, r in comparison.summary.iterrows():
        spread = "" if pd.isna(r["rank_ic_seed_std"]) else f" ± {r['rank_ic_seed_std']:.4f}"
        rows.append([
            str(name), str(r["kind"]), _COUNT(r["seeds"]), _COUNT(r["days"]), _IC(r["ic"]),
            _RATIO(r["ic_ir"]), f"{_IC(r['rank_ic'])}{spread}", _RATIO(r["rank_ic_ir"]),
            _T(r["rank_ic_t_nw"]), _BP(r["long_short"] / comparison.horizon), _SHARE(r["turnover"]),
        ])  # fmt: skip
    header = ["signal", "kind", "seeds", "sessions", "IC", "ICIR", "rank IC", "rank\nICIR", "t",
              "long-short\n(bp a session)", "turnover"]  # fmt: skip
    out = table(header, rows, colors=colors, caption="Only on rows that every signal has: where "
                "that leaves rows out, these are not the figures of the table above; ± is one "
                "deviation over seeds")  # fmt: skip
    out += remarks(comparison.notes)
    header = ["paired daily difference", "of", "sessions", "mean", "t", "p", "p (Holm)",
              "bootstrap interval"]  # fmt: skip
    if references:
        held = _tests(against(comparison, references), "signal", "reference")
        caption = f"Every model against {' and '.join(references)}, on the same rows"
        shown = table(header, held, caption="" if many else caption)
        out += folded(caption, shown) if many else shown
    pairs = comparison.differences
    title = "Tests of every difference"
    if many:
        best = str(comparison.summary["rank_ic"].astype(float).idxmax())
        title = f"Tests of {best} against every other"
        pairs = pairs[(pairs["a"] == best) | (pairs["b"] == best)]
    tests = _tests(pairs, "a", "b")
    return out + (folded(title, table(header, tests)) if tests else "")


def _tests(differences: pd.DataFrame, one: str, other: str) -> list[list[str]]:
    """The cells of a table of tests."""
    return [
        [
            f"{r[one]} − {r[other]}", "rank IC" if r["statistic"] == "rank_ic" else "IC",
            _COUNT(r["days"]), _IC(r["difference"]), _T(r["t_nw"]), _P(r["p_nw"]),
            _P(r["p_holm"]), f"{_IC(r['boot_low'])} … {_IC(r['boot_high'])}",
        ]
        for _, r in differences.iterrows()
    ]  # fmt: skip
