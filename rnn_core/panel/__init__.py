"""Panel: bars of many instruments as dense [T, N] arrays, and long frames in and out of them.

Here are the container and the helpers for its two axes. Features, labels and files of bars are
in the rooms above. It stands in for the frame that qlib's `D.features` returns.
"""

from rnn_core.panel.panel import Panel

__all__ = ["Panel"]
