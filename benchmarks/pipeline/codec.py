"""CPU time of reading a tile and writing its mask, beside OpenCV: `python -m dlcv.benchmarks.pipeline.codec`."""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import click

from dlcv.benchmarks.timing import MIN_PAIRS
from dlcv.runtime.cli.common import Command
from dlcv.runtime.machine import cpu_name
from dlcv.runtime.tables import markdown_table

LABELS = {"read": "reading", "write": "writing", "both": "both"}


@click.command("codec", cls=Command)
@click.option(
    "--tiles", type=click.Path(path_type=Path), default=None, help="Folder of tiles.  [default: generated scenes]"
)
@click.option(
    "--masks",
    type=click.Path(path_type=Path),
    default=None,
    help="Folder of index masks.  [default: made of the tiles]",
)
@click.option("--count", type=click.IntRange(1), default=60, show_default=True)
@click.option("--rounds", type=click.IntRange(3), default=MIN_PAIRS, show_default=True)
def main(tiles: Path | None, masks: Path | None, count: int, rounds: int) -> None:
    """Print CPU time a tile of dlcv beside cv2.imread with BGR to RGB and cv2.imwrite of a grey PNG."""
    import cv2

    with tempfile.TemporaryDirectory() as scratch:
        ways = _ways(tiles, masks, Path(scratch), count)
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for round_number in range(rounds + 1):
            for name, way in ways.items():
                start = time.thread_time()
                way()
                if round_number:  # the first round warms up
                    taken[name].append((time.thread_time() - start) * 1000 / count)
    for side in ("dlcv", "cv2"):
        taken[f"{side} both"] = [a + b for a, b in zip(taken[f"{side} read"], taken[f"{side} write"])]
    rows = []
    for what, label in LABELS.items():
        ours, theirs = taken[f"dlcv {what}"], taken[f"cv2 {what}"]
        low, median, high = statistics.quantiles([a / b for a, b in zip(ours, theirs)], n=4)
        rows.append(
            [
                label,
                f"{statistics.median(ours):.2f}",
                f"{statistics.median(theirs):.2f}",
                f"{median:.2f} ({low:.2f} to {high:.2f})",
            ]
        )
    click.echo(
        markdown_table(["CPU time", "dlcv, ms a tile", "OpenCV, ms a tile", "dlcv / OpenCV, median (quartiles)"], rows)
    )
    packages = ", ".join(name for name in ("simplejpeg", "isal") if find_spec(name)) or "none"
    click.echo(
        f"\n{count} tiles, {rounds} rounds in turn in one thread, {cpu_name()}, OpenCV {cv2.__version__}; of the extra `fast`: {packages}."
    )


def _ways(tiles: Path | None, masks: Path | None, scratch: Path, count: int) -> dict[str, Callable[[], object]]:
    import cv2

    from dlcv.benchmarks.pipeline.scenes import tile_paths
    from dlcv.benchmarks.pipeline.stand_ins import mask_of
    from dlcv.runtime.masks import read_mask, write_mask
    from dlcv.runtime.tiles.decode import decode_file

    cv2.setNumThreads(1)  # CPU time of this thread is all that there is
    paths = tile_paths(tiles, scratch, count, 512)
    if masks is None:
        answers = [mask_of(decode_file(path)) for path in paths]
    else:
        answers = [read_mask(path) for path in sorted(masks.rglob("*.png"))[:count]]
    palette = [(0, 0, 0)] * 8

    def read() -> None:
        for path in paths:
            decode_file(path)

    def cv2_read() -> None:
        for path in paths:
            image = cv2.imread(str(path))
            assert image is not None, path
            cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def write() -> None:
        for number, mask in enumerate(answers):
            write_mask(scratch / f"{number}.dlcv.png", mask, palette)

    def cv2_write() -> None:
        for number, mask in enumerate(answers):
            cv2.imwrite(str(scratch / f"{number}.cv2.png"), mask)

    return {"dlcv read": read, "cv2 read": cv2_read, "dlcv write": write, "cv2 write": cv2_write}


if __name__ == "__main__":
    main()
