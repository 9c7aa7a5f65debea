"""Two processes on one CPU beside one: the same losses, the same confusion matrix, one history, and no end that hangs."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from training_runs import history

from dlcv.train import run
from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint
from dlcv.train.checkpoints.session import TorchSession
from dlcv.train.data.examples import EpochBatches
from dlcv.train.folder.kept import kept_files
from dlcv.train.loop import Trainer
from dlcv.train.settings.settings import TrainSettings
from dlcv.train.validation import validate

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent
EPOCHS, STEPS = 2, 3  # 9 tiles in batches of 3, of which one process takes 1 and the other 2
QUICK_S = 600.0
"""torchrun and torch start in 5 to 15 s, several times that on a busy machine; a process that waits for one that has gone would
take 30 minutes, which is what this tells apart."""


def torchrun(*arguments: Any) -> list[str]:
    return [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *map(str, arguments),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def tiles() -> dict[str, Any]:
    """Settings of a run on tiles, for both; no dropout, no batch normalisation."""
    return {
        "model": "fcn8s", "width": 0.05, "epochs": EPOCHS, "batch": 3, "crop": 64, "learning_rate": 3e-3, "workers": 0,
        "device": "cpu", "seed": 1,
    }  # fmt: skip


@pytest.fixture(scope="module")
def jobs(
    tiles: dict[str, Any], scenes: Path, pictures: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("together")
    on_tiles = {**tiles, "data": str(scenes)}
    rare = {**on_tiles, "loss": "focal", "balanced_sampling": True, "accumulate": 2, "batch": 4, "ema": 0.5}
    dropout = {**on_tiles, "model": "fcn32s-fc1x1"}
    images = {
        "model": "resnet18", "data": str(pictures), "width": 0.1, "epochs": EPOCHS, "batch": 10, "workers": 1, "device": "cpu",
        "keep_best": 1,
    }  # fmt: skip
    found = {
        "weighted": {"settings": {**on_tiles, "loss": "weighted-cross-entropy", "clip_norm": 0.5, "keep_best": 1}},
        "rare": {"settings": rare},
        "dropout": {"settings": dropout},
        "dropout interrupted": {"settings": dropout, "interrupt": STEPS + 1, "resume": True},
        "pictures": {"settings": images},
        "pictures interrupted": {"settings": images, "interrupt": 2, "resume": True},
        "fewer": {"settings": {**on_tiles, "loss": "weighted-cross-entropy", "clip_norm": 0.5}, "interrupt": STEPS + 1},
        "nan": {"settings": on_tiles, "nan": STEPS + 1},
        "patience": {"settings": {**on_tiles, "learning_rate": 1e-12, "epochs": 9, "patience": 1}},
        "steps": {"settings": {**on_tiles, "loss": "focal", "accumulate": 4, "optimizer": "sgd"}, "steps": True},
    }
    for name, job in found.items():
        job["folder"] = str(folder / name)
    return found


@pytest.fixture(scope="module")
def alone(jobs: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs of one process that two are held against."""
    folder = tmp_path_factory.mktemp("alone")
    for name in ("weighted", "rare"):
        begin(jobs, name, folder).train()
    return folder


def begin(jobs: dict[str, Any], name: str, folder: Path) -> Trainer:
    return run.start(TrainSettings(**jobs[name]["settings"]), folder / name, overwrite=False, say=lambda _: None)


@pytest.fixture(scope="module")
def together(jobs: dict[str, Any], alone: Path, command_env: dict[str, str]) -> Path:
    """The folder of what two processes have done, all in one torchrun."""
    folder = Path(jobs["weighted"]["folder"]).parent
    for name, stop in (("validated", False), ("validation stopped", True)):
        more = {"checkpoint": str(alone / "weighted" / "best.pt"), "stop": stop, "folder": str(folder / name)}
        jobs[name] = {**more, "settings": jobs["weighted"]["settings"]}
    (folder / "jobs.json").write_text(json.dumps(jobs))
    command = torchrun(HERE / "two_processes.py", folder / "jobs.json")
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=900, env=command_env)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return folder


def seen(together: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads((together / f"{name}-{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.parametrize("name", ["weighted", "rare"])
def test_losses_are_those_of_one_process(alone: Path, together: Path, name: str) -> None:
    """Shares of 1 and 2 images, labels that weigh differently or do not count, accumulated batches, a clipped gradient.

    Float32 sums in another order, over six steps of AdamW, which makes much of small gradients: 1e-4. The mean of the two
    processes' own means, which DistributedDataParallel would take, was up to 3e-2 off.
    """
    one, two = history(alone / name), history(together / name)
    assert len(one) == len(two) == EPOCHS
    for mine, other in zip(one, two, strict=True):
        for figure in ("train_loss", "validation_loss"):
            assert float(mine[figure]) == pytest.approx(float(other[figure]), rel=1e-4)


def test_labels_that_do_not_count_in_one_process(jobs: dict[str, Any], alone: Path, together: Path) -> None:
    """Nor does the exchange of gradients wait for the process, or the batch, that has none."""
    from importlib.util import module_from_spec, spec_from_file_location

    spec = spec_from_file_location("two_processes", HERE / "two_processes.py")
    assert spec is not None and spec.loader is not None
    two_processes = module_from_spec(spec)
    spec.loader.exec_module(two_processes)
    trainer = begin(jobs, "steps", alone)
    expected = two_processes.weights_after_steps(trainer, trainer.processes)
    first, second = seen(together, "steps")
    assert first["weights"] == second["weights"] and first["losses"] == second["losses"]
    assert first["losses"] == pytest.approx(expected["losses"], rel=1e-5)  # float32 sums in another order
    assert expected["losses"][1] == 0.0 and expected["losses"][0] > 0
    for name, value in expected["weights"].items():
        assert torch.allclose(torch.tensor(first["weights"][name]), torch.tensor(value), rtol=1e-4, atol=1e-6), name


def test_the_confusion_matrix_is_that_of_one_process(jobs: dict[str, Any], alone: Path, together: Path) -> None:
    checkpoint = load_checkpoint(alone / "weighted" / "best.pt")
    trainer = begin(jobs, "weighted", alone / "again")
    session = TorchSession(model_from_checkpoint(checkpoint), checkpoint.card, torch.device("cpu"))
    loss, tally = validate(session, trainer.run.validation, trainer.loss, batch=2)
    assert tally.confusion.sum() == 3 * 96 * 96  # 3 tiles on 2 processes: none counted twice
    for process in seen(together, "validated"):
        assert process["confusion"] == tally.confusion.tolist()
        assert process["loss"] == pytest.approx(loss, rel=1e-6)  # a batch of 1 and one of 2 may round differently
    assert seen(together, "validation stopped") == [{"stopped": True}] * 2


@pytest.mark.parametrize("name", ["weighted", "rare", "dropout", "pictures", "patience"])
def test_all_processes_agree_and_one_writes(together: Path, name: str) -> None:
    first, second = seen(together, name)
    for figure in ("weights", "best", "stopped_early"):
        assert first[figure] == second[figure]
    assert repr(first["scores"]) == repr(second["scores"])
    assert first["random"] != second["random"]  # dropout is drawn anew in each
    kept = ["kept"] if name in ("weighted", "pictures") else []
    names = ["best.pt", "history.csv", *kept, "last.pt", "probe", "settings.toml", "split.csv"]
    assert sorted(path.name for path in (together / name).iterdir()) == names
    assert len(kept_files(together / name)) == len(kept)


def test_patience_ends_all(together: Path) -> None:
    assert all(process["stopped_early"] for process in seen(together, "patience"))
    assert len(history(together / "patience")) == 2


def test_the_result_holds_the_averaged_weights_of_all(together: Path, alone: Path) -> None:
    one, two = (load_checkpoint(folder / "rare" / "last.pt").weights for folder in (alone, together))
    for name, value in one.items():  # six steps apart by rounding alone, see above
        assert torch.allclose(value, two[name], rtol=1e-2, atol=1e-4), name


@pytest.mark.parametrize("name", ["dropout", "pictures"])
def test_interrupted_they_end_like_uninterrupted_ones(together: Path, name: str) -> None:
    """SIGTERM to the second process alone. With dropout each needs its own random numbers again; with batch normalisation the
    running statistics are those of the main process."""
    for process in seen(together, f"{name} interrupted"):
        assert re.match(r"interrupted; .*last\.pt is saved at epoch \d, step \d of \d", process["error"])
    assert history(together / name) == history(together / f"{name} interrupted")
    one, two = (load_checkpoint(together / each / "last.pt") for each in (name, f"{name} interrupted"))
    assert all(torch.equal(value, two.weights[key]) for key, value in one.weights.items())
    assert [p["random"] for p in seen(together, name)] == [p["random"] for p in seen(together, f"{name} interrupted")]


def test_one_process_goes_on_with_the_run_of_two(jobs: dict[str, Any], alone: Path, together: Path) -> None:
    position = load_checkpoint(together / "fewer" / "last.pt").training
    assert (position["epoch"], position["step_in_epoch"]) == (2, 1)
    shutil.copytree(together / "fewer", alone / "fewer")
    run.resume(alone / "fewer", {"model": "fcn8s"}, say=lambda _: None).train()
    one, other = history(alone / "weighted"), history(alone / "fewer")
    losses = [[float(row["train_loss"]) for row in rows] for rows in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)  # as above


def test_a_loss_that_is_no_number_names_the_images_of_its_process(
    together: Path, jobs: dict[str, Any], alone: Path
) -> None:
    errors = [process["error"] for process in seen(together, "nan")]
    assert errors[0] == errors[1] and errors[0].startswith("the loss is not a number at epoch 2, step 2; ")
    trainer = begin(jobs, "nan", alone)
    trainer.batches.epoch = 2
    names = [trainer.run.training.examples[i].name for i in sorted(trainer.batches.of_step(1)[1:])]
    assert len(names) == 2 and errors[0].endswith(f"look at the images of that step: {', '.join(names)}")
    assert load_checkpoint(together / "nan" / "last.pt").training["epoch"] == 2


def arguments_of(tiles: dict[str, Any], scenes: Path, output: Path, **changes: Any) -> list[Any]:
    options = {**tiles, "data": scenes, "output": output, **changes}
    return [part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", value)]


def test_an_error_in_one_process_ends_both(
    tiles: dict[str, Any], scenes: Path, tmp_path: Path, command_env: dict[str, str]
) -> None:
    """The image is in the second process's share, and read by one of its workers."""
    shutil.copytree(scenes, tmp_path / "data")
    images = sorted((tmp_path / "data" / "train").glob("*_sat.jpg"))
    batches = EpochBatches(len(images), 3, tiles["seed"])
    batches.epoch = 1
    images[batches.of_step(1)[2]].write_bytes(b"no image")
    command = torchrun("-m", "dlcv.train", *arguments_of(tiles, tmp_path / "data", tmp_path / "run", workers=1))
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=QUICK_S, env=command_env)
    assert done.returncode == 1, done.stderr  # torchrun's own; it tells ours
    told = [line for line in done.stderr.splitlines() if line.startswith("dlcv-train: ")]
    assert len(told) == 1 and images[batches.of_step(1)[2]].name in told[0], done.stderr
    assert re.search(r"exitcode\s*: 2 ", done.stderr)
    assert done.stderr.count("Traceback") == 1, done.stderr  # torchrun's
    assert done.stderr.count("2 processes share a batch of 3 images, 1 or 2 in each") == 1
    assert done.stdout == "" and not (tmp_path / "run" / "last.pt").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ended_from_outside_a_run_goes_on(
    tiles: dict[str, Any], scenes: Path, tmp_path: Path, command_env: dict[str, str], number: int
) -> None:
    """SIGTERM to torchrun, which passes it on; or one process is killed, as when memory runs out."""
    options = arguments_of(tiles, scenes, tmp_path / "run", epochs=400, workers=1)
    process = subprocess.Popen(
        torchrun("-m", "dlcv.train", *options), stderr=subprocess.PIPE, text=True, env=command_env
    )
    assert process.stderr is not None
    lines, ended = [], math.inf
    for line in process.stderr:
        lines.append(line)
        if line.startswith("epoch 2/400: loss "):
            ended = time.monotonic()
            os.kill(process.pid if number == signal.SIGTERM else children_of(process.pid)[1], number)
    process.wait()
    process.stderr.close()
    text = "".join(lines)
    assert time.monotonic() - ended < QUICK_S, text
    told = [line for line in lines if line.startswith("dlcv-train: ")]
    said = "interrupted; " if number == signal.SIGTERM else "another process of this run has ended without a word"
    assert len(told) == 1 and told[0].removeprefix("dlcv-train: ").startswith(said), text
    assert text.count("Traceback") == 1, text  # torchrun's
    position = load_checkpoint(tmp_path / "run" / "last.pt").training
    assert 2 <= position["epoch"] < 400  # killed, it may have been about to save the second
    rows = history(tmp_path / "run")
    assert [row["epoch"] for row in rows] == [str(k + 1) for k in range(len(rows))]

    again = run.resume(
        tmp_path / "run", {"model": "fcn8s", "epochs": position["epoch"], "workers": 0}, say=lambda _: None
    )
    assert again.train() is not None and len(history(tmp_path / "run")) == position["epoch"]


def children_of(pid: int) -> list[int]:
    """The processes that a process has started, in the order of their start."""
    return sorted(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))
