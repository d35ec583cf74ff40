"""Draw the pictures of docs/concepts.md: `python docs/draw.py` writes them to docs/images.

They are SVG made of boxes, lines and text, so that a page needs neither a script nor the network
to show them, and a change is seen in a diff. `tests/test_docs.py` compares the files with this.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
INK, PALE, GREEN, GREY = "#1f2933", "#eef2f7", "#d9f2e0", "#e4e7eb"

BOXES = {
    "ohlcv": (20, 120),
    "alpha158": (150, 70),
    "label": (150, 170),
    "processors": (280, 120),
    "dataset_infer": (430, 20),
    "dataset_learn": (430, 220),
    "lstm_model": (430, 120),
    "lstm_prediction": (580, 70),
    "lstm_evaluation": (730, 170),
    "lstm_portfolio": (730, 70),
    "signal_report": (880, 170),
    "portfolio_report": (880, 70),
}
"""Left and top of every asset, for one model."""

ARROWS = [
    ("ohlcv", "alpha158"),
    ("ohlcv", "label"),
    ("alpha158", "processors"),
    ("label", "processors"),
    ("processors", "dataset_infer"),
    ("processors", "dataset_learn"),
    ("processors", "lstm_model"),
    ("lstm_model", "lstm_prediction"),
    ("lstm_prediction", "lstm_evaluation"),
    ("lstm_prediction", "lstm_portfolio"),
    ("lstm_evaluation", "signal_report"),
    ("lstm_portfolio", "signal_report"),
    ("lstm_portfolio", "portfolio_report"),
]
"""Readers by what they read, but for what a shown path already says."""

ROWS = [
    ("features", -60, 0, "bars of the last 60 sessions"),
    ("label", -2, 0, "decided at D − 2, matured at D"),
    ("model", -9, 0, "trained on rows that matured at D or before"),
    ("prediction", 0, 0, "scores by the model in force at D"),
    ("evaluation", -2, 0, "scores of D − 2 against the labels of D"),
    ("portfolio", -1, 1, "executes what D − 1 ordered, orders for D + 1"),
]
"""Asset, first and last session that its partition D speaks of, relative to D; and a remark."""


def box(x: float, y: float, width: float, height: float, fill: str, text: str = "") -> str:
    """A rectangle with a text in its middle."""
    shape = (
        f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="4" '
        f'fill="{fill}" stroke="{INK}" stroke-width="0.8"/>'
    )
    return shape + (label(x + width / 2, y + height / 2 + 4, text, "middle") if text else "")


def label(x: float, y: float, text: str, anchor: str = "start") -> str:
    """A line of text."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'


def svg(width: int, height: int, title: str, parts: list[str]) -> str:
    """The document, on a white ground, as dark pages show it, too."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'font-family="sans-serif" font-size="12" fill="{INK}" role="img">'
    )
    tip = (
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
        f'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="{INK}"/></marker></defs>'
    )
    ground = f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
    lines = [head, f"<title>{escape(title)}</title>", tip, ground, *parts, "</svg>"]
    return "\n".join(lines) + "\n"


def draw_graph() -> str:
    """The assets of one model, and who reads whom."""
    width, height = 120, 34
    parts = []
    for start, end in ARROWS:
        (x0, y0), (x1, y1) = BOXES[start], BOXES[end]
        a, b = x0 + width, x1
        p, q = y0 + height / 2, y1 + height / 2
        if x0 == x1:  # one above the other
            a, b, p, q = x0 + 60, x1 + 60, y0 + height * (y1 > y0), y1 + height * (y0 > y1)
        parts.append(
            f'<path d="M{a:g} {p:g}L{b:g} {q:g}" stroke="{INK}" fill="none" '
            'marker-end="url(#tip)"/>'
        )
    parts += [box(x, y, width, height, PALE, name) for name, (x, y) in BOXES.items()]
    return svg(1020, 270, "The assets of a market, for one model", parts)


def draw_law() -> str:
    """Partition D of every asset on a line of sessions, and the future that none of them sees."""
    left, step, top = 150, 48, 60
    sessions = range(-9, 3)

    def x(session: int) -> float:
        return left + step * (max(session, -9) + 9)

    bottom = top + 40 * len(ROWS)
    parts = [box(x(1), top - 34, 2 * step, bottom - top + 44, GREY)]
    parts += [
        label(x(s) + step / 2, top - 14, f"D {'−+'[s > 0]} {abs(s)}" if s else "D", "middle")
        for s in sessions
    ]
    for row, (name, first, last, remark) in enumerate(ROWS):
        y = top + 40 * row
        parts.append(label(10, y + 20, f"{name} of D"))
        parts.append(box(x(first), y + 4, x(min(last, 0)) + step - x(first), 24, GREEN))
        if last > 0:  # what is ordered is no knowledge of the future
            parts.append(
                f'<path d="M{x(0) + step:g} {y + 16}L{x(last) + step / 2:g} {y + 16}" '
                f'stroke="{INK}" stroke-dasharray="4 3" marker-end="url(#tip)"/>'
            )
        parts.append(label(x(3) + 14, y + 20, remark))
    parts.append(label(x(1) + step, bottom + 24, "not known at D", "middle"))
    close = x(0) + step
    parts.append(
        f'<path d="M{close:g} {top - 40}V{bottom + 10}" stroke="{INK}" stroke-width="1.6"/>'
    )
    parts.append(label(close - 6, bottom + 24, "the close of D", "end"))
    return svg(1020, bottom + 40, "The law of partitions", parts)


PICTURES = {"assets.svg": draw_graph, "law_of_partitions.svg": draw_law}

if __name__ == "__main__":
    for name, draw in PICTURES.items():
        (IMAGES / name).write_text(draw(), encoding="utf-8")
        print(IMAGES / name)
