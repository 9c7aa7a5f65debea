"""A run from its beginning: what it writes, what it repeats, what it refuses."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from dlcv.runtime.datasets.masks.description import DatasetDescription
from dlcv.runtime.errors import CheckpointError, DatasetError, DlcvError, OutputError, UsageError
from dlcv.runtime.metrics.segmentation import scores_of
from dlcv.train import plan, run
from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint
from dlcv.train.checkpoints.session import TorchSession
from dlcv.train.folder.history import POSITION
from dlcv.train.folder.probe import read_probe
from dlcv.train.loop import Trainer
from dlcv.train.steps.losses import make_loss
from dlcv.train.validation import validate

Start = Callable[..., Trainer]
TIMES = ("seconds", "data_wait")


@pytest.fixture(scope="module")
def finished(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of three epochs; nobody changes it."""
    folder = tmp_path_factory.mktemp("runs") / "fcn8s"
    assert start(folder).train() is not None
    return folder


def rows(folder: Path, *, without: tuple[str, ...] = ()) -> list[dict[str, str]]:
    with open(folder / "history.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k not in without} for row in csv.DictReader(file)]


def same_weights(one: Path, other: Path) -> bool:
    a, b = load_checkpoint(one).weights, load_checkpoint(other).weights
    return list(a) == list(b) and all(torch.equal(a[name], b[name]) for name in a)


def damaged(scenes: Path, tmp_path: Path) -> Path:
    """A copy of the data to spoil, and a training mask in it."""
    shutil.copytree(scenes, tmp_path / "data")
    return tmp_path / "data"


def test_a_run_writes_what_it_promises(finished: Path, deepglobe: DatasetDescription) -> None:
    assert sorted(path.name for path in finished.iterdir()) == [
        "best.pt",
        "history.csv",
        "last.pt",
        "probe",
        "settings.toml",
        "split.csv",
    ]
    history = rows(finished)
    assert list(history[0]) == [
        *POSITION, "mean_iou", "pixel_accuracy", "majority_mean_iou", *(f"iou_{name}" for name in deepglobe.classes),
    ]  # fmt: skip
    assert [(row["epoch"], row["step"]) for row in history] == [("1", "2"), ("2", "4"), ("3", "6")]
    assert all(0 < float(row["train_loss"]) < 10 and float(row["seconds"]) > 0 for row in history)


def test_the_best_checkpoint_is_of_the_best_epoch(finished: Path) -> None:
    history, best, last = rows(finished), load_checkpoint(finished / "best.pt"), load_checkpoint(finished / "last.pt")
    top = max(range(3), key=lambda k: float(history[k]["mean_iou"]))
    assert best.scores["epoch"] == top + 1
    assert best.scores["mean_iou"] == pytest.approx(float(history[top]["mean_iou"]), rel=1e-5)  # 6 digits in the CSV
    assert not best.training and last.training["best"] == best.scores["mean_iou"]
    assert last.scores["epoch"] == 3 and last.training["epoch"] == 4


def test_only_a_better_epoch_replaces_the_best(start: Start, tmp_path: Path) -> None:
    trainer = start(tmp_path / "run")
    for right, best_epoch in ((3, 1), (6, 2), (5, 2), (6, 2), (7, 5)):
        trainer._finish_epoch(scores_of(np.array([[right, 9 - right], [0, 9]], np.int64)), 0.5)
        best = load_checkpoint(tmp_path / "run" / "best.pt")
        assert best.scores["epoch"] == best_epoch
        assert trainer.best == best.scores["mean_iou"]


def test_a_run_whose_counted_classes_do_not_occur_still_has_a_best(start: Start, tmp_path: Path) -> None:
    trainer = start(tmp_path / "run")
    trainer._finish_epoch(scores_of(np.array([[0, 0], [0, 9]], np.int64), uncounted=[1]), 0.5)
    assert load_checkpoint(tmp_path / "run" / "best.pt").scores["epoch"] == 1
    trainer._finish_epoch(scores_of(np.array([[1, 0], [0, 9]], np.int64), uncounted=[1]), 0.5)
    assert load_checkpoint(tmp_path / "run" / "best.pt").scores["epoch"] == 2


def test_the_best_checkpoint_repeats_its_scores(finished: Path) -> None:
    best = load_checkpoint(finished / "best.pt", model="fcn8s")
    probe = read_probe(finished / "probe", best.probe_sha256, best.card)  # three validation tiles: all are in the probe
    session = TorchSession(model_from_checkpoint(best), best.card, torch.device("cpu"))
    loss, tally = validate(session, probe, make_loss("cross-entropy", None, torch.device("cpu")), batch=4)
    scores = tally.scores()
    assert {key: best.scores[key] for key in scores.figures()} == scores.figures()
    assert loss == best.scores["validation_loss"] and repr(list(scores.per_class)) == repr(
        best.scores["iou"]
    )  # nan among them


def test_the_card_says_what_was_trained(finished: Path, deepglobe: DatasetDescription) -> None:
    card = load_checkpoint(finished / "best.pt").card
    assert (card.model, card.task, card.width, card.head, card.input_size_hw) == (
        "fcn8s",
        "segmentation",
        0.05,
        "none",
        (96, 96),
    )
    assert (card.classes, card.palette, card.uncounted) == (deepglobe.classes, deepglobe.palette, deepglobe.uncounted)
    assert {"dlcv", "torch"} <= set(card.versions)


def test_the_same_seed_repeats_a_run_exactly(finished: Path, start: Start, tmp_path: Path) -> None:
    start(tmp_path / "again").train()
    assert rows(tmp_path / "again", without=TIMES) == rows(finished, without=TIMES)
    assert same_weights(tmp_path / "again" / "last.pt", finished / "last.pt")
    assert same_weights(tmp_path / "again" / "best.pt", finished / "best.pt")


def test_another_seed_is_another_run(finished: Path, start: Start, tmp_path: Path) -> None:
    start(tmp_path / "other", seed=2, epochs=1).train()
    assert rows(tmp_path / "other")[0]["train_loss"] != rows(finished)[0]["train_loss"]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # torch's workers, Python 3.12
def test_workers_do_not_change_a_run(finished: Path, start: Start, tmp_path: Path) -> None:
    start(tmp_path / "helped", workers=1, epochs=3).train()
    assert rows(tmp_path / "helped", without=TIMES) == rows(finished, without=TIMES)


def test_a_weighted_loss_trains(start: Start, tmp_path: Path) -> None:
    trainer = start(tmp_path / "run", loss="weighted-cross-entropy", epochs=1)
    pixels = trainer.run.training.counts()
    expected = [0.0 if n == 0 else float(np.log(pixels.sum() / n)) for n in pixels]
    assert trainer.loss.weight is not None
    assert trainer.loss.weight.tolist() == pytest.approx(expected, rel=1e-6)  # float32
    trainer.train()
    assert 0 < float(rows(tmp_path / "run")[0]["validation_loss"]) < 10


def test_starting_weights_are_taken(finished: Path, start: Start, tmp_path: Path) -> None:
    said: list[str] = []
    trainer = start(tmp_path / "run", init=str(finished / "best.pt"), say=said.append)
    expected = load_checkpoint(finished / "best.pt").weights
    assert all(torch.equal(tensor, expected[name]) for name, tensor in trainer.model.state_dict().items())
    assert any("tensors taken" in line for line in said)


def test_a_split_is_made_where_the_data_has_none(scenes: Path, start: Start, tmp_path: Path) -> None:
    shutil.copytree(scenes / "train", tmp_path / "flat")
    first, second = (start(tmp_path / name, data=str(tmp_path / "flat"), validation_share=0.4) for name in "ab")
    names = [{pair.name for pair in part.examples} for part in (first.run.training, first.run.validation)]
    assert names[0] and names[1] and not names[0] & names[1] and len(names[0] | names[1]) == 9
    assert names == [{pair.name for pair in part.examples} for part in (second.run.training, second.run.validation)]


def test_a_folder_with_a_run_is_refused(finished: Path, start: Start) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    with pytest.raises(
        UsageError,
        match=r"fcn8s holds a run already; go on with it by --resume, start again with --overwrite, or name another",
    ):
        start(finished)
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_overwriting_starts_again(finished: Path, start: Start, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    start(tmp_path / "run", overwrite=True, epochs=1).train()
    assert [row["epoch"] for row in rows(tmp_path / "run")] == ["1"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 9.0}, "width is 9.0"),
        ({"crop": 100}, r"--crop 100 is not a multiple of 32, which fcn8s needs; use --crop 128"),
        ({"loss": "mse"}, "unknown loss 'mse'; known: cross-entropy, weighted-cross-entropy, focal, dice"),
        ({"model": "fcn9s"}, "unknown model 'fcn9s'; known models: "),
        ({"device": "gpu"}, "unknown device 'gpu'"),
        ({"data": "gone"}, "there is no folder gone"),
        ({"init": "gone.pth"}, "there is no weights file gone.pth"),
        ({"dataset": "gone"}, "gone"),
    ],
)
def test_a_refused_start_leaves_the_older_run(
    finished: Path, start: Start, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    with pytest.raises(DlcvError, match=said):
        start(tmp_path / "run", overwrite=True, **changes)
    for name in ("best.pt", "last.pt", "history.csv", "split.csv"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes()
    best = load_checkpoint(finished / "best.pt")
    read_probe(tmp_path / "run" / "probe", best.probe_sha256, best.card)


def test_a_checkpoint_brought_from_elsewhere_is_not_lost(finished: Path, start: Start, tmp_path: Path) -> None:
    shutil.copyfile(finished / "best.pt", tmp_path / "best.pt")
    with pytest.raises(UsageError, match="holds a run already"):
        start(tmp_path)
    assert (tmp_path / "best.pt").exists()


def test_a_folder_that_cannot_be_made_is_told(start: Start, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot make the folder .*file.*; choose another with --output"):
        start(tmp_path / "file" / "run")


def test_an_empty_data_folder_is_told(start: Start, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(DatasetError, match=r"no pairs in .*data; looked for NAME_sat\.jpg with NAME_mask\.png"):
        start(tmp_path / "run", data=str(tmp_path / "data"))
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 1])
def test_a_mask_of_another_size_stops_in_one_sentence(scenes: Path, start: Start, tmp_path: Path, workers: int) -> None:
    data = damaged(scenes, tmp_path)
    mask = sorted((data / "train").glob("*_mask.png"))[0]
    cv2.imwrite(str(mask), np.zeros((96, 64, 3), np.uint8))
    with pytest.raises(DatasetError, match=rf"^the mask .*{mask.name} is 96 x 64, .*; expected the same size$") as told:
        start(tmp_path / "run", data=str(data), batch=9, workers=workers).train()
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_colour_outside_the_palette_stops_in_one_sentence(
    scenes: Path, start: Start, tmp_path: Path, part: str
) -> None:
    data = damaged(scenes, tmp_path)
    mask = sorted((data / part).glob("*_mask.png"))[0]
    pixels = cv2.imread(str(mask))
    assert pixels is not None
    pixels[5, 7] = (0, 0, 255)  # BGR: red, no class of DeepGlobe
    cv2.imwrite(str(mask), pixels)
    with pytest.raises(
        DatasetError, match=rf"^the mask .*{mask.name} holds the colour \(255, 0, 0\) at row 5, column 7"
    ):
        start(tmp_path / "run", data=str(data), batch=9).train()


def test_a_loss_that_is_no_number_stops_in_a_sentence(start: Start, tmp_path: Path) -> None:
    trainer = start(tmp_path / "run")
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(float("inf"))
    with pytest.raises(
        DlcvError, match="the loss is not a number at epoch 1, step 1; try a smaller --learning-rate, or look at"
    ):
        trainer.train()
    assert not (tmp_path / "run" / "best.pt").exists()


def test_a_huge_learning_rate_keeps_no_broken_checkpoint(start: Start, tmp_path: Path) -> None:
    with pytest.raises(DlcvError, match=r"not (a number|numbers).*try a smaller --learning-rate"):
        start(tmp_path / "run", learning_rate=1e18, batch=9).train()
    assert not (tmp_path / "run" / "best.pt").exists()


def test_the_sample_is_trained_on_by_name(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    small = plan.sample_folder
    monkeypatch.setattr(plan, "sample_folder", lambda **given: small(size=64, tiles=4, validation=2, **given))
    trainer = start(tmp_path / "run", data="sample", epochs=1)
    assert (len(trainer.run.training), len(trainer.run.validation)) == (4, 2)
    assert all((tmp_path / "cache") in pair.image.parents for pair in trainer.run.training.examples)
    trainer.train()
    assert (tmp_path / "run" / "best.pt").exists()


def test_resuming_without_a_run_is_told(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"there is no run to go on with: .*last\.pt is missing; start one without --resume"
    ):
        run.resume(tmp_path, {"model": "fcn8s"}, say=print)


def test_resuming_another_model_is_told(finished: Path) -> None:
    with pytest.raises(CheckpointError, match="is a checkpoint of fcn8s, not of fcn32s"):
        run.resume(finished, {"model": "fcn32s"}, say=print)


def test_resuming_with_a_conflicting_option_is_told(finished: Path) -> None:
    with pytest.raises(UsageError, match=r"the run was begun with --batch 4, not 2; leave --batch out"):
        run.resume(finished, {"model": "fcn8s", "batch": 2}, say=print)


def test_resuming_from_a_result_is_told(finished: Path, tmp_path: Path) -> None:
    shutil.copyfile(finished / "best.pt", tmp_path / "last.pt")
    with pytest.raises(CheckpointError, match="holds a result and not a run's position"):
        run.resume(tmp_path, {"model": "fcn8s"}, say=print)


def test_resuming_a_finished_run_does_nothing(finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished, tmp_path / "run")
    assert run.resume(tmp_path / "run", {"model": "fcn8s"}, say=print).train() is None
    assert rows(tmp_path / "run") == rows(finished)


def test_a_description_changed_meanwhile_is_told(
    scenes: Path, start: Start, deepglobe: DatasetDescription, tmp_path: Path
) -> None:
    import json

    described = deepglobe.to_dict()
    (tmp_path / "d.json").write_text(json.dumps(described))
    start(tmp_path / "run", dataset=str(tmp_path / "d.json"), epochs=1).train()
    described["classes"][0]["name"] = "town"
    (tmp_path / "d.json").write_text(json.dumps(described))
    with pytest.raises(UsageError, match=r"\(town, .* are not the 7 that the run was begun with \(urban, "):
        run.resume(tmp_path / "run", {"model": "fcn8s", "epochs": 2}, say=print)
