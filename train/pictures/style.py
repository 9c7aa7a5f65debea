"""How all pictures look: one font, colours that colour-blind people tell apart, and no text read as a formula.

Figures are made without pyplot: nothing is shown, nothing is kept, and any thread may draw.
"""

from __future__ import annotations

import functools
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from dlcv.runtime.errors import MissingPackageError
from dlcv.runtime.files import write_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

P = ParamSpec("P")
R = TypeVar("R")

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe and Ito's (2008), without the yellow, which is lost on white."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""One more than colours, so that the pairs differ for 56 runs."""
SOFT = "#5d6670"
DPI = 110
LONGEST_NAME = 28

_RULES: Any = {
    "font.family": ["DejaVu Sans"],
    "font.size": 11,
    "axes.titlesize": 13,
    "axes.labelsize": 12,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e0",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.linewidth": 2,
    "lines.markersize": 5,
    "figure.facecolor": "white",
    "text.parse_math": False,  # a class may be called `$x$`
}


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """A drawing function under the rules above, whatever the user's own matplotlib settings are.

    Raises:
        MissingPackageError: when matplotlib is missing.
    """

    @functools.wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            import matplotlib as mpl
        except ImportError as error:
            raise MissingPackageError("matplotlib", "draw", "pip install 'dlcv-edge[report]'") from error
        with mpl.rc_context(), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="Glyph .* missing from font"
            )  # drawn as a box; tables have the name
            mpl.rcdefaults()
            mpl.rcParams.update(_RULES)
            return draw(*args, **kwargs)

    return drawn


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure, sizes in inches of `DPI` pixels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")


@styled
def png_bytes(figure: Figure, *, exact: bool = False) -> bytes:
    """The figure as a PNG of at most 256 colours, a quarter of the size of one in true colours.

    The same figure gives the same bytes (no date, no version inside). Colours move by a level or two; single pixels of photographs
    by more, which nobody sees at their size. With `exact` no colour moves: where single pixels are what is to be seen.
    """
    from PIL import Image

    drawn, indexed = io.BytesIO(), io.BytesIO()
    # the layout may leave a title over the edge; so the edge goes where the drawing ends
    figure.savefig(drawn, format="png", metadata={"Software": None}, bbox_inches="tight", pad_inches=0.1)
    if exact:
        return drawn.getvalue()
    with Image.open(drawn) as image:
        few = image.convert("RGB").quantize(256, method=Image.Quantize.MEDIANCUT)
    few.save(indexed, format="PNG", optimize=True)
    return indexed.getvalue()


def write_png(figure: Figure, path: Path, *, exact: bool = False) -> None:
    """Writes the figure, whole or not at all; see `png_bytes`.

    Raises:
        OutputError: when the file cannot be written.
    """
    write_bytes(path, png_bytes(figure, exact=exact))


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """A name that fits beside a picture: its middle gives way, since ends tell names apart; on one line."""
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    if len(name) <= longest:
        return name
    head = (longest - 1) // 2
    return f"{name[:head]}\N{HORIZONTAL ELLIPSIS}{name[len(name) - (longest - 1 - head) :]}"


def ink_on(rgb: tuple[float, float, float]) -> str:
    """Black or white, whichever is read more easily on a colour (0..1 each); by its relative luminance, as WCAG 2 has it."""
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in rgb]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "black" if luminance > 0.179 else "white"
