"""One run with one process and with several, beside each other: losses, and the confusion matrix of the same weights.

    python -m dlcv.benchmarks.programs.processes --data tiles/ --model fcn8s --width 0.25

The figures are in float32, whose sums depend on their order; the matrices are counts and have to be equal.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import click
import numpy as np

from dlcv.runtime.cli.common import Command
from dlcv.runtime.errors import DlcvError

MODULE = "dlcv.benchmarks.programs.processes"
FIGURES = ("train_loss", "validation_loss")


def compare(options: list[str], processes: int, folder: Path) -> list[str]:
    """Trains either way in `folder`, validates the one process's last weights either way, and tells the differences.

    Args:
        options: of `dlcv-train`.
        processes: how many are compared with one.
    """
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    for name, launcher in (("one", []), ("several", torchrun)):
        _python([*launcher, "-m", "dlcv.train", *options, "--output", str(folder / name)])
        validate = ["-m", MODULE, "--confusion-of", str(folder / "one" / "last.pt"), str(folder / f"{name}.npy")]
        _python([*launcher, *validate])
    one, several = (_rows(folder / name / "history.csv") for name in ("one", "several"))
    lines = [_difference(a, b, processes) for a, b in zip(one, several, strict=True)]
    matrices = [np.load(folder / f"{name}.npy") for name in ("one", "several")]
    apart = int(np.abs(matrices[0] - matrices[1]).sum()) // 2
    same = "equal" if not apart else f"different in {apart}"
    return [*lines, f"the same weights, validated: confusion matrices of {matrices[0].sum()} answers, {same}"]


def _python(arguments: list[str]) -> None:
    done = subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise DlcvError(f"{' '.join(arguments)} failed: {done.stderr.strip()[-2000:]}")


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def _difference(one: dict[str, str], several: dict[str, str], processes: int) -> str:
    told = [f"epoch {one['epoch']}"]
    for name in FIGURES:
        a, b = float(one[name]), float(several[name])
        told.append(
            f"{name.replace('_', ' ')} {a:.6g} with 1 and {b:.6g} with {processes}, {abs(a - b) / abs(a):.1e} apart"
        )
    return "; ".join(told)


def keep_confusion(checkpoint: Path, target: Path) -> None:
    """Validates a run's last weights, in each process that torchrun has started, and keeps the confusion matrix."""
    from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint
    from dlcv.train.checkpoints.session import TorchSession
    from dlcv.train.plan import data_of
    from dlcv.train.processes.distributed import ALONE
    from dlcv.train.processes.torchrun import joined
    from dlcv.train.settings.settings import settings_on_resume
    from dlcv.train.steps.losses import CrossEntropy
    from dlcv.train.validation import validate_together

    with joined() as several:
        processes, loaded = several or ALONE, load_checkpoint(checkpoint)
        settings = settings_on_resume(loaded.training["settings"], {})
        validation = data_of(settings, lambda _: None, processes).validation
        session = TorchSession(model_from_checkpoint(loaded), loaded.card, processes.device(settings.device))
        batch = -(-settings.batch // processes.place.size)
        result = validate_together(processes, session, validation, CrossEntropy(), batch=batch, stop=lambda: False)
        if processes.main and result is not None:
            np.save(target, result[1].confusion)


@click.command("processes", cls=Command, context_settings={"ignore_unknown_options": True})
@click.option("--processes", default=2, show_default=True, help="How many are compared with one.")
@click.option("--confusion-of", type=(click.Path(path_type=Path), click.Path(path_type=Path)), hidden=True)
@click.argument("options", nargs=-1, type=click.UNPROCESSED, metavar="OPTIONS OF dlcv-train")
def main(processes: int, confusion_of: tuple[Path, Path] | None, options: tuple[str, ...]) -> None:
    """Compare training with one process and with several, started by torchrun."""
    if confusion_of is not None:
        keep_confusion(*confusion_of)
        return
    folder = Path(tempfile.mkdtemp(prefix="dlcv-processes-"))
    try:
        for line in compare(list(options), processes, folder):
            click.echo(line)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
