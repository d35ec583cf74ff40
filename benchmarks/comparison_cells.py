"""The cells of the comparison, and the market YAML that makes each.

A cell is one model of one market. Cells of equal plan and change are models of one market, so bars
and features are made once. The market is the shipped one but for the keys that are named here:

- plan `walk`: a training every 21 sessions and processors that roll, all else as shipped.
- plan `single`: one training, on all that had matured before the validation span of the grid, with
  processors fitted on the sessions before that span: qlib's single split, purged.

Both score the same sessions: those from the maturity of the last validation label to the end.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import yaml

HERE = Path(__file__).parent
SHIPPED = HERE.parent / "pipelines" / "config" / "shipped"
EVERY = 21  # sessions between two trainings of the plan `walk`
ALL = 100_000  # sessions, more than any market has
RULES = {
    "reversal": "1 - $close/Ref($close, 5)",
    "momentum": "Ref($close, 5)/Ref($close, 60) - 1",
}
"""The baselines of `rnn_core.evaluation.baselines`, as features."""
PARTS = "comparison_parts"
DATASETS = ("twenty", "all158", "alpha360", "rules")
AS_QLIB = "all as qlib"
WITHOUT_SWITCH = ("windows of learning rows", "no purge", AS_QLIB)
"""Changes that a market's YAML cannot name; `comparison_direct.py` trains them."""


@dataclass(frozen=True)
class Cell:
    """One model of one market.

    Attributes:
        model: lstm, gru, krnn, linear, lightgbm, reversal or momentum.
        features: 20 or 158 of Alpha158, alpha360, legacy (Alpha360 in qlib's cut), or rule.
        plan: walk or single.
        change: the one thing that is other than in the cell without a change.
    """

    model: str
    features: str
    plan: str
    change: str = ""

    @property
    def name(self) -> str:
        """Its name on the command line and in the folder."""
        return "-".join((self.plan, self.key, *self.change.split()))

    @property
    def key(self) -> str:
        """The name of its model in the YAML."""
        return self.model if self.features == "rule" else f"{self.model}_{self.features}"

    @property
    def is_rule(self) -> bool:
        """True for a score that nothing is trained for."""
        return self.features == "rule"

    @property
    def kind(self) -> tuple[str, str]:
        """Model and features: cells of a kind take equally long a training."""
        return self.model, self.features.replace("legacy", "alpha360")

    @property
    def market(self) -> str:
        """The name of its market: of the unchanged plan where the library makes the change."""
        words = () if self.change in WITHOUT_SWITCH else self.change.split()
        return "_".join((self.plan, *words))

    @property
    def base(self) -> Cell:
        """The cell without the change."""
        return Cell(self.model, self.features, self.plan)


Question: TypeAlias = tuple[str, tuple[tuple[Cell, Cell], ...]]


@dataclass(frozen=True)
class Grid:
    """The cells of one file of bars, and the questions that their differences answer.

    Attributes:
        name: on the command line, and of the tables.
        title: of the section.
        base: the YAML of the market.
        valid: first and last decision of the validation span of the plan `single`.
        cells: in the order in which they are made.
        questions: a title, and pairs (a, b) of cells whose daily ICs are compared.
    """

    name: str
    title: str
    base: Path
    valid: tuple[str, str]
    cells: tuple[Cell, ...]
    questions: tuple[Question, ...]

    def raw(self) -> dict[str, Any]:
        """The YAML of the market as shipped, to be changed."""
        return copy.deepcopy(_parsed(self.base))


@cache
def _parsed(path: Path) -> dict[str, Any]:
    raw: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return raw


NETWORKS = ("lstm", "gru", "krnn")
REFERENCES = ("linear", "lightgbm")
PLANS = ("single", "walk")
CHANGES = {
    "single": ("qlib semantics", *WITHOUT_SWITCH),
    "walk": ("fixed processors", "warm start"),
}


def _less_the_20(models: Sequence[str]) -> Question:
    pairs = tuple((Cell(m, "158", p), Cell(m, "20", p)) for p in PLANS for m in models)
    return "all 158 features, less the 20", pairs


def _less_linear(networks: Sequence[tuple[str, str]]) -> Question:
    pairs = tuple((Cell(m, f, p), Cell("linear", f, p)) for p in PLANS for m, f in networks)
    return "which model: less `linear` on the same features", pairs


def _less_one_training(models: Sequence[tuple[str, str]]) -> Question:
    pairs = tuple((Cell(m, f, "walk"), Cell(m, f, "single")) for m, f in models)
    return "monthly retraining and rolling processors, less one training", pairs


def _csi300() -> Grid:
    single = [Cell(model, "rule", "single") for model in RULES]
    single += [Cell(m, f, "single") for f in ("20", "158") for m in REFERENCES]
    walk = [Cell(m, f, "walk") for f in ("20", "158") for m in REFERENCES]
    ablated = [
        Cell(m, "20", p, c) for p, cs in CHANGES.items() for c in cs for m in ("lstm", "gru")
    ]
    cells = (
        *single,
        *walk,
        *(Cell(m, f, "single") for f in ("20", "158") for m in NETWORKS),
        Cell("lstm", "20", "walk"),
        *(cell for cell in ablated if cell.plan == "single"),
        Cell("krnn", "alpha360", "single"),
        Cell("krnn", "legacy", "single"),
        Cell("gru", "20", "walk"),
        *(cell for cell in ablated if cell.plan == "walk"),
        Cell("lstm", "158", "walk"),
        Cell("gru", "158", "walk"),
        *(Cell("krnn", f, "walk") for f in ("20", "158")),
        Cell("lstm", "alpha360", "single"),
        Cell("lstm", "legacy", "single"),
        *(Cell(m, f, "walk") for f in ("alpha360", "legacy") for m in ("krnn", "lstm")),
    )
    learned = (*NETWORKS, *REFERENCES)
    return Grid(
        name="csi300",
        title="CSI300 names, 2020 to 2025",
        base=SHIPPED / "csi300_baostock.yaml",
        valid=("2023-07-03", "2024-06-28"),
        cells=cells,
        questions=(
            _less_the_20(learned),
            _less_linear([(m, f) for f in ("20", "158") for m in (*NETWORKS, "lightgbm")]),
            (
                "which model: less the reversal, which learns nothing",
                tuple(
                    (Cell(m, f, "single"), Cell("reversal", "rule", "single"))
                    for f in ("20", "158")
                    for m in learned
                ),
            ),
            _less_one_training([(m, f) for f in ("20", "158") for m in learned]),
            (
                "Alpha360 as it lies, less qlib's cut of it",
                tuple(
                    (Cell(m, "alpha360", p), Cell(m, "legacy", p))
                    for p in PLANS
                    for m in ("krnn", "lstm")
                ),
            ),
            ("one change at a time, less none", tuple((cell, cell.base) for cell in ablated)),
        ),
    )


def _sp500() -> Grid:
    networks = (("lstm", "20"), ("gru", "158"))
    cells = (
        *(Cell(model, "rule", "single") for model in RULES),
        *(Cell(m, f, p) for p in PLANS for f in ("20", "158") for m in REFERENCES),
        *(Cell(m, f, p) for p in PLANS for m, f in networks),
    )
    return Grid(
        name="sp500",
        title="S&P 500 names, 2013 to 2018",
        base=SHIPPED / "us_files.yaml",
        valid=("2016-01-04", "2016-12-30"),
        cells=cells,
        questions=(
            _less_the_20(REFERENCES),
            _less_linear([*networks, ("lightgbm", "158")]),
            _less_one_training([*networks, ("linear", "158"), ("lightgbm", "158")]),
        ),
    )


GRIDS = {grid.name: grid for grid in (_csi300(), _sp500())}


def market_yaml(
    grid: Grid, market: str, bars: Path | None, seeds: int, plan: dict[str, Any]
) -> dict[str, Any]:
    """The YAML of one market of a grid, with all models of its cells.

    Args:
        grid: the grid.
        market: `Cell.market` of its cells.
        bars: the file of bars; None for the source of the YAML as it is.
        seeds: networks a model.
        plan: of `plan_of`, the dates that depend on the calendar.
    """
    raw = grid.raw()
    cells = [
        cell for cell in grid.cells if cell.market == market and cell.change not in WITHOUT_SWITCH
    ]
    raw["name"], change = market, cells[0].change
    if bars is not None:
        raw["market"]["source"]["path"] = str(bars.resolve())
    training = raw["training"] | {"first_trained": plan["first_trained"], "seeds": seeds}
    training |= {"device": "cpu", "threads": 1, "executor": "inline"}
    dataset, features = raw.pop("dataset"), raw.setdefault("features", {})
    if cells[0].plan == "single":
        training |= {"retrain_every": ALL, "window_sessions": ALL}
        training["valid_sessions"] = plan["valid_sessions"]
        fit = {"fit_start": plan["first"], "fit_end": plan["before_valid"]}
        # A model that learned nothing shows in the table, instead of being left out of service.
        checks = raw.setdefault("checks", {})
        checks["model"] = checks.get("model", {}) | {"rank_ic": "warn"}
    else:
        training["retrain_every"] = EVERY
        fit = {"fit": {"rolling": {"window_sessions": training["window_sessions"]}}}
        if change == "fixed processors":
            fit = {"fit_start": plan["window_start"], "fit_end": plan["first_trained"]}
        if change == "warm start":
            training["warm_start"] = True
    if change == "qlib semantics":
        features["semantics"] = "qlib"
    raw["training"] = training
    used = {_dataset_of(cell) for cell in cells}
    raw["datasets"] = {name: _dataset(dataset, name) | fit for name in DATASETS if name in used}
    raw["models"] = {cell.key: _model(grid.raw()["models"], cell) for cell in cells}
    return raw


def _dataset_of(cell: Cell) -> str:
    return {"20": "twenty", "158": "all158", "legacy": "alpha360", "rule": "rules"}.get(
        cell.features, cell.features
    )


def _dataset(shipped: dict[str, Any], name: str) -> dict[str, Any]:
    """The section of a dataset, without its fit: the shipped one but for what the name says."""
    dataset: dict[str, Any] = {
        key: value for key, value in copy.deepcopy(shipped).items() if not key.startswith("fit")
    }
    if name == "twenty":
        return dataset
    processors = [one for one in dataset["infer_processors"] if "FilterCol" not in one]
    if name == "alpha360":
        dataset |= {"features": {"set": "alpha360"}, "layout": "columns", "step_len": 60}
    if name == "rules":
        # A name whose past is too short stands in the middle, at 0.
        processors = [{"Fillna": {"fill_value": 0}}]
        formulas = {rule.upper(): formula for rule, formula in RULES.items()}
        dataset |= {"features": {"set": {"features": formulas}}, "step_len": 1}
    return dataset | {"infer_processors": processors}


def _model(shipped: dict[str, Any], cell: Cell) -> dict[str, Any]:
    """The entry of a model: the shipped one of its family, on the cell's dataset."""
    entry = {"dataset": _dataset_of(cell)}
    if cell.is_rule:
        return entry | {"family": f"{PARTS}:Column", "column": cell.model.upper()}
    entry |= {"family": cell.model} | (shipped.get(cell.model) or {})
    if cell.features in ("alpha360", "legacy"):
        entry["early_stop"] = 20  # as in qlib's benchmarks of Alpha360
    if cell.features == "legacy":
        entry["family"] = f"{PARTS}:Legacy{cell.model.upper()}"
    return entry
