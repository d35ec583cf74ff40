"""Scores of windows that share rows. Oracle: the windows themselves, bit by bit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from rnn_core.data import TSDataSampler
from rnn_core.models import GRUModel, LSTMModel, recurrent
from rnn_core.training import predict, scoring, seeded_network
from rnn_core.training.scoring import score_windows
from rnn_core.training.workers import Workers

CPU = torch.device("cpu")
DAYS = pd.bdate_range("2020-01-01", periods=90)
WIDTH = recurrent.FEWEST_SHARED
Kind = type[GRUModel] | type[LSTMModel]
kinds = pytest.mark.parametrize("kind", [GRUModel, LSTMModel])


class Windows:
    """A source that hides its rows."""

    def __init__(self, source: TSDataSampler) -> None:
        self.source = source

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Tensor, device: torch.device) -> Tensor:
        return self.source.batch(indices, device)


def sampler(names: int = 9, width: int = WIDTH + 1, fill: str = "ffill+bfill") -> TSDataSampler:
    """Rows with gaps, the last column a label that is sometimes absent."""
    rng = np.random.default_rng(0)
    keys = [DAYS, [f"N{k:03d}" for k in range(names)]]
    index = pd.MultiIndex.from_product(keys, names=["datetime", "instrument"])
    frame = pd.DataFrame(rng.normal(size=(len(index), width)).astype("f4"), index=index)
    frame.iloc[::7, -1] = np.nan
    return TSDataSampler(frame[rng.random(len(frame)) > 0.1], DAYS[10], None, 12, fill)


def scored(network: nn.Module, source: object, has_label: bool) -> tuple[Tensor, Tensor | None]:
    with Workers(CPU) as workers:
        return score_windows(network, source, CPU, workers, has_label=has_label)  # type: ignore


def count_calls(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Record for each call of `scores_of_rows` that it gave scores, or none."""
    made: list[bool] = []

    def counted(*args: object) -> Tensor | None:
        scores = recurrent.scores_of_rows(*args)  # type: ignore[arg-type]
        made.append(scores is not None)
        return scores

    monkeypatch.setattr(scoring, "scores_of_rows", counted)
    return made


@kinds
@pytest.mark.parametrize(("layers", "units"), [(1, 8), (2, 33), (3, 5)])
@pytest.mark.parametrize("has_label", [True, False])
def test_scores_and_labels_are_those_of_windows(
    kind: Kind, layers: int, units: int, has_label: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = count_calls(monkeypatch)
    source = sampler()
    network = seeded_network(lambda: kind(WIDTH + (not has_label), units, layers), 0)
    if not has_label:
        source.data_arr[:, -1] = 0.5
    (found, y), (expected, z) = (scored(network, s, has_label) for s in (source, Windows(source)))
    assert made and all(made)
    assert torch.equal(found, expected)
    assert (y is None and z is None) or torch.equal(y.nan_to_num(9.0), z.nan_to_num(9.0))


@kinds
def test_a_score_depends_on_no_other_window(kind: Kind) -> None:
    """One session, whose windows share nothing, and ranges. Oracle: all sessions at once."""
    source = sampler(names=40)
    network = seeded_network(lambda: kind(WIDTH, 16), 0)
    whole = pd.Series(predict(network, source, device="cpu", has_label=True), source.get_index())
    for start, end in ((30, 30), (20, 50), (11, 80)):
        part = source.between(DAYS[start], DAYS[end])
        scores = predict(network, part, device="cpu", has_label=True)
        assert np.array_equal(scores, whole.loc[part.get_index()].to_numpy())


def test_threads_change_no_bit() -> None:
    source, network = sampler(names=30), seeded_network(lambda: GRUModel(WIDTH, 16), 0)
    found = []
    for threads in (1, 3):
        torch.set_num_threads(threads)  # put back by a fixture
        found.append(predict(network, source, device="cpu", has_label=True))
    assert np.array_equal(*found)


@pytest.mark.parametrize("fill", ["none", "ffill", "ffill+bfill"])
@pytest.mark.parametrize(("first", "stop", "step"), [(0, 64, 1), (5, 300, 1), (0, 700, 90)])
def test_rows_and_places_are_the_windows(fill: str, first: int, stop: int, step: int) -> None:
    """Oracle: the windows of `batch`; windows far apart have no rows in common."""
    source = sampler(fill=fill)
    indices = torch.arange(first, min(stop, len(source)), step)
    shared, windows = source.shared_rows(indices), source.batch(indices)
    if step > 1:
        assert shared is None
    elif shared is not None:
        rows, places = shared
        assert 2 * len(rows) <= places.numel()
        torch.testing.assert_close(rows[places], windows, rtol=0, atol=0, equal_nan=True)
    else:
        assert fill != "ffill+bfill"  # a step without a row is the last row of all


class Doubled(TSDataSampler):
    """Windows that are no rows of the frame."""

    def batch(self, *args: object, **given: object) -> Tensor:
        return super().batch(*args, **given) * 2.0  # type: ignore[arg-type]


def test_windows_of_a_subclass_are_read_as_it_makes_them() -> None:
    """Oracle: its `batch`."""
    source, network = sampler(), seeded_network(lambda: GRUModel(WIDTH, 8), 0)
    before = scored(network, source, True)[0]
    source.__class__ = Doubled
    found, expected = (scored(network, s, True)[0] for s in (source, Windows(source)))
    assert torch.equal(found, expected) and not torch.equal(found, before)


class Own(LSTMModel):
    """A network of another package: the scores of the shipped one, turned round."""

    def forward(self, x: Tensor) -> Tensor:
        return -super().forward(x)


def hooked(network: nn.Module) -> nn.Module:
    network.fc_out.register_forward_hook(lambda module, inputs, output: -output)  # type: ignore
    return network


@pytest.mark.parametrize("change", [lambda network: network, hooked])
@pytest.mark.parametrize("kind", [LSTMModel, Own])
def test_a_network_that_does_more_reads_windows(
    kind: type[LSTMModel], change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A `forward` of its own and a hook. Oracle: the windows."""
    made = count_calls(monkeypatch)
    source, network = sampler(), change(seeded_network(lambda: kind(WIDTH, 8), 0))
    found, expected = (scored(network, s, True)[0] for s in (source, Windows(source)))
    assert torch.equal(found, expected)
    assert any(made) == (kind is LSTMModel and change is not hooked)


def test_few_features_are_read_as_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    made = count_calls(monkeypatch)
    scored(LSTMModel(WIDTH - 1, 8), sampler(width=WIDTH), True)
    assert made and not any(made)


class Passing(Windows):
    """A source that passes on what it has not, and makes windows of its own."""

    def __getattr__(self, name: str) -> object:
        return getattr(self.source, name)

    def batch(self, indices: Tensor, device: torch.device) -> Tensor:
        return super().batch(indices, device) * 2


@kinds
def test_windows_of_a_wrapper_are_read_as_it_makes_them(kind: Kind) -> None:
    network, source = seeded_network(lambda: kind(WIDTH, 8), 3), sampler()
    scores, _ = scored(network, Passing(source), has_label=True)
    windows = source.batch(torch.arange(len(source)), CPU)[..., :-1] * 2
    with torch.no_grad():
        torch.testing.assert_close(scores, network.eval()(windows), rtol=1e-5, atol=1e-6)
    of_instance = sampler()
    of_instance.batch = Passing(source).batch  # type: ignore[method-assign]
    assert torch.equal(scored(network, of_instance, has_label=True)[0], scores)


@kinds
@pytest.mark.parametrize("more", [-1, 1, 40])
@pytest.mark.parametrize("has_label", [False, True])
def test_windows_of_another_width_are_refused(kind: Kind, more: int, has_label: bool) -> None:
    network = seeded_network(lambda: kind(WIDTH + 1 - has_label + more, 8), 3)
    with pytest.raises(ValueError, match="expected windows"):
        scored(network, sampler(), has_label)
