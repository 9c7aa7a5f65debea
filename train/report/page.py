"""The page of a report: its frame, tables and pictures, for one run and for several."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from dlcv.runtime.errors import UsageError
from dlcv.runtime.files import make_folder, write_bytes
from dlcv.runtime.pages import Html, data_uri, joined, page, tag
from dlcv.runtime.version import __version__
from dlcv.train.pictures.picture import Picture

PAGE = "index.html"
MARK = "made by dlcv-report"
"""Stands in each page, so that no other page is ever overwritten."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, caption: str = "", values: str = "number") -> Html:
    """A table whose first column names the rows.

    Args:
        header: names of the columns.
        rows: their cells.
        caption: above it; empty for none.
        values: how the other columns look: `number` stands to the right, `text` to the left, `code` like what is typed.
    """
    first, *others = header
    names = [tag("th", first, scope="col"), *(tag("th", name, scope="col", class_=values) for name in others)]
    lines = (
        tag("tr", tag("th", name, scope="row"), *(tag("td", cell, class_=values) for cell in cells))
        for name, *cells in rows
    )
    above = [tag("caption", caption)] if caption else []
    whole = tag("table", *above, tag("thead", tag("tr", *names)), tag("tbody", *lines))
    return tag("div", whole, class_="wide", tabindex="0")


def figure(picture: Picture, *, titled: bool = True, page_folder: Path | None = None) -> Html:
    """A picture in the page itself, and where its data lies.

    Args:
        picture: of which the file is read.
        titled: unless the heading above says it already.
        page_folder: where the page lies; None where the data lies right beside it.
    """
    words: list[str] = [picture.caption]
    if picture.data is not None:
        place = picture.data.name if page_folder is None else picture.data.relative_to(page_folder).as_posix()
        words += [" Data: ", tag("code", place), "."]
    image = tag("img", src=data_uri(picture.png.read_bytes(), ".png"), alt=f"{picture.title}. {picture.caption}")
    return tag("figure", *([tag("h3", picture.title)] if titled else []), image, tag("figcaption", *words))


def section(heading: str, *children: str) -> Html:
    """A part of the page; nothing where it has no content."""
    anchor = "".join(c if c.isalnum() else "-" for c in heading.lower())
    return tag("section", tag("h2", heading), *children, id=anchor) if any(children) else Html("")


def notes(sentences: Sequence[str]) -> Html:
    """What could not be drawn, and why."""
    return tag("ul", *(tag("li", sentence) for sentence in sentences), class_="notes") if sentences else Html("")


def write_page(
    path: Path, title: str, subtitle: str, body: Sequence[str], style: str = "", script: bool = False
) -> None:
    """Writes a whole page with what all have: heading, style, who made it.

    Raises:
        OutputError: when it cannot be written.
    """
    here = files(__package__)
    css, js = (here / "page.css").read_text("utf-8"), (here / "page.js").read_text("utf-8") if script else ""
    head = tag("header", tag("h1", title), tag("p", subtitle))
    foot = tag("footer", f"{MARK} {__version__}")
    text = page(title, joined(head, tag("main", *body), foot), css + style, js)
    write_bytes(path, text.encode())


def report_folder(folder: Path) -> Path:
    """Makes the folder that a report goes to.

    Raises:
        UsageError: when a page lies in it that is not a report.
        OutputError: when it cannot be made.
    """
    path = folder / PAGE
    if path.exists() and f"<footer>{MARK}" not in path.read_text("utf-8", "replace"):
        raise UsageError(f"{path} is there and is no report of dlcv-report; choose another folder with --output")
    make_folder(folder)
    return folder
