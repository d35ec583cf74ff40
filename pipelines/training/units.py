"""Training units: one seed of one model as of one session, named by all that decides its bits.

A training is a pure function of configuration, data and seed on one kind of machine, so a unit can
be trained in any process and on any host, and the bundle that joins the units of a session has the
bytes of a training in one loop. The key of a unit is the digest of these facts; a worker computes
the facts for itself and refuses a unit whose plan has others.

The number of threads is no fact of most units (`rnn_core/training/workers.py`): only a network
whose batches cannot be cut, one with dropout say, has other bits on another number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pipelines.config.models import ModelSpec
from pipelines.errors import PipelineError
from pipelines.market.market import Market
from pipelines.training.training_config import seeds_of, training_config
from pipelines.training.warm_start import Parent
from pipelines.warehouse.partition_file import fingerprint

if TYPE_CHECKING:
    from torch import Tensor, nn

    from rnn_core.training import EpochReport

FORMAT = 1
OnEpoch = Callable[["Unit", "EpochReport"], None]


class UnitRefusedError(PipelineError):
    """A worker would train a unit to other bits than the plan says."""


class UnitFailedError(PipelineError):
    """A worker could not train a unit."""


@dataclass(frozen=True)
class Unit:
    """The training of one seed.

    Attributes:
        model: name of the model.
        as_of: the anchor session.
        seed: of the weights, the order of batches, and whatever else is random.
        config: digest of the configuration that decides weights, code version included.
        data: digest over all partitions that are learned from.
        device: class of the device: `cpu` or `cuda`, with its capability.
        precision: of the products; None of an estimator.
        threads: of the CPU, where their number decides bits; else None.
        versions: of the libraries that decide bits.
        parent: fingerprint of the bundle whose member of the same seed this one begins with; None
            for fresh weights.
    """

    model: str
    as_of: str
    seed: int
    config: str
    data: str
    device: str
    precision: str | None
    threads: int | None
    versions: Mapping[str, str] = field(hash=False)
    parent: str | None = None

    def __str__(self) -> str:
        return f"{self.model} as of {self.as_of} seed {self.seed}"

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Unit:
        """A unit from the facts of `to_dict`; facts that are unknown are left out."""
        return cls(**{one.name: facts[one.name] for one in fields(cls)})

    def to_dict(self) -> dict[str, Any]:
        """The facts, as plain values."""
        return asdict(self)

    @cached_property
    def key(self) -> str:
        """The digest of all facts, 32 characters of it: the unit's name in the store."""
        return fingerprint({"format": FORMAT, **self.to_dict()})[:32]

    @property
    def is_on_cpu(self) -> bool:
        """True for a unit that needs no accelerator."""
        return self.device.startswith("cpu")


def units_of(
    market: Market, spec: ModelSpec, as_of: str, data: str, parent: Parent | None = None
) -> tuple[Unit, ...]:
    """The units that the bundle of a session joins, in the order of its members.

    Args:
        market: the market.
        spec: the model.
        as_of: the anchor session.
        data: digest over all partitions that the model is trained on.
        parent: the bundle whose weights it begins with; None for fresh weights.

    Raises:
        ValueError: the configured device is not there, or lacks the precision.
    """
    first, *others = seeds_of(market, spec)
    config, begins = unit_config(market, spec), parent.fingerprint if parent else None
    unit = Unit(spec.name, as_of, first, config, data, **_machine(market, spec), parent=begins)
    return (unit, *(replace(unit, seed=seed) for seed in others))


def unit_config(market: Market, spec: ModelSpec) -> str:
    """Digest of the configuration of one seed's training.

    The number of seeds does not enter, so that one more leaves the others as they are; nor does the
    configured precision, in place of which the resolved one stands.
    """
    config = training_config(market, spec)
    return fingerprint({k: v for k, v in config.items() if k not in ("seeds", "precision")})


def require_same(market: Market, spec: ModelSpec, unit: Unit) -> None:
    """Confirm that this process would train a unit to the planned bits.

    Raises:
        UnitRefusedError: a fact is another one here; the message names each with both values.
        ValueError: the configured device is not there.
    """
    here = Unit(
        unit.model,
        unit.as_of,
        unit.seed,
        unit_config(market, spec),
        unit.data,
        **_machine(market, spec, threads=unit.threads),
        parent=unit.parent,
    )
    found, planned = here.to_dict(), unit.to_dict()
    differences = [
        f"{name} is {found[name]}, planned was {planned[name]}"
        for name in planned
        if found[name] != planned[name]
    ]
    if differences:
        raise UnitRefusedError(
            f"{unit} is not trained in this process, whose bits would differ: "
            f"{'; '.join(differences)}. Start workers with the planner's configuration, packages "
            f"and kind of device, or set training.device to a device that all of them have, and "
            f"training.precision to float32 where only some have another"
        )


def library_versions(spec: ModelSpec) -> dict[str, str]:
    """The versions of the libraries that decide a model's bits, as its manifest names them."""
    return _versions("numpy", "torch", "rnn-signal-factory", *_own_package(spec))


def _own_package(spec: ModelSpec) -> Sequence[str]:
    return [spec.estimator.package] if spec.estimator and spec.estimator.package else []


def _versions(*names: str) -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in names}


def _machine(market: Market, spec: ModelSpec, threads: int | None = None) -> dict[str, Any]:
    """The facts of a unit that this process decides."""
    import torch

    from rnn_core.training.device import resolve_device
    from rnn_core.training.precision import resolve_precision
    from rnn_core.training.workers import can_shard

    training = market.config.training
    versions = {**library_versions(spec), **_versions("numba")}
    cpu = torch.device("cpu")
    if spec.estimator is not None:
        facts = {"device": _device_class(cpu), "precision": None, "threads": None}
        return {**facts, "versions": versions}
    device = resolve_device(training.device).device
    number = threads or training.threads or torch.get_num_threads()
    network, example = _untrained(market, spec)
    return {
        "device": _device_class(device),
        "precision": resolve_precision(device, training.precision, network, example).precision,
        # A network whose batches cannot be cut: torch's threads cut its sums.
        "threads": number if device == cpu and not can_shard(network, example) else None,
        "versions": versions,
    }


def _device_class(device: Any) -> str:
    """A device by what decides the bits of its kernels."""
    import torch

    if device.type == "cpu":
        return f"cpu {torch.backends.cpu.get_cpu_capability()}"
    properties = torch.cuda.get_device_properties(device)
    return f"cuda {properties.major}.{properties.minor} {properties.name}"


def _untrained(market: Market, spec: ModelSpec) -> tuple[nn.Module, Tensor]:
    """The model's network with fresh weights, in training mode, and a row of its input."""
    import torch

    from rnn_core.models import build_network
    from rnn_core.training.seeding import seeded_network

    dataset = market.dataset_of(spec.name)
    columns = len(dataset.window_columns)
    network = seeded_network(lambda: build_network(spec.family, columns, spec.hyper), 0)
    return network.train(), torch.zeros(1, dataset.config.step_len, columns)
