"""Names that a package loads on first use, listed once, in the package's stub.

torch and numba take seconds to import, so `rnn_core.data` and its neighbours import a module
only when one of its names is used. The list of names is `__init__.pyi`, which type checkers read
too, one line a name:

    from rnn_core.data.alpha import Alpha158 as Alpha158

The whole `__init__.py` of such a package, below its docstring, is

    __getattr__, __dir__, __all__ = attach_stub(__name__, __file__)

The package lazy_loader does the same for names of the package itself. A stub here may also name
modules of other packages, which `rnn_core.models` needs for the estimators.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any


def attach_stub(
    package: str, file: str
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """The module functions of a package whose names are listed in its stub.

    Args:
        package: `__name__` of the package.
        file: `__file__` of the package; the stub lies beside it, with the suffix .pyi.

    Returns:
        `__getattr__`, which imports a name's module at the first use of the name; `__dir__`; and
        `__all__`.

    Raises:
        OSError: there is no stub.
    """
    stub = ast.parse(Path(file).with_suffix(".pyi").read_text(encoding="utf-8"))
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    homes: dict[str, str] = {}
    for node in imports:
        home = str(node.module)
        names = [alias.name for alias in node.names]
        # All names of another package whose names load on first use.
        listed = import_module(home).__all__ if names == ["*"] else names
        homes |= dict.fromkeys(listed, home)

    def load(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(homes[name]), name)
        setattr(sys.modules[package], name, value)  # the next use does not come here
        return value

    return load, lambda: sorted(homes), sorted(homes)
