"""What the figures share: colours that colour-blind people tell apart, sizes legible when shown at half, the way to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcv.runtime.errors import MissingPackageError
from dlcv.runtime.files import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442")
"""Okabe and Ito, "Color Universal Design", 2008; yellow last, which is faint on white."""

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
"""Where colours are used up, or are not seen, the marker tells classes apart."""

DPI = 120
SMALL = 128
"""Pixels of the side of an image that is enlarged in its panel."""

TEXT_PT = 10
"""At `DPI`, 17 pixels: 8 at half size."""


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure, in inches.

    Raises:
        MissingPackageError: without matplotlib.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingPackageError("matplotlib", "draw pictures", "pip install 'dlcv-edge[report]'") from error
    return Figure(figsize=(width_in, height_in), dpi=DPI, layout="constrained")


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG, whole or not at all; the same bytes for the same figure.

    Raises:
        OutputError: when it cannot be written.
    """
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        figure.savefig(file, format="png", metadata={"Software": None})


def show(axes: Axes, image: Any, title: str = "", below: str = "", **options: Any) -> None:
    """An image without axes, with a line above and one below."""
    # enlarged pixels stay pixels, which is honest and makes a small file
    options.setdefault("interpolation", "nearest" if max(image.shape[:2]) <= SMALL else "auto")
    axes.imshow(image, **options)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(title, fontsize=TEXT_PT)
    axes.set_xlabel(below, fontsize=TEXT_PT)


def clipped(text: str, most: int = 16) -> str:
    """The beginning of a long name: of a class."""
    return text if len(text) <= most else text[: most - 1] + "…"


def short(text: str, most: int = 16) -> str:
    """A name that fits above a small image: the end of a long one, which tells tiles apart."""
    return text if len(text) <= most else "…" + text[1 - most :]
