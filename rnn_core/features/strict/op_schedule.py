"""The schedule of a program: groups of statistics, with runs of element-wise operations between.

The outputs are walked in order; each group is put in front of the first output that needs it, and
everything element-wise in between becomes one run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rnn_core.features.strict import codes
from rnn_core.features.strict.lowering import Group, Lowering, Value


@dataclass
class Run:
    """Element-wise operations carried out together.

    Args:
        values: their results.
        stores: feature and value of each output written here.
        order: ("op", place in `values`) or ("store", place in `stores`), one after the other.
    """

    values: list[Value] = field(default_factory=list)
    stores: list[tuple[int, Value]] = field(default_factory=list)
    order: list[tuple[str, int]] = field(default_factory=list)


class Schedule:
    """Items in order, with the maker and the last reader of each value.

    Args:
        lowering: the values and groups to compute.
        outputs: the value of each feature.
    """

    def __init__(self, lowering: Lowering, outputs: Sequence[Value]) -> None:
        self.values = lowering.values
        self.groups = lowering.groups
        self.items: list[Run | Group] = [Run()]
        self.made: dict[Value, int] = {}  # value -> item that computes it
        self.whole: set[Value] = set()  # values that need a row
        self.used: dict[Value, int] = {}  # value -> last item that reads it
        for feature, output in enumerate(outputs):
            self.need(output)
            run = self.run()
            run.order.append(("store", len(run.stores)))
            run.stores.append((feature, output))
            self.read(output)

    @property
    def now(self) -> int:
        """Place of the current item."""
        return len(self.items) - 1

    def run(self) -> Run:
        """Return the current run, or begin one."""
        last = self.items[-1]
        if not isinstance(last, Run):
            last = Run()
            self.items.append(last)
        return last

    def read(self, value: Value) -> None:
        """Note that the current item reads a value."""
        self.used[value] = self.now
        if self.values[value][0] == "op" and self.made[value] != self.now:
            self.whole.add(value)

    def need(self, value: Value) -> None:
        """Schedule the computation of a value."""
        kind, *rest = self.values[value]
        if kind in ("input", "constant") or value in self.made:
            return
        if kind == "statistic":
            self.need_group(self.groups[rest[0]])
            return
        code, *operands = rest
        arguments = operands[:1] if code == codes.SHIFT else operands
        for operand in arguments:
            self.need(operand)
        self.run()
        if code == codes.FIRST or (code == codes.SHIFT and operands[1] < 0):
            self.finish(operands[0])
        run = self.run()
        self.made[value] = self.now
        run.order.append(("op", len(run.values)))
        run.values.append(value)
        for operand in arguments:
            self.read(operand)
        if code in (codes.SHIFT, codes.FIRST) and self.values[operands[0]][0] == "op":
            self.whole.add(operands[0])

    def finish(self, value: Value) -> None:
        """Begin a new run if the current one computes `value`."""
        if self.made.get(value) == self.now:
            self.items.append(Run())

    def need_group(self, group: Group) -> None:
        """Schedule a group."""
        for operand in group.operands:
            self.need(operand)
        self.items.append(group)
        for operand in group.operands:
            self.read(operand)
        for *_, value in group.asked:
            self.made[value] = self.now
