"""Classification runs on real files: what they write, what they decide on their own, what they refuse."""

from __future__ import annotations

import csv
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlcv.runtime.datasets.classes.images import ClassificationSet
from dlcv.runtime.datasets.split import read_split
from dlcv.runtime.errors import CheckpointError, DatasetError, DlcvError, UsageError
from dlcv.train import plan, run
from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint, save_checkpoint
from dlcv.train.checkpoints.session import TorchSession
from dlcv.train.folder.history import POSITION
from dlcv.train.folder.probe import PROBE_COUNT, read_probe
from dlcv.train.loop import Trainer
from dlcv.train.settings.settings import TrainSettings
from dlcv.train.steps.losses import make_loss
from dlcv.train.validation import validate

Start = Callable[..., Trainer]
CPU = torch.device("cpu")
CLASSES = ("brick", "forest", "sea", "snow")
FIGURES = ["accuracy", "balanced_accuracy", "top_5_accuracy", "majority_accuracy"]


@pytest.fixture(scope="module")
def settings(pictures: Path) -> TrainSettings:
    return TrainSettings(
        model="cnn3", data=str(pictures), width=0.1, epochs=3, batch=8, learning_rate=5e-3, workers=0, device="cpu", seed=1,
        keep_best=2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def finished(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of three epochs; nobody changes it."""
    folder = tmp_path_factory.mktemp("runs") / "cnn3"
    assert start(folder).train() is not None
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "history.csv", newline="") as file:
        return [{k: v for k, v in row.items() if k not in ("seconds", "data_wait")} for row in csv.DictReader(file)]


def classes_of(names: list[str]) -> list[str]:
    return [name.split("/")[0] for name in names]


def test_a_run_writes_what_it_promises(finished: Path, pictures: Path) -> None:
    names = ["best.pt", "history.csv", "kept", "last.pt", "probe", "settings.toml", "split.csv"]
    assert sorted(path.name for path in finished.iterdir()) == names
    with open(finished / "history.csv", newline="") as file:
        assert csv.DictReader(file).fieldnames == [*POSITION, *FIGURES, *(f"recall_{name}" for name in CLASSES)]
    history = rows(finished)
    assert [(row["epoch"], row["step"]) for row in history] == [("1", "5"), ("2", "10"), ("3", "15")]
    for row in history:
        assert 0 < float(row["train_loss"]) < 10 and 0 < float(row["validation_loss"]) < 10
        recalls = [float(row[f"recall_{name}"]) for name in CLASSES]
        # two validation images of each class: accuracy is the mean recall; six digits in the CSV
        assert float(row["accuracy"]) == float(row["balanced_accuracy"]) == pytest.approx(np.mean(recalls), abs=1e-5)
        assert float(row["top_5_accuracy"]) == 1 and float(row["majority_accuracy"]) == 0.25


def test_the_split_is_stratified_and_lists_the_images(finished: Path, pictures: Path) -> None:
    training, validation = read_split(finished / "split.csv")
    assert classes_of(training).count("sea") == 10 and len(training) == 40
    assert sorted(classes_of(validation)) == sorted(2 * CLASSES)
    files = {path.relative_to(pictures).as_posix() for path in pictures.rglob("*.png")}
    assert set(training) | set(validation) == files and not set(training) & set(validation)


def test_the_card_says_how_an_image_is_evaluated(finished: Path) -> None:
    card = load_checkpoint(finished / "best.pt").card
    assert (card.model, card.task, card.fit, card.head, card.width) == (
        "cnn3", "classification", "centre-crop", "none", 0.1,
    )  # fmt: skip
    assert (card.input_size_hw, card.short_side, card.interpolation) == ((32, 32), 32, "area")
    assert (card.classes, card.palette, card.uncounted) == (CLASSES, (), ())


def test_the_probe_reads_back_and_repeats_the_scores(finished: Path) -> None:
    best = load_checkpoint(finished / "best.pt", model="cnn3")
    probe = read_probe(finished / "probe", best.probe_sha256, best.card)  # all eight validation images are in it
    assert isinstance(probe, ClassificationSet) and probe.classes == CLASSES
    assert len(probe) == 8 <= PROBE_COUNT["classification"] and probe.counts().tolist() == [2, 2, 2, 2]
    loss, tally = validate(
        TorchSession(model_from_checkpoint(best), best.card, CPU), probe, make_loss("cross-entropy", None, CPU), batch=8
    )
    scores = tally.scores()
    assert {key: best.scores[key] for key in FIGURES} == scores.figures()
    assert best.scores["recall"] == list(scores.per_class) and loss == best.scores["validation_loss"]
    assert best.dataset == {"task": "classification", "name": "pictures", "classes": list(CLASSES)}


def test_the_best_is_of_the_most_accurate_epoch_and_the_kept_of_the_lowest_losses(finished: Path) -> None:
    history, best, last = rows(finished), load_checkpoint(finished / "best.pt"), load_checkpoint(finished / "last.pt")
    top = max(range(3), key=lambda k: float(history[k]["accuracy"]))
    assert best.scores["epoch"] == top + 1 and last.training["best"] == best.scores["accuracy"]
    ranked = sorted(range(3), key=lambda k: float(history[k]["validation_loss"]))
    assert sorted(path.name for path in (finished / "kept").iterdir()) == sorted(
        f"epoch-{k + 1:04d}.pt" for k in ranked[:2]
    )
    for k in ranked[:2]:
        kept = load_checkpoint(finished / "kept" / f"epoch-{k + 1:04d}.pt", model="cnn3")
        assert kept.scores["epoch"] == k + 1 and not kept.training and kept.probe_sha256 == best.probe_sha256
        assert kept.scores["validation_loss"] == pytest.approx(float(history[k]["validation_loss"]), rel=1e-5)


def test_training_tells_the_classes_apart(start: Start, tmp_path: Path) -> None:
    scores = start(tmp_path / "run", epochs=8).train()
    assert scores is not None and scores.headline >= 0.75  # chance is 0.25, and colours alone tell them apart
    losses = [float(row["train_loss"]) for row in rows(tmp_path / "run")]
    assert min(losses) < 0.7 * losses[0]


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")  # torch's workers, Python 3.12
def test_workers_do_not_change_a_run(finished: Path, start: Start, tmp_path: Path) -> None:
    start(tmp_path / "helped", workers=1).train()
    assert rows(tmp_path / "helped") == rows(finished)
    one, other = (load_checkpoint(folder / "last.pt").weights for folder in (tmp_path / "helped", finished))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert (tmp_path / "helped" / "split.csv").read_bytes() == (finished / "split.csv").read_bytes()


def test_the_seed_decides_the_split(finished: Path, start: Start, tmp_path: Path) -> None:
    other = start(tmp_path / "other", seed=2)
    assert {e.name for e in other.run.validation.examples} != set(read_split(finished / "split.csv")[1])
    assert other.run.validation.counts().tolist() == [2, 2, 2, 2]


def test_a_choice_of_classes_picks_and_orders_them(start: Start, tmp_path: Path) -> None:
    said: list[str] = []
    trainer = start(tmp_path / "run", classes=("snow", "brick"), epochs=1, say=said.append)
    assert trainer.run.card.classes == trainer.run.training.classes == ("snow", "brick")
    for part in (trainer.run.training, trainer.run.validation):
        assert {(e.name.split("/")[0], e.label) for e in part.examples} == {("snow", 0), ("brick", 1)}
    assert trainer.run.training.counts().tolist() == [10, 10]
    assert any("20 images to train on, 4 to validate on, 2 classes; input 32 x 32" in line for line in said)
    trainer.train()
    best = load_checkpoint(tmp_path / "run" / "best.pt")
    assert best.card.classes == ("snow", "brick") and len(best.weights["fc.bias"]) == 2
    assert len(read_probe(tmp_path / "run" / "probe", best.probe_sha256, best.card)) == 4


@pytest.mark.parametrize(
    ("size_hw", "given", "crop", "short_side"),
    [
        ((256, 256), {}, 224, 256),  # as ucmerced
        ((64, 64), {}, 64, 64),  # as EuroSAT
        ((48, 48), {}, 48, 48),  # as FER-2013
        ((40, 48), {}, 40, 40),
        ((300, 500), {}, 224, 256),
        ((230, 230), {}, 224, 230),
        ((256, 256), {"crop": 96}, 96, 110),
        ((256, 256), {"crop": 288}, 288, 288),
        ((256, 256), {"short_side": 128}, 128, 128),
        ((256, 256), {"short_side": 240}, 224, 240),
        ((256, 256), {"crop": 64, "short_side": 72}, 64, 72),
    ],
)
def test_crop_and_short_side_come_of_the_images(
    write_pictures: Callable[..., Path], start: Start, tmp_path: Path,
    size_hw: tuple[int, int], given: dict[str, int], crop: int, short_side: int,
) -> None:  # fmt: skip
    data = write_pictures(tmp_path / "data", size_hw, each=2, classes=CLASSES[:2])
    trainer = start(tmp_path / "run", data=str(data), **given)
    assert (trainer.run.settings.crop, trainer.run.settings.short_side) == (crop, short_side)
    assert (trainer.run.card.input_size_hw, trainer.run.card.short_side) == ((crop, crop), short_side)
    assert trainer.run.settings.batch == 8


def test_the_commonest_size_decides(write_pictures: Callable[..., Path], start: Start, tmp_path: Path) -> None:
    data = write_pictures(tmp_path / "data", (24, 40), each=6, classes=CLASSES[:2])
    write_pictures(tmp_path / "more", (64, 64), each=6, classes=("sea",))
    shutil.move(tmp_path / "more" / "sea", data / "sea")
    trainer = start(tmp_path / "run", data=str(data), epochs=1, batch=0)
    assert (trainer.run.settings.crop, trainer.run.settings.short_side, trainer.run.settings.batch) == (24, 24, 64)
    assert trainer.train() is not None  # images of both sizes pass


def test_the_sample_is_trained_on_by_name(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    small = plan.sample_folder
    monkeypatch.setattr(plan, "sample_folder", lambda **given: small(size=32, tiles=12, validation=6, **given))
    trainer = start(tmp_path / "run", data="sample", epochs=1)
    assert trainer.run.training.counts().tolist() == [2] * 6 and trainer.run.validation.counts().tolist() == [1] * 6
    assert all((tmp_path / "cache") in example.path.parents for example in trainer.run.training.examples)
    assert trainer.train() is not None


def test_a_model_option_reaches_model_and_card(start: Start, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"model": "resnet50", "options": {"stride_in_1x1": True}, "width": 0.05, "epochs": 1}
    trainer = start(tmp_path / "run", **changes)
    assert trainer.model.layer2[0].conv1.stride == (2, 2)
    trainer.train()
    checkpoint = load_checkpoint(tmp_path / "run" / "last.pt")
    assert checkpoint.card.options == {"stride_in_1x1": True}
    assert model_from_checkpoint(checkpoint).layer2[0].conv1.stride == (2, 2)
    with pytest.raises(
        UsageError, match=r"begun with --model-option stride_in_1x1=true, not stride_in_1x1=false; leave"
    ):
        run.resume(tmp_path / "run", {"model": "resnet50", "options": {"stride_in_1x1": False}}, say=print)


def test_a_weighted_loss_counts_images(pictures: Path, start: Start, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "data")
    for path in sorted((tmp_path / "data" / "sea").iterdir())[:7]:
        path.unlink()
    trainer = start(tmp_path / "run", data=str(tmp_path / "data"), loss="weighted-cross-entropy", epochs=1)
    assert trainer.run.training.counts().tolist() == [10, 10, 4, 10]
    assert trainer.loss.weight is not None
    expected = [math.log(34 / n) for n in (10, 10, 4, 10)]
    assert trainer.loss.weight.tolist() == pytest.approx(expected, rel=1e-6)  # float32
    assert trainer.train() is not None


def test_a_model_that_predicts_one_class_says_so(start: Start, tmp_path: Path) -> None:
    said: list[str] = []
    trainer = start(tmp_path / "run", epochs=4, learning_rate=1e-9, say=said.append)
    with torch.no_grad():
        trainer.model.fc.bias += torch.tensor([0.0, 9.0, 0.0, 0.0])
    trainer.train()
    lines = [line for line in said if line.startswith("epoch ")]
    says, advice = "it predicts only forest: accuracy equals the majority share", "train longer, weigh the classes "
    assert [says in line for line in lines] == [True] * 4
    assert [advice in line for line in lines] == [True, False, False, True], "the first and the last"
    line = lines[0]
    assert "accuracy 0.2500 (majority predictor 0.2500), balanced accuracy 0.2500, top 5 accuracy 1.0000" in line
    assert "brick 0.000 forest 1.000 sea 0.000 snow 0.000" in line
    assert line.endswith(
        " | it predicts only forest: accuracy equals the majority share; "
        "train longer, weigh the classes with --loss weighted-cross-entropy, or try --balanced-sampling"
    )
    assert "\n" not in line


def test_a_model_that_predicts_several_classes_does_not(start: Start, tmp_path: Path) -> None:
    said: list[str] = []
    start(tmp_path / "run", epochs=8, say=said.append).train()
    assert "it predicts only" not in said[-1]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"crop": 24, "short_side": 20}, r"--short-side 20 is below the crop of 24; make it that or more"),
        ({"crop": 4}, r"--crop 4 does not do for cnn3: image is 4 x 4, expected at least 8 x 8; enlarge it$"),
        ({"model": "resnet18", "batch": 1}, r"resnet18 cannot be trained on single images, .*; pass --batch 2 or more"),
        ({"model": "densenet201-mlp", "batch": 1}, r"densenet201-mlp cannot be trained on single images"),
        ({"flips": "sideways"}, r"unknown flips 'sideways'; it is one of both, horizontal, vertical, none"),
        ({"least_area": 0.0}, r"--least-area is 0, expected above 0 and at most 1"),
        ({"options": {"auxiliary": True}}, r"cnn3 has no option 'auxiliary'; known options: none"),
        ({"classes": ("brick", "lava")}, r"pictures has no class '?lava'?"),
        ({"classes": ("brick",)}, r"one class"),
    ],
)
def test_a_refused_start_leaves_the_older_run(
    finished: Path, start: Start, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    before = {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    with pytest.raises(DlcvError, match=said) as told:
        start(tmp_path / "run", overwrite=True, **changes)
    assert "\n" not in str(told.value)
    assert {path: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()} == before


def test_a_single_training_image_is_told(write_pictures: Callable[..., Path], start: Start, tmp_path: Path) -> None:
    write_pictures(tmp_path / "data" / "train", each=1, classes=("brick",))
    write_pictures(tmp_path / "data" / "val", each=2, classes=("brick", "forest"))
    (tmp_path / "data" / "classes.txt").write_text("brick\nforest\n")
    with pytest.raises(UsageError, match=r"resnet18 cannot be trained on single images.*, and as many images"):
        start(tmp_path / "run", data=str(tmp_path / "data"), model="resnet18", batch=64)


def test_plain_convolutions_train_on_single_images(start: Start, tmp_path: Path) -> None:
    assert start(tmp_path / "run", batch=1, epochs=1).train() is not None


@pytest.mark.parametrize("changes", [{"classes": ("urban", "water")}, {"short_side": 64}])
def test_a_segmenter_refuses_what_is_for_classification(
    scenes: Path, start: Start, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="--classes and --short-side are for classification; fcn8s segments"):
        start(tmp_path / "run", model="fcn8s", data=str(scenes), crop=64, **changes)
    assert not (tmp_path / "run").exists()


def test_resuming_with_other_classes_says_both_counts(
    pictures: Path, finished: Path, tmp_path: Path, write_pictures: Callable[..., Path]
) -> None:
    shutil.copytree(finished, tmp_path / "run")
    data = write_pictures(tmp_path / "data", each=3, classes=CLASSES[:3])
    before = (tmp_path / "run" / "split.csv").read_bytes()
    with pytest.raises(
        UsageError,
        match=r"the 3 classes of the data in .*data \(brick, forest, sea\) are not the 4 that the run was begun with "
        r"\(brick, forest, sea, snow\); bring them back, or start another run",
    ):
        run.resume(tmp_path / "run", {"model": "cnn3", "data": str(data), "epochs": 9}, say=print)
    assert (tmp_path / "run" / "split.csv").read_bytes() == before


def test_resuming_from_another_version_is_told(finished: Path, tmp_path: Path) -> None:
    last = load_checkpoint(finished / "last.pt")
    training = {key: value for key, value in last.training.items() if key != "best"}
    save_checkpoint(tmp_path / "last.pt", replace(last, training=training))
    with pytest.raises(
        CheckpointError, match=r"last\.pt holds no 'best': another version of dlcv wrote it; start again"
    ):
        run.resume(tmp_path, {"model": "cnn3"}, say=print)


def test_an_image_that_cannot_be_read_stops_in_one_sentence(pictures: Path, start: Start, tmp_path: Path) -> None:
    shutil.copytree(pictures, tmp_path / "data")
    trainer = start(tmp_path / "run", data=str(tmp_path / "data"), batch=40)
    for part in (trainer.run.training, trainer.run.validation):
        path = part.examples[3].path
        content = path.read_bytes()
        path.write_bytes(b"no image")
        with pytest.raises(DatasetError, match=path.name) as told:
            trainer.train()
        assert "\n" not in str(told.value)
        path.write_bytes(content)
        trainer.step_in_epoch = 0
