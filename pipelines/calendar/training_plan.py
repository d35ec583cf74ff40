"""The sessions that train a model, the model in force at each, and the window it learns from.

Every answer is a pure function of the calendar and the section `training` of the YAML.
"""

from __future__ import annotations

from dataclasses import dataclass

from pipelines.calendar.sessions import Sessions
from pipelines.errors import ConfigError


@dataclass(frozen=True)
class TrainingPlan:
    """The training sessions of a model, and the model in force at each session.

    Session s retrains iff (position(s) − position(first_trained)) mod retrain_every = 0.

    Attributes:
        pin: (from, as_of): from that session on the model of `as_of` is served and none trained.
    """

    sessions: Sessions
    first_trained: str
    retrain_every: int
    pin: tuple[str, str] | None = None

    def trains(self, key: str) -> bool:
        """True if a model is trained in the partition of this session."""
        if key < self.first_trained or self.is_pinned(key):
            return False
        return self._offset(key) == 0

    def anchor(self, key: str) -> str | None:
        """The session whose model is in force after the close of `key`; None in the warm-up."""
        if key < self.first_trained:
            return None
        if self.is_pinned(key):
            assert self.pin is not None  # noqa: S101 - is_pinned says so
            key = self.pin[1]
        return self.sessions.back(key, self._offset(key))

    def sessions_of(self, anchor: str) -> tuple[str, ...]:
        """The sessions at which the model of a session is in force; none of one that trains none.

        Args:
            anchor: the session that trained the model, whether one of the calendar or not.
        """
        if anchor not in self.sessions or anchor < self.first_trained:
            return ()
        at, keys = self.sessions.position(anchor), self.sessions.keys
        own = keys[at : at + self.retrain_every] if self._offset(anchor) == 0 else ()
        if self.pin is None:
            return own
        pinned = keys[self.sessions.position(self.pin[0]) :]
        unpinned = tuple(key for key in own if key < self.pin[0])
        return (*unpinned, *(pinned if self.anchor(pinned[0]) == anchor else ()))

    def _offset(self, key: str) -> int:
        start = self.sessions.position(self.first_trained)
        return (self.sessions.position(key) - start) % self.retrain_every

    def is_pinned(self, key: str) -> bool:
        """True if a rollback is in force at this session."""
        return self.pin is not None and key >= self.pin[0]


@dataclass(frozen=True)
class TrainingWindow:
    """The sessions that a model as of session D learns from.

    Attributes:
        learn: sessions whose matured rows are used (partitions of `dataset_learn`).
        context: sessions whose features the windows see (partitions of `dataset_infer`).
        train: first and last decision session of training, label matured before `valid` begins.
        valid: first and last decision session held out for early stopping.
    """

    learn: tuple[str, ...]
    context: tuple[str, ...]
    train: tuple[str, str]
    valid: tuple[str, str]


def training_window(
    sessions: Sessions,
    as_of: str,
    *,
    window_sessions: int,
    valid_sessions: int,
    label_lag: int,
    step_len: int,
) -> TrainingWindow:
    """The sessions that a model as of `as_of` is trained and validated on.

    Rows count that matured in the last `window_sessions` sessions: decisions up to `as_of` − lag.
    The newest `valid_sessions` decisions are held out. A training decision t is dropped unless its
    label had matured before the first held-out decision v: t + lag < v.

    Raises:
        ConfigError: the history up to `as_of` leaves no decision to train on.
    """
    end = sessions.position(as_of)
    first_matured = max(label_lag, end - window_sessions + 1)
    decisions = range(first_matured - label_lag, end - label_lag + 1)
    v = decisions.stop - valid_sessions
    last_train = v - label_lag - 1
    if last_train < decisions.start:
        raise ConfigError(
            f"no session to train on as of {as_of}: {len(decisions)} decisions have matured since "
            f"{sessions.first}, {valid_sessions} are held out for validation and {label_lag} "
            f"are dropped before them; move training.first_trained later or lower "
            f"training.valid_sessions"
        )
    keys = sessions.keys
    return TrainingWindow(
        learn=keys[first_matured : end + 1],
        context=keys[max(0, decisions.start - step_len + 1) : decisions.stop],
        train=(keys[decisions.start], keys[last_train]),
        valid=(keys[v], keys[decisions.stop - 1]),
    )
