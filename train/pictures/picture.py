"""A picture of a run that lies in files: what a report embeds, whoever drew it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Picture:
    """A picture and the data that it shows.

    Attributes:
        name: of its files, without a suffix: `confusion`, `tsne`; its own within a report.
        title: a heading, a few words.
        caption: what is seen and how to read it, in a sentence or two; plain text.
        png: the picture.
        data: the same as CSV or JSON; None where there is nothing to tell but pixels.
    """

    name: str
    title: str
    caption: str
    png: Path
    data: Path | None = None
