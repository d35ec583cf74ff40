"""Running of a strict program over a market: instruments in chunks, sessions in pieces.

A piece holds as many sessions as keep an instrument's workspace in the second-level cache, with the
look-back of the set in front. Cutting changes no bit: a value depends only on the sessions that its
expression names. A set that reads all of history gets one piece.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnn_core.features.expression import Call, Expression, Text
from rnn_core.features.operators import UNBOUNDED
from rnn_core.features.strict import machine
from rnn_core.features.strict.elementwise import BLOCK
from rnn_core.features.strict.program import Program, compile_program
from rnn_core.features.strict.rolling_windows import covering
from rnn_core.panel.panel import Panel, instrument_position

Array = NDArray[Any]

PIECE = 1_400
"""Sessions that an instrument's workspace holds: about 100 rows of them fit a 1 MB cache."""


def prepare(
    panel: Panel,
    nodes: tuple[Expression, ...],
    least: int,
    everywhere: bool,
) -> Callable[[int, int, Array, int], None]:
    """Plan the evaluation of expressions on a panel.

    Args:
        panel: the market.
        nodes: F expressions.
        least: fewest values that a window needs for a result.
        everywhere: keep the formula's values on cells without a row.

    Returns:
        A function for any thread, which evaluates the instruments first .. last-1 into an [F, *, T]
        float32 or float64 array, the first of them at a place.

    Raises:
        ValueError: on an instrument of `Mask` that the panel lacks.
    """
    sessions = panel.shape[1]
    program = compile_program(nodes, covering(sessions), least)
    pieces = _pieces(nodes, sessions)
    longest = int((pieces[:, 1] - pieces[:, 0]).max(initial=0))
    others = _other_instruments(panel, program, least)
    no32, no64 = np.empty((0, 0, 0), np.float32), np.empty((0, 0, 0), np.float64)
    idle: SimpleQueue[tuple[Array, Array]] = SimpleQueue()

    def run(first: int, last: int, out: Array, place: int) -> None:
        present = panel.present[first:last]
        # The inputs of the chunk: cleaned fields, and series of other instruments.
        raw = np.empty((len(program.inputs), last - first, sessions))  # [fields, C, T]
        for row, name in enumerate(program.inputs):
            if isinstance(name, str):
                machine.clean(panel.fields[name][first:last], present, raw[row])
            else:
                raw[row] = others[name]
        # A workspace that another call has finished with, or a new one.
        try:
            memory, registers = idle.get_nowait()
        except Empty:
            memory, registers = _workspace(program, longest)
        known = np.zeros(max(program.geometries, 1), dtype=np.int64)
        machine.execute(
            program.code,
            program.ops,
            program.levels,
            program.requests,
            program.params,
            raw,
            present,
            least,
            everywhere,
            pieces,
            place,
            memory,
            program.rows,
            registers,
            known,
            out if out.dtype == np.float32 else no32,
            out if out.dtype == np.float64 else no64,
        )
        idle.put((memory, registers))

    return run


def _workspace(program: Program, longest: int) -> tuple[Array, Array]:
    """Allocate rows for the longest piece, and registers with the constants filled in."""
    memory = np.empty((program.rows + machine.PADS) * (longest + machine.MARGIN))
    registers = np.empty((program.registers, BLOCK))
    registers[: len(program.constants)] = np.array(program.constants)[:, None]
    return memory, registers


def _pieces(nodes: Sequence[Expression], sessions: int) -> NDArray[np.int64]:
    """Cut the history, [P, 4]: sessions to load, with the reach of the set, and to store."""
    back = max((node.look_back for node in nodes), default=0)
    ahead = max((node.look_ahead for node in nodes), default=0)
    size = sessions if back >= UNBOUNDED else max(PIECE - back - ahead, 4 * (back + ahead), 1)
    count = max(-(-sessions // size), 1) if sessions else 0
    edges = np.linspace(0, sessions, count + 1).astype(np.int64)
    low, high = edges[:-1], edges[1:]
    return np.stack(
        [np.maximum(low - back, 0), np.minimum(high + ahead, sessions), low, high], axis=1
    )


def _other_instruments(panel: Panel, program: Program, least: int) -> dict[Call, Array]:
    """Compute the series that `Mask` takes from one instrument and gives to all, [T] each."""
    series = {}
    for node in program.inputs:
        if isinstance(node, Call):
            inside, name = node.arguments
            code = name.value if isinstance(name, Text) else str(name)
            one = _only(panel, instrument_position(panel, code))
            values = np.empty((1, *one.shape))
            prepare(one, (inside,), least, True)(0, 1, values, 0)
            series[node] = values[0, 0]
    return series


def _only(panel: Panel, place: int) -> Panel:
    """Return one instrument of a panel."""
    fields = {name: values[place : place + 1] for name, values in panel.fields.items()}
    return Panel(
        panel.sessions,
        panel.instruments[place : place + 1],
        fields,
        panel.present[place : place + 1],
    )
