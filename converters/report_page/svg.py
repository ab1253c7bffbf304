"""From a matplotlib figure to SVG that stands inside of the page.

Rules upheld here:
- No global state of matplotlib is left changed; pyplot, which keeps figures, is not imported.
- The same figure gives the same bytes: ids come from a salt, there is no date and no tool's name.
- Colours become the page's own (`var(--…)`), so that a plot is readable in the light and in the dark.
- Nothing refers to an address: namespaces, the document type and metadata are left out.
- Text stays text, in the page's font, escaped by matplotlib; `$` in a name is not mathematics.
"""

import html
import io
import re
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from wherry.converters.report_page.words import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_IN = 4.6
"""Narrow on purpose: on a phone it shrinks little, and its text stays readable."""

WIDE_IN = 9.4

INK, MUTED, GRID, PAPER = "#1b1f24", "#59636d", "#d8dee3", "#fdfdfe"
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
"""Okabe and Ito's colours, which the colour-blind tell apart."""

VARIABLES = {
    INK: "ink", MUTED: "muted", GRID: "grid", PAPER: "paper",
    BLUE: "blue", ORANGE: "orange", GREEN: "green", RED: "red", PURPLE: "purple", SKY: "sky",
}  # fmt: skip

SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY)
MARKERS = ("o", "s", "^", "D", "v", "P")
"""A series differs in shape as well as in colour."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none", "text.parse_math": False, "font.size": 9.0, "font.family": ["DejaVu Sans"],
    "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": MUTED, "axes.titlecolor": INK,
    "xtick.color": MUTED, "ytick.color": MUTED, "xtick.labelcolor": INK, "ytick.labelcolor": INK,
    "axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True, "axes.unicode_minus": True,
    "grid.color": GRID, "grid.linewidth": 0.7, "legend.frameon": False, "legend.fontsize": 8.5,
    "lines.linewidth": 1.2, "path.simplify": False,
}  # fmt: skip

_NO_METADATA = {"Date": None, "Creator": None, "Format": None, "Type": None}


def draw(label: str, height_in: float, paint: "Callable[[Figure, Axes], None]", *, width_in: float = WIDTH_IN) -> str:
    """Let `paint` fill a figure with one pair of axes; the SVG element, whose accessible name is `label`."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    out = io.BytesIO()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": label}), warnings.catch_warnings():
        warnings.simplefilter(
            "ignore"
        )  # a name in a script that no font here has is measured, and shown by the reader's
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        paint(figure, figure.add_subplot())
        figure.savefig(out, format="svg", transparent=True, metadata=_NO_METADATA)
    return _inline(out.getvalue().decode(), label)


def _inline(document: str, label: str) -> str:
    """The element alone, with the page's colours and an accessible name."""
    box = re.search(r'viewBox="([0-9. ]+)"', document)
    assert box is not None
    width = float(box.group(1).split()[2])
    body = document[document.index("<svg") :]
    body = body[body.index(">") + 1 :]
    body = re.sub(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>", "", body, flags=re.DOTALL)
    body = re.sub(r"<[^<>]+>", _tag, body)
    body = re.sub(r"<defs>\s*</defs>", "", body)
    body = re.sub(r">\s+<", "><", body)
    name = html.escape(clean(label))
    head = f'<svg viewBox="{box.group(1)}" role="img" aria-label="{name}" style="--wide:{width:g}pt">'
    return f"{head}<title>{name}</title>{body.strip()}"


def _tag(found: re.Match[str]) -> str:
    """Text between tags holds no `<`, so that only matplotlib's own attributes come here."""
    tag = found.group()
    if tag.startswith("<g "):
        tag = re.sub(r' id="[^"]*"', "", tag)
    if tag.startswith("<text "):
        tag = re.sub(r' transform="rotate\(-?0 [^"]*"', "", tag)
    tag = re.sub(r"font-family: [^;\"]*;? ?", "", tag)
    tag = re.sub(r"\s*\n\s*", " ", tag)
    return re.sub(r"#[0-9a-f]{6}\b", _colour, tag)


def _colour(found: re.Match[str]) -> str:
    variable = VARIABLES.get(found.group())
    return found.group() if variable is None else f"var(--{variable})"
