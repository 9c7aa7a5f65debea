"""`--unreadable leave-out`: images that cannot be used are found before training, told, listed, and left out."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.datasets.unusable import unusable
from dlcv.runtime.errors import DatasetError, one_line
from dlcv.runtime.files import write_bytes
from dlcv.runtime.progress import Progress
from dlcv.runtime.records.journal import escape
from dlcv.train.processes.distributed import Processes

Labelled = LabelledSet[Any]
STOP, LEAVE_OUT = "stop", "leave-out"
UNREADABLE = (STOP, LEAVE_OUT)
"""What becomes of a run whose data has images that cannot be used: it stops at the first, or goes on without them."""


@dataclass(frozen=True)
class LeftOut:
    """An image that cannot be used: its name as in `split.csv`, the side it would be on, and why."""

    name: str
    part: str
    reason: str


def without_unusable(
    labelled: Labelled, part: str, processes: Processes, say: Callable[[str], None]
) -> tuple[Labelled, list[LeftOut]]:
    """One side of the data without what cannot be read, and what that is. Several processes read a share each.

    Args:
        labelled: the images of the side.
        part: `train` or `validation`.
        say: takes a line about what is left out.

    Raises:
        DatasetError: when that is more than half: then it is not single files that are at fault.
    """
    place = processes.place
    mine = labelled.with_examples(labelled.examples[place.rank :: place.size])
    with Progress(len(mine), f"reading all of {part}", quiet=not place.main) as progress:
        shares = processes.gathered(unusable(mine, progress.advance))
    reasons = {name: reason for share in shares for name, reason in share.items()}
    left_out = [LeftOut(e.name, part, reasons[e.name]) for e in labelled.examples if e.name in reasons]
    if not left_out:
        return labelled, []
    count = f"{len(left_out)} of {len(labelled)} images of {part}"
    if 2 * len(left_out) > len(labelled):
        raise DatasetError(
            f"{count} cannot be used, more than are left out as damaged; the first: {left_out[0].reason}"
        )
    say(f"{count} cannot be used and {'is' if len(left_out) == 1 else 'are'} left out, such as: {left_out[0].reason}")  # fmt: skip
    return labelled.with_examples([e for e in labelled.examples if e.name not in reasons]), left_out


@contextmanager
def advised(unreadable: str) -> Iterator[None]:
    """Within it images are read: what cannot be is told with the way to go on without it, where that is not what was asked for."""
    try:
        yield
    except DatasetError as error:
        if unreadable != STOP:
            raise
        raise DatasetError(f"{error}; or go on without such images: --unreadable {LEAVE_OUT}") from error


def write_left_out(path: Path, left_out: Sequence[LeftOut]) -> None:
    """Writes them to a CSV with the columns `name`, `split` and `reason`; where there are none, there is no file.

    Raises:
        OutputError: when the file cannot be written.
    """
    if not left_out:
        path.unlink(missing_ok=True)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("name", "split", "reason"))
    writer.writerows((escape(each.name), each.part, one_line(each.reason)) for each in left_out)
    write_bytes(path, text.getvalue().encode())
