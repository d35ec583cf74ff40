"""Pictures of tests: kept by what they show, or blank."""

from __future__ import annotations

import base64
import hashlib
import io
import pickle
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_BLANK = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABAQAAAAA3bvkkAAAACklEQVR4nGNoAAAAggCBd81ytgAAAABJRU5ErkJggg=="
)
_drawn: dict[bytes, bytes] = {}


class _Content(pickle.Pickler):
    """All that a figure holds but the addresses of its transforms."""

    def reducer_override(self, part: Any) -> Any:
        from matplotlib.transforms import TransformNode

        if not isinstance(part, TransformNode):
            return NotImplemented
        make, given, state, *rest = part.__reduce_ex__(4)
        return make, given, {k: v for k, v in state.items() if k != "_parents"}, *rest


def drawn_once(draw: Callable[[Figure], bytes]) -> Callable[[Figure], bytes]:
    """A function that draws a figure, or returns the bytes of an equal one drawn before."""

    def kept(fig: Figure) -> bytes:
        content = io.BytesIO()
        try:
            _Content(content, 4).dump(fig)
        except (pickle.PicklingError, AttributeError):  # it holds a function of its own
            return draw(fig)
        key = hashlib.sha256(content.getbuffer()).digest()
        if key not in _drawn:
            _drawn[key] = draw(fig)
        return _drawn[key]

    return kept


def blank_png(fig: Figure) -> bytes:
    """A picture of one pixel; that the figure has something to show is asked all the same."""
    assert fig.axes, "a figure without axes"
    return _BLANK


def blank_figure() -> Figure:
    """A figure with one empty pair of axes."""
    from matplotlib.figure import Figure

    figure = Figure()
    figure.add_subplot()
    return figure


def figure_makers(*modules: ModuleType) -> Iterator[tuple[ModuleType, str]]:
    """Every function `plot_...` that a module names."""
    for module in modules:
        names = {*vars(module), *getattr(module, "__all__", ())}
        yield from ((module, name) for name in names if name.startswith("plot_"))
