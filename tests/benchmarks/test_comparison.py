"""The command that makes the tables of docs/results.md, on a small simulated market.

Oracles: what was put in, figures worked out by hand, and the files of the product itself.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from pipelines.cli.main import main as rnn_pipelines
from pipelines.config.market_file import FactoryConfig
from tests.pipelines.conftest import TINY, merged

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
MODULES = ("cells", "runs", "tables", "direct", "parts")


class Parts:
    """The modules of the comparison."""

    main: ModuleType
    cells: ModuleType
    runs: ModuleType
    tables: ModuleType
    direct: ModuleType
    parts: ModuleType


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    """Import them: benchmarks/ is a folder of scripts, not a package."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    before, loaded = set(sys.modules), Parts()
    for name in MODULES:
        setattr(loaded, name, importlib.import_module(f"comparison_{name}"))
    loaded.main = importlib.import_module("comparison")
    yield loaded
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(BENCHMARKS)):
            del sys.modules[name]


def grid_of(parts: Parts, folder: Path, *cells: Any, questions: Any = ()) -> Any:
    """A grid over the tiny simulated market."""
    base = merged(TINY, {"models": {"linear": {}}, "training": {"window_sessions": 30}})
    base["models"].pop("krnn")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "base.yaml").write_text(yaml.safe_dump(base))
    return parts.cells.Grid(
        name="tiny",
        title="A simulated market",
        base=folder / "base.yaml",
        valid=("2020-03-16", "2020-03-25"),
        cells=cells,
        questions=questions,
    )


@pytest.mark.thorough
def test_a_stopped_table_goes_on_and_trains_nothing_twice(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of the product: a bundle that was there before the stop is the same file after."""
    gru, rule = (
        parts.cells.Cell(*words, "single") for words in (("gru", "20"), ("reversal", "rule"))
    )
    grid = grid_of(parts, tmp_path, gru, rule, questions=(("a or b", ((gru, rule),)),))
    page, words = tmp_path / "page.md", ["tiny", "--folder", str(tmp_path / "made"), "--seeds", "2"]
    page.write_text("# Results\n\nBefore.\n")
    words += ["--page", str(page), "--pyqlib", str(tmp_path / "none.md")]
    words += ["--kept", str(tmp_path / "kept")]

    commands: list[str] = []

    def in_process(self: Any, cell: Any, command: Any, *, counted: bool) -> None:
        """The command of the product, here: a process of its own takes seconds to start."""
        commands.append(command[7])
        if stops and "gru_20_prediction" in command[7]:
            raise KeyboardInterrupt
        monkeypatch.setenv("RNN_DATA_DIR", str(self.folder / "data"))
        assert rnn_pipelines([*map(str, command[1:-1]), str(self.folder / command[-1])]) in (
            0,
            None,
        )
        if counted:
            spent = self.record(cell).get("cpu_s", 0)
            self.note(cell, cpu_s=spent + 1.0, peak_mb=7)

    # The command is stopped after the training, before the scores.
    stops = True
    monkeypatch.setattr(parts.runs.Place, "_run", in_process)
    with pytest.raises(KeyboardInterrupt):
        parts.main.main(words, {"tiny": grid})
    stops = False
    assert commands[1] == "gru_20_model"
    place = parts.runs.Place(grid, tmp_path / "made", None, 2, tmp_path / "kept")
    market = place.market("single")
    (anchor,) = filter(market.plan_of("gru_20").trains, market.sessions.keys)
    assert (place.plan["first_trained"], anchor) == ("2020-03-27", "2020-03-27")
    manifest = tmp_path / "made/tiny/data/single/models/gru_20" / anchor / "manifest.json"
    before = manifest.stat()
    assert place.record(gru)["cpu_s"] == 1 and not place.record(gru).get("done")

    # With no time left nothing is made, and the page says so.
    parts.main.main([*words, "--hours", "0", "--write"], {"tiny": grid})
    text = page.read_text()
    assert text.startswith("# Results\n\nBefore.\n")
    assert "| GRU | 20 | single | not run, about 0.2 h |" in text
    assert "1 of 1 pairs have a cell that was not run." in text

    parts.main.main([*words, "--write"], {"tiny": grid})
    assert (manifest.stat().st_mtime_ns, manifest.stat().st_ino) == (
        before.st_mtime_ns,
        before.st_ino,
    )
    assert list(place.done()) == [gru, rule]
    assert place.record(gru)["cpu_s"] == 2  # the call that found the bundle counts, too

    # The page has the figures of the product's own evaluations, and one row a cell.
    figures = parts.tables.figures(place, gru)
    assert len(figures.seeds) == 2 and figures.excess is not None
    text = page.read_text()
    rows = [line for line in text.splitlines() if line.startswith(("| GRU | 20 |", "| reversal |"))]
    assert len(rows) == 2 and f"| {len(figures.daily)} |" in rows[0]
    assert f"| {figures.daily['ic'].mean():.4f} |".replace("-", "−") in rows[0]
    assert "| GRU 20, single | reversal, single |" in text
    assert text.count("comparison tiny: begin") == 1

    # A stop between the end of a cell and the keeping of its figures loses nothing.
    place.kept_file(gru).unlink()
    parts.main.main([*words, "--hours", "0", "--write"], {"tiny": grid})
    assert page.read_text() == text and place.is_kept(gru)

    # Nothing is left, so nothing is run, also where only the kept figures are.
    commands.clear()
    parts.main.main(words, {"tiny": grid})
    words[2] = str(tmp_path / "elsewhere")
    parts.main.main([*words, "--write"], {"tiny": grid})
    assert commands == []
    assert page.read_text() == text

    # They are those of the market to seven digits, and no others settings' ones.
    measured = parts.tables.measured(place, gru)
    assert list(figures.daily.index) == list(measured.daily.index)
    np.testing.assert_allclose(figures.daily, measured.daily, rtol=1e-6)
    np.testing.assert_allclose(figures.excess, measured.excess, rtol=1e-6, atol=1e-12)
    np.testing.assert_allclose(figures.seeds, measured.seeds, rtol=1e-6)
    other = parts.runs.Place(grid, tmp_path / "elsewhere", None, 3, tmp_path / "kept")
    assert list(other.done()) == []

    # The library's cells differ by their change alone: without one it has the product's scores.
    spec, ends = market.models[0], [place.plan["purged"], *grid.valid]
    assert spec.name == "gru_20"
    for change, is_equal in (("", True), ("no purge", False)):
        dataset = parts.direct.make_dataset(
            market, spec.name, change, [place.plan["before_valid"], *ends[1:]] if change else ends
        )
        ours = parts.direct.scores(market, spec, 1, dataset)
        keys = market.warehouse.sessions("gru_20_prediction")
        rows = market.warehouse.read("gru_20_prediction", keys, needed_by="the test").frame
        theirs = pd.Series(
            [scores[1] for scores in rows["seed_scores"]],
            index=pd.MultiIndex.from_frame(rows[["date", "instrument"]]),
        )
        assert len(ours) == len(theirs)
        gaps = np.abs(ours.to_numpy() - theirs.sort_index().to_numpy())
        assert (gaps.max() < 1e-6) == is_equal


def place_of(parts: Parts, tmp_path: Path) -> tuple[Any, Any]:
    """A place with one cell, and the cell."""
    cell = parts.cells.Cell("linear", "20", "single")
    grid = grid_of(parts, tmp_path, cell)
    place = parts.runs.Place(grid, tmp_path / "made", None, 2, tmp_path / "kept")
    assert place.plan["first"] == "2020-01-02"
    return place, cell


def test_a_command_is_counted_and_its_error_is_the_reason(parts: Parts, tmp_path: Path) -> None:
    """A process that computes for a known time, and one that fails with a known word."""
    place, cell = place_of(parts, tmp_path)
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    place._run(cell, [sys.executable, "-c", busy], counted=True)
    place._run(cell, [sys.executable, "-c", busy], counted=False)
    assert 0.5 <= place.record(cell)["cpu_s"] < 1.0
    if sys.platform == "linux":
        assert 5 < place.record(cell)["peak_mb"] < 100  # not that of this process
    failing = "print('error: gru_20_model: no bars'); raise SystemExit(3)"
    with pytest.raises(parts.runs.CellFailedError, match=r"^error: gru_20_model: no bars \(logs/"):
        place._run(cell, [sys.executable, "-c", failing], counted=True)


def test_a_record_of_other_settings_counts_for_nothing(parts: Parts, tmp_path: Path) -> None:
    place, cell = place_of(parts, tmp_path)
    place.note(cell, done=True)
    assert list(place.done()) == [cell]
    other = parts.runs.Place(place.grid, place.root, None, 3, place.kept)  # seeds
    assert list(other.done()) == []


def test_every_cell_of_the_shipped_grids_is_a_market_that_the_product_accepts(parts: Parts) -> None:
    """The product's own validation; and no question asks for a cell that no grid has."""
    plan = {
        "first": "2015-01-05",
        "before_valid": "2023-06-30",
        "valid_sessions": 240,
        "first_trained": "2024-07-02",
        "window_start": "2021-05-20",
    }
    for grid in parts.cells.GRIDS.values():
        days = {"sp500": {"before_valid": "2015-12-31", "first_trained": "2017-01-04"}}
        assert len({cell.name for cell in grid.cells}) == len(grid.cells)
        for name in {cell.market for cell in grid.cells}:
            raw = parts.cells.market_yaml(grid, name, None, 3, plan | days.get(grid.name, {}))
            raw["market"]["start"] = plan["first"]
            config = FactoryConfig.model_validate(raw)
            models = {cell.key for cell in grid.cells if cell.market == name}
            assert set(config.models) == models
        asked = {cell for _, pairs in grid.questions for pair in pairs for cell in pair}
        assert asked <= set(grid.cells)


def test_a_cell_differs_from_the_shipped_market_by_what_it_names_alone(parts: Parts) -> None:
    """The two YAMLs, key by key."""
    grid = parts.cells.GRIDS["csi300"]
    plan = dict.fromkeys(("first", "before_valid", "first_trained", "window_start"), "2024-07-02")
    of = {
        name: parts.cells.market_yaml(grid, name, None, 3, plan | {"valid_sessions": 240})
        for name in {cell.market for cell in grid.cells}
    }
    shipped, walk = grid.raw(), of["walk"]
    for key in ("market", "features", "checks", "evaluation", "portfolio", "schedule"):
        assert walk[key] == shipped[key]
    ours = {k: v for k, v in walk["training"].items() if shipped["training"].get(k) != v}
    assert set(ours) == {"first_trained", "retrain_every", "seeds", "device", "threads", "executor"}
    assert {k: walk["datasets"]["twenty"][k] for k in shipped["dataset"]} == shipped["dataset"]
    fixed = of["walk_fixed_processors"]
    assert fixed["training"] == walk["training"]
    assert {
        k for k, v in fixed["datasets"]["twenty"].items() if walk["datasets"]["twenty"].get(k) != v
    } == {
        "fit_start",
        "fit_end",
    }
    warm = of["walk_warm_start"]["training"]
    assert {k for k, v in warm.items() if walk["training"].get(k) != v} == {"warm_start"}
    strict, qlib = of["single"], of["single_qlib_semantics"]
    assert qlib["features"] == strict["features"] | {"semantics": "qlib"}
    assert qlib["datasets"]["twenty"] == strict["datasets"]["twenty"]
    assert qlib["training"] == strict["training"]


def test_the_legacy_cut_is_that_of_the_flat_row(parts: Parts) -> None:
    """qlib's `view` of a row of Alpha360, which lies feature by feature."""
    row = torch.arange(2 * 360, dtype=torch.float32).reshape(2, 360)
    windows = torch.stack([ColumnStepsOracle.steps(one) for one in row])
    assert torch.equal(parts.parts.legacy_steps(windows), row.view(2, 60, 6))


class ColumnStepsOracle:
    """A row of 360 as true steps, written out: step t of feature f is column 60 f + t."""

    @staticmethod
    def steps(row: torch.Tensor) -> torch.Tensor:
        return torch.tensor([[row[60 * f + t] for f in range(6)] for t in range(60)])


def test_differences_are_paired_by_session(parts: Parts, tmp_path: Path) -> None:
    """By hand: three common sessions whose ICs differ by 0.1, 0.2 and 0.3."""
    cells = [parts.cells.Cell(model, "20", "single") for model in ("gru", "lstm")]
    grid = grid_of(parts, tmp_path, *cells, questions=(("which", (tuple(cells),)),))
    place = parts.runs.Place(grid, tmp_path / "made", None, 2, tmp_path / "kept")

    def figures(ics: list[float], first: str) -> Any:
        days = pd.bdate_range(first, periods=len(ics))
        daily = pd.DataFrame({"ic": ics, "rank_ic": np.zeros(len(ics))}, index=days)
        return parts.tables.Figures(daily, ((0.0, 0.0),), None, 252)

    done = {
        cells[0]: figures([0.9, 0.3, 0.4, 0.5], "2024-07-01"),
        cells[1]: figures([0.2, 0.2, 0.2, 0.7], "2024-07-02"),
    }
    text = parts.tables.differences(place, done)
    # Mean 0.2, deviation 0.1, standard error 0.1 / sqrt(3) without lags: t is 3.46.
    assert (
        "| GRU 20, single | LSTM 20, single | 3 | +0.2000 | 3.46 | 0.00 | +0.0000 | – | – |" in text
    )
    only = parts.tables.differences(place, {cells[0]: done[cells[0]]})
    assert only == "**Which**\n\n1 of 1 pairs have a cell that was not run."


def test_recorded_results_are_read_by_column_name(parts: Parts, tmp_path: Path) -> None:
    """A table written here, with a typographic minus and a thousands separator."""
    (tmp_path / "baseline.md").write_text(
        "# Results\n\n| model, seed | best | IC | fit, s |\n|---|---|---|---|\n"
        "| LSTM 0 | −0.99 | 0.02 | 1,607 |\n| GRU 1 | −0.98 | 0.03 | 20 |\n\nText 3.\n"
    )
    found = parts.tables.recorded(tmp_path / "baseline.md")
    assert found.to_dict("records") == [
        {"model": "lstm", "seed": 0, "best": -0.99, "IC": 0.02, "fit, s": 1607.0},
        {"model": "gru", "seed": 1, "best": -0.98, "IC": 0.03, "fit, s": 20.0},
    ]
    assert parts.tables.recorded(tmp_path / "none.md").empty
