"""The pieces of a report page: tables, pictures, lists, one style.

The functions turn data into HTML text. Every text is escaped; pictures are data URIs, so a page is
one file that needs no other and no network, and can be mailed or archived. A picture may have a
chart with hover and zoom, which takes its place where scripts run.
"""

from __future__ import annotations

import base64
import gzip
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape

from rnn_core.evaluation.render import MOST_CURVES, signed

Format = Callable[[float], str]

_CSS = """
:root { color-scheme: light; }
body { font: 15px/1.45 system-ui, sans-serif; color: #222; background: #fff; margin: 0 auto;
  max-width: 1160px; padding: 1.2rem; }
h1 { font-size: 1.5rem; margin: 0 0 .2rem; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid #ddd; }
p.verdict { font-size: 1.05rem; max-width: 46rem; }
p.lead, figcaption, p.caption { color: #555; }
figcaption { font-size: .86rem; }
p.caption { font-size: .86rem; margin: .6rem 0 0; }
nav a { display: inline-block; margin-right: .9rem; color: #0072B2; }
figure { margin: .6rem 0 1.2rem; }
figure img { max-width: 100%; height: auto; display: block; }
figure [hidden] { display: none; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; margin: .4rem 0 1rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .22rem .5rem; text-align: right; border-bottom: 1px solid #eee;
  white-space: nowrap; }
thead th { border-bottom: 1.5px solid #999; font-weight: 600; vertical-align: bottom; }
tbody th, thead th:first-child { text-align: left; font-weight: 600; position: sticky; left: 0;
  background: #fff; }
table.facts td { text-align: left; white-space: normal; overflow-wrap: anywhere; }
.swatch { display: inline-block; width: .7em; height: .7em; margin-right: .45em;
  border-radius: 2px; }
p.remark { color: #555; font-size: .86rem; margin: -.5rem 0 1rem; }
details { margin: .4rem 0 1rem; }
summary { cursor: pointer; color: #0072B2; }
/* Tables and pictures scroll sideways rather than shrink past reading. */
@media (max-width: 640px) {
  body { padding: .8rem; }
  figure .still, figure:not(.chart) { overflow-x: auto; }
  figure img { max-width: none; width: 640px; }
  tbody th { white-space: normal; min-width: 5.5rem; max-width: 8.5rem;
    overflow-wrap: break-word; }
}
"""


_HINT = (
    "Point at a session for its values, drag across to zoom (a finger scrolls: press the button of "
    "the box first), press a name to hide its curves; the arrow in a circle shows everything again."
)
# A chart that cannot be drawn leaves its picture. A finger scrolls the page, it zooms by a button.
_CHARTS = """
(async () => {
  const packed = atob(document.getElementById("charts-library").textContent);
  const bytes = Uint8Array.from(packed, (sign) => sign.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const library = document.createElement("script");
  library.textContent = await new Response(plain).text();
  document.head.append(library);
  const touch = matchMedia("(pointer: coarse)").matches;
  const revive = (key, value) => touch && key == "active_drag" ? null : value;
  for (const figure of document.querySelectorAll("figure.chart")) {
    const still = figure.querySelector(".still"), hint = figure.querySelector("figcaption");
    const place = document.createElement("div");
    place.id = figure.id + "-chart";
    figure.prepend(place);
    try {
      const item = JSON.parse(figure.querySelector("script").textContent, revive);
      await Bokeh.embed.embed_item(item, place.id);
      if (still) still.hidden = true;
      hint.hidden = false;
    } catch (error) { place.remove(); }
  }
})();
"""


def page(
    title: str,
    lead: str,
    sections: Sequence[tuple[str, str]],
    *,
    opening: str = "",
    script: str = "",
) -> str:
    """Write a whole document.

    Args:
        title: shown and in the window's title.
        lead: a sentence under the title.
        sections: (heading, HTML) each; empty ones are left out.
        opening: the verdict, between title and lead.
        script: the library that draws the charts; empty leaves the pictures.

    Returns:
        HTML text.
    """
    chapters = [(heading, body) for heading, body in sections if body]
    links = "\n".join(
        f'<a href="#s{k}">{escape(heading)}</a>' for k, (heading, _) in enumerate(chapters)
    )
    bodies = "\n".join(
        f'<section id="s{k}"><h2>{escape(heading)}</h2>\n{body}\n</section>'
        for k, (heading, body) in enumerate(chapters)
    )
    said = f'<p class="verdict">{escape(opening)}</p>\n' if opening else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style></head>\n<body>\n"
        f'<h1>{escape(title)}</h1>\n{said}<p class="lead">{escape(lead)}</p>\n<nav>{links}</nav>\n'
        f"{bodies}\n{_scripts(script)}</body></html>\n"
    )


def _scripts(library: str) -> str:
    """Write what draws the charts, below all that can be read without it.

    The library is packed, a third of its size; a browser that cannot unpack it shows pictures.
    """
    if not library:
        return ""
    packed = base64.b64encode(gzip.compress(library.encode(), mtime=0)).decode("ascii")
    return (
        f'<script type="application/gzip" id="charts-library">{packed}</script>\n'
        f"<script>{_CHARTS}</script>\n"
    )


def table(
    header: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    colors: Mapping[str, str] | None = None,
) -> str:
    """Write a table whose first column names the rows.

    Args:
        header: of every column, a line break where it should wrap.
        rows: texts.
        caption: above it.
        colors: by name; a row of that name gets a swatch.

    Returns:
        HTML text.
    """
    top = "".join(f"<th>{escape(text).replace(chr(10), '<br>')}</th>" for text in header)
    body = []
    for row in rows:
        color = (colors or {}).get(row[0])
        mark = f'<span class="swatch" style="background:{escape(color)}"></span>' if color else ""
        cells = "".join(f"<td>{escape(text)}</td>" for text in row[1:])
        body.append(f"<tr><th>{mark}{escape(row[0])}</th>{cells}</tr>")
    # Outside of what scrolls sideways, so that a phone shows all of it.
    above = f'<p class="caption">{escape(caption)}</p>' if caption else ""
    return (
        f'{above}<div class="wide"><table><thead><tr>{top}</tr></thead>\n'
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def facts(values: Mapping[str, object]) -> str:
    """Write a table of names and values, empty without any."""
    rows = "".join(
        f"<tr><th>{escape(str(name))}</th><td>{escape(str(value))}</td></tr>"
        for name, value in values.items()
    )
    return f'<table class="facts"><tbody>{rows}</tbody></table>' if rows else ""


def picture(png: bytes, text: str, *, name: str = "", chart: str = "", beside: bool = False) -> str:
    """Embed a PNG in the page.

    Args:
        png: the picture.
        text: for those who cannot see it.
        name: of the picture on its page, needed with a chart.
        chart: of `rnn_core.evaluation.charts`, which takes its place where scripts run.
        beside: the chart stands above the picture, which has more signals.

    Returns:
        HTML text.
    """
    data = base64.b64encode(png).decode("ascii")
    image = f'<img alt="{escape(text)}" src="data:image/png;base64,{data}">'
    if not chart:
        return f"<figure>{image}</figure>"
    # No text of the data can end the element: JSON reads \\u003c as the sign it stands for.
    data = chart.replace("<", "\\u003c")
    still = "" if beside else "still"
    hint = f"{_HINT} The chart has the first {MOST_CURVES}, the picture all." if beside else _HINT
    return (
        f'<figure class="chart" id="{escape(name)}"><figcaption hidden>{escape(hint)}</figcaption>'
        f'<div class="{still}">{image}</div>'
        f'<script type="application/json">{data}</script></figure>'
    )


def bullets(lines: Iterable[str]) -> str:
    """Write a list, empty without lines."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<ul>{items}</ul>" if items else ""


def remarks(lines: Iterable[str]) -> str:
    """Write what explains the table above, each line a paragraph; empty without lines."""
    return "".join(f'<p class="remark">{escape(line)}</p>' for line in lines)


def folded(title: str, body: str) -> str:
    """Write HTML that opens on a click, without a script; empty without a body."""
    return f"<details><summary>{escape(title)}</summary>{body}</details>" if body else ""


def fixed(digits: int, *, scale: float = 1.0, unit: str = "", sign: bool = True) -> Format:
    """Build the format of a column of numbers; NaN is a dash.

    Args:
        digits: after the point.
        scale: factor of the numbers, e.g. 100 for percent.
        unit: written behind.
        sign: always write one.

    Returns:
        A function from number to text.
    """

    def write(value: float) -> str:
        if not math.isfinite(value):
            return "–"
        if sign:
            return signed(value * scale, digits, unit)
        return f"{value * scale:,.{digits}f}{unit}".replace("-", "\u2212")

    return write
