"""`make demo`: the real commands in sequence, on scenes that dlcv generates, ending with a picture and the parity table.

Each command is printed as a person would type it, then run as a process of its own.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import click

from dlcv.runtime.cli.common import Command, note
from dlcv.runtime.errors import DlcvError, UsageError

MARKER = ".dlcv-demo"
"""Says that a folder may be emptied: a demo made it."""

STEPS = (
    "dlcv-sample {folder}/tiles --tiles 96 --validation 24 --size 256",
    "dlcv-train --model fcn8s --data {folder}/tiles --width 0.25 --epochs {epochs} --crop 256 --batch 8 --output {folder}/run",
    "dlcv-export --model fcn8s --checkpoint {folder}/run/best.pt --output {folder}",
    "dlcv-infer {folder}/tiles/validation/*_sat.jpg --engine {folder}/fcn8s.onnx --output {folder}/masks",
    "dlcv-evaluate --engine {folder}/fcn8s.onnx --data {folder}/tiles",
    "dlcv-parity --reference {folder}/run/best.pt --candidate {folder}/fcn8s.onnx --data {folder}/tiles",
)


@click.command("demo", cls=Command)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--epochs", type=click.IntRange(1), default=20, show_default=True, help="Of the training.")
def main(folder: Path, epochs: int) -> None:
    """Sample, train, export, infer, evaluate and compare, all below FOLDER, which is emptied first."""
    from dlcv.benchmarks.judging.pictures import comparison_picture

    started = time.monotonic()
    if folder.exists() and any(folder.iterdir()) and not (folder / MARKER).exists():
        raise UsageError(f"{folder} holds files that no demo wrote; name an empty or a new folder")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / MARKER).touch()
    for step in STEPS:
        _run(step.format(folder=folder, epochs=epochs))
    picture = folder / "picture.png"
    comparison_picture(folder / "tiles", folder / "masks", folder / "fcn8s.onnx", picture)
    note(f"demo done in {time.monotonic() - started:.0f} s; image, truth and prediction side by side: {picture}")


def _run(line: str) -> None:
    """Runs a command line of this project's commands, without a shell; `dlcv-infer` expands globs by itself."""
    click.echo(f"\n$ {line}")
    name, *arguments = shlex.split(line)
    started = time.monotonic()
    code = subprocess.run([str(Path(sys.executable).parent / name), *arguments], check=False).returncode
    if code:
        raise DlcvError(f"{name} ended with exit code {code}")
    note(f"({time.monotonic() - started:.0f} s)")


if __name__ == "__main__":
    main()
