"""The tables of docs/from_qlib.md against the code, and qlib's example, run.

Oracle: the page. Its "same" names exist with the arguments that it lists, its "absent" names do
not, and every replacement exists.
"""

from __future__ import annotations

import importlib
import inspect
import re
import runpy
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rnn_core import data, evaluation, models, qlib_hooks, training, workflow

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "from_qlib.md").read_text(encoding="utf-8")
ROOMS = (data, models, evaluation, training, workflow)


class Name(NamedTuple):
    """A dotted name, with its arguments if it is called."""

    path: str
    arguments: tuple[str, ...] | None

    @classmethod
    def of(cls, text: str) -> Name:
        path, called, inside = text.partition("(")
        arguments = tuple(a for a in inside.rstrip(")").split(", ") if a)
        return cls(path, arguments if called else None)


class Row(NamedTuple):
    there: Name
    here: Name
    kind: str


def rows() -> list[Row]:
    found = []
    for line in PAGE.splitlines():
        if line.startswith("| `qlib"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            there, here = (re.fullmatch(r"`([^`]+)`", cell) for cell in cells[:2])
            assert there and here, line
            found.append(Row(Name.of(there[1]), Name.of(here[1]), cells[2].strip(" |")))
    return found


def resolved(path: str) -> Any:
    """Import a dotted name: its longest importable part, then its attributes."""
    parts = path.split(".")
    for k in range(len(parts), 0, -1):
        try:
            value: Any = importlib.import_module(".".join(parts[:k]))
        except ModuleNotFoundError:
            continue
        for name in parts[k:]:
            if not hasattr(value, name) and inspect.isclass(value):
                sources = "".join(inspect.getsource(c) for c in value.__mro__[:-1])
                assert re.search(rf"\bself\.{name}\b|^    {name}: ", sources, re.MULTILINE), path
                return None
            value = getattr(value, name)
        return value
    raise AssertionError(f"no module of {path}")


def takes(value: Any, arguments: tuple[str, ...]) -> bool:
    names = list(inspect.signature(value).parameters)
    return [name for name in names if name in arguments] == list(arguments)


@pytest.mark.parametrize("row", rows(), ids=lambda row: row.there.path)
def test_the_row_is_true(row: Row) -> None:
    assert row.kind in ("same", "other", "absent")
    value = resolved(row.here.path)
    if row.here.arguments is not None:
        assert callable(value) and takes(value, row.here.arguments), row.here
    parent, _, name = row.there.path.rpartition(".")
    if row.kind == "same":
        assert row.here.path.rpartition(".")[2] == name
        assert row.here.arguments == row.there.arguments
    if row.kind != "absent":
        return
    # The name is neither an attribute of the class of that name, nor exported by any room.
    owner = parent.rpartition(".")[2]
    classes = [getattr(room, owner) for room in ROOMS if owner in room.__all__]
    if classes:
        assert not any(hasattr(cls, name) for cls in classes), row.there
    else:
        assert not any(name in room.__all__ for room in ROOMS), row.there


def test_the_page_names_every_hook_that_is_refused() -> None:
    for hooks in (
        qlib_hooks.HANDLER_HOOKS,
        qlib_hooks.DATASET_HOOKS,
        qlib_hooks.SAMPLER_HOOKS,
        qlib_hooks.PROCESSOR_HOOKS,
        qlib_hooks.MODEL_HOOKS,
    ):
        for hook in hooks:
            assert re.search(rf"\b{hook}\b", PAGE), hook


IN_SCOPE = {
    "contrib.data.handler": "Alpha158 Alpha360 Alpha158vwap Alpha360vwap check_transform_proc",
    "contrib.data.loader": "Alpha158DL Alpha360DL",
    "contrib.data.dataset": "MTSDatasetH",
    "contrib.data.processor": "ConfigSectionProcessor",
    "data.dataset.loader": (
        "DataLoader DLWParser QlibDataLoader StaticDataLoader NestedDataLoader DataLoaderDH"
    ),
    "data.dataset.handler": "DataHandlerABC DataHandler DataHandlerLP",
    "data.dataset.processor": (
        "get_group_columns Processor DropnaProcessor DropnaLabel DropCol FilterCol TanhProcess "
        "ProcessInf Fillna MinMaxNorm ZScoreNorm RobustZScoreNorm CSZScoreNorm CSRankNorm "
        "CSZFillna HashStockFormat TimeRangeFlt"
    ),
    "data.dataset": "Dataset DatasetH TSDatasetH TSDataSampler",
    "data.dataset.weight": "Reweighter",
    "contrib.model.pytorch_lstm": "LSTM LSTMModel",
    "contrib.model.pytorch_gru": "GRU GRUModel",
    "contrib.model.pytorch_krnn": (
        "CNNEncoderBase KRNNEncoderBase CNNKRNNEncoder KRNNModel KRNN"
    ),
    "contrib.model.pytorch_utils": "count_parameters",
    "model.base": "BaseModel Model ModelFT",
    "contrib.eva.alpha": (
        "calc_long_short_prec calc_long_short_return pred_autocorr pred_autocorr_all calc_ic "
        "calc_all_ic"
    ),
    "contrib.evaluate": (
        "risk_analysis indicator_analysis backtest_daily long_short_backtest"
    ),
    "contrib.strategy": (
        "TopkDropoutStrategy WeightStrategyBase EnhancedIndexingStrategy TWAPStrategy "
        "SBBStrategyBase SBBStrategyEMA SoftTopkStrategy"
    ),
    "contrib.report.analysis_position": (
        "cumulative_return_graph score_ic_graph report_graph rank_label_graph risk_analysis_graph"
    ),
    "workflow.record_temp": (
        "SignalRecord HFSignalRecord SigAnaRecord PortAnaRecord MultiPassPortAnaRecord"
    ),
}  # fmt: skip
"""The public classes and functions of pyqlib 0.9.7's modules in scope, its base classes apart."""


@pytest.mark.parametrize("module", IN_SCOPE)
def test_the_page_has_every_name_of_a_module(module: str) -> None:
    """Oracle: pyqlib 0.9.7's modules. A name has a row, or stands in the note of another's."""
    lines = PAGE.splitlines()
    for name in IN_SCOPE[module].split():
        row = rf"^\| `qlib\.{re.escape(module)}\.{name}\b"
        note = rf"^\| `qlib\.{re.escape(module.rpartition('.')[0])}\.\S+` .* so (is|are) .*`{name}`"
        assert any(re.search(rf"{row}|{note}", line) for line in lines), name


def test_the_page_names_every_processor_that_is_here() -> None:
    tables = {name for row in rows() for name in row.here.path.split(".")}
    assert set(data.PROCESSORS) - {"CSNeutralize"} <= tables  # qlib has none


@pytest.mark.thorough
def test_qlibs_example(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Planted: a rank correlation of 0.4 with the label. Asked for: half of it."""
    main = runpy.run_path(str(ROOT / "examples" / "workflow_by_code.py"))["main"]
    figures = main(tmp_path, names=24, n_epochs=4)
    assert figures["ic"] > 0.2 and figures["rank_ic"] > 0.2
    assert figures["annualised excess return"] > 0
    printed = capsys.readouterr().out
    assert "KMID" in printed and "rank IC" in printed and "max_drawdown" in printed
    assert models.GRU.load(tmp_path / "model").fitted
    assert (tmp_path / "handler.json").is_file()
