"""The epochs of a run's trainings, shown to whoever watches it and told to the metric loggers.

Units of later sessions may be trained beside those of the session at work. Their epochs count for
the time left at once; loggers, which follow one training at a time, are told them when the turn of
their session comes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pipelines.assets.training_eta import TrainingEta
from pipelines.config.models import ModelSpec
from pipelines.instance.progress import progress
from pipelines.market.stage import Run
from pipelines.training.training_config import seeds_of
from pipelines.training.units import Unit

if TYPE_CHECKING:
    from rnn_core.training import EpochReport

Told = Callable[[int, "EpochReport"], None]


class TrainingProgress:
    """The progress of one model in one run.

    Args:
        run: the run.
        spec: the model.
    """

    def __init__(self, run: Run, spec: ModelSpec) -> None:
        self._stage, self._keys = run.stage.name, run.keys
        self._plan, self._seeds = run.market.plan_of(spec.name), seeds_of(run.market, spec)
        self._eta = TrainingEta(spec.training.get("early_stop", 0))
        self._begun: set[tuple[str, int]] = set()
        self._ahead: dict[str, list[tuple[int, EpochReport]]] = {}
        self._as_of = ""
        self._tell: Told | None = None

    def begin(self, as_of: str, tell: Told) -> None:
        """Begin with a session: tell the epochs that its units have had already.

        Args:
            as_of: the session.
            tell: told each epoch of the session, with its seed.
        """
        self._as_of, self._tell = as_of, tell
        for seed, report in self._ahead.pop(as_of, ()):
            tell(seed, report)

    def on_epoch(self, unit: Unit, report: EpochReport) -> None:
        """Show an epoch, and tell it or keep it for its session."""
        self._begun.add((unit.as_of, unit.seed))
        # Sessions before the one at work are finished, whether trained in this run or kept.
        left = [key for key in self._keys if key >= self._as_of and self._plan.trains(key)]
        later = {(key, seed) for key in left for seed in self._seeds} - self._begun
        if unit.as_of == self._as_of:
            later -= {(unit.as_of, seed) for seed in self._seeds if seed < unit.seed}
        seed_text = f" seed {unit.seed}" if len(self._seeds) > 1 else ""
        progress().note(
            self._stage,
            f"{unit.as_of}{seed_text} epoch {report.epoch + 1}/{report.n_epochs} "
            f"valid {report.valid_score:.5f} best {report.best_epoch + 1}",
            self._eta.after(report, len(later), unit.key),
        )
        if unit.as_of == self._as_of and self._tell is not None:
            self._tell(unit.seed, report)
        else:
            self._ahead.setdefault(unit.as_of, []).append((unit.seed, report))
