"""What `test_torchrun.py` has torchrun start: a list of jobs, done in turn by two processes that say what they saw.

torchrun --standalone --nproc-per-node 2 tests/train/processes/two_processes.py JOBS.json
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dlcv.runtime.errors import DlcvError
from dlcv.train import run
from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint
from dlcv.train.checkpoints.session import TorchSession
from dlcv.train.loop import Trainer
from dlcv.train.processes.distributed import Processes
from dlcv.train.processes.torchrun import joined
from dlcv.train.settings.settings import TrainSettings
from dlcv.train.steps.stepper import Batch
from dlcv.train.validation import validate_together

UNKNOWN = 6
"""Of DeepGlobe's classes, the one that does not count."""


def uneven_batches() -> list[Batch]:
    """Four batches of four images, 64 x 64: no label counts in the second half of the first, in the first half of the third, and in
    all of the second and fourth."""
    rng = np.random.default_rng(4)
    images = torch.from_numpy(rng.integers(0, 256, (4, 4, 64, 64, 3), np.uint8))
    labels = torch.from_numpy(rng.integers(0, 6, (4, 4, 64, 64)))
    labels[0, 2:], labels[1], labels[2, :2], labels[3] = UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN
    return list(zip(images, labels, strict=True))


def weights_after_steps(trainer: Trainer, processes: Processes) -> dict[str, Any]:
    share = processes.place.share(4)
    batches = [(images[share], labels[share]) for images, labels in uneven_batches()]
    losses = [trainer._stepper.step(part, 0.1) for part in (batches, batches[1:2], batches[2:3])]
    return {"losses": losses, "weights": {name: value.tolist() for name, value in trainer.model.state_dict().items()}}


def hook(after: int, do: Callable[[Trainer], None]) -> Callable[[], None]:
    """Has `do` called after the so-many-th step; gives what undoes it."""
    original, steps = Trainer._step, []

    def step(self: Trainer, *args: Any) -> float:
        steps.append(original(self, *args))
        if len(steps) == after:
            do(self)
        return steps[-1]

    Trainer._step = step  # type: ignore[method-assign]
    return lambda: setattr(Trainer, "_step", original)


def no_number(trainer: Trainer) -> None:
    forward = trainer.model.forward
    trainer.model.forward = lambda images: forward(images) * float("nan")


def do(job: dict[str, Any], processes: Processes) -> dict[str, Any]:
    said: list[str] = []
    folder, seen, second = Path(job["folder"]), {}, processes.place.rank == 1
    if "checkpoint" in job:
        checkpoint = load_checkpoint(Path(job["checkpoint"]))
        session = TorchSession(model_from_checkpoint(checkpoint), checkpoint.card, torch.device("cpu"))
        trainer = run.start(
            TrainSettings(**job["settings"]), folder, overwrite=False, say=said.append, processes=processes
        )
        result = validate_together(
            processes, session, trainer.run.validation, trainer.loss, batch=2, stop=lambda: second and job["stop"]
        )
        return {"loss": result[0], "confusion": result[1].confusion.tolist()} if result else {"stopped": True}
    undo: Callable[[], object] = int
    if second and "interrupt" in job:  # the second process alone is told
        undo = hook(job["interrupt"], lambda _: os.kill(os.getpid(), signal.SIGTERM))
    if second and "nan" in job:
        undo = hook(job["nan"], no_number)
    try:
        trainer = run.start(
            TrainSettings(**job["settings"]), folder, overwrite=False, say=said.append, processes=processes
        )
        if job.get("steps"):
            return weights_after_steps(trainer, processes)
        trainer.train()
    except DlcvError as error:
        seen["error"] = str(error)
    undo()
    if job.get("resume"):
        torch.manual_seed(99)
        trainer = run.resume(folder, {"model": job["settings"]["model"]}, say=said.append, processes=processes)
        trainer.train()
    seen |= {"said": said, "stopped_early": trainer.stopped_early, "best": trainer.best, "scores": trainer.last_scores}
    weights = [value.double().sum().item() for value in trainer.result.parameters()]
    return {**seen, "weights": weights, "random": torch.rand(1).item()}


def main() -> None:
    with joined() as processes:
        assert processes is not None and processes.place.size == 2
        jobs = json.loads(Path(sys.argv[1]).read_text())
        for name, job in jobs.items():
            seen = do(job, processes)
            path = Path(sys.argv[1]).with_name(f"{name}-{processes.place.rank}.json")
            path.write_text(json.dumps(seen))


if __name__ == "__main__":
    main()
