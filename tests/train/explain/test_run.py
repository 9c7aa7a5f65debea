"""From a checkpoint to files: all of them, the same each time, and what is wrong told in a sentence."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.datasets.loading import labelled_for
from dlcv.runtime.errors import DatasetError, MissingPackageError, UsageError
from dlcv.train.checkpoints.checkpoint import Checkpoint, checkpoint_card, save_checkpoint
from dlcv.train.explain.options import ExplainOptions
from dlcv.train.explain.run import explain
from dlcv.train.pictures.picture import Picture

pytest.importorskip("matplotlib", reason="the report extra is not installed")
pytest.importorskip("sklearn", reason="the report extra is not installed")

QUICK = ExplainOptions(steps=4, filters=2, top=2, saliency_images=2, device="cpu")


def sizes(pictures: list[Picture]) -> dict[str, tuple[int, int]]:
    import cv2

    found = {}
    for picture in pictures:
        image = cv2.imread(str(picture.png))
        assert image is not None and image.std() > 5, f"{picture.png} shows nothing"
        found[picture.name] = image.shape[:2]
    return found


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def classified(tiny_classifier: Callable[[int], Path], tiny_classified: Path) -> tuple[Path, LabelledSet[Any]]:
    checkpoint = tiny_classifier(0)
    return checkpoint, labelled_for(checkpoint_card(checkpoint), tiny_classified)


def test_a_classifier(classified: tuple[Path, LabelledSet[Any]], tmp_path: Path) -> None:
    checkpoint, labelled = classified
    before = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    pictures = explain(checkpoint, labelled, tmp_path / "a", QUICK)
    assert list(sizes(pictures)) == [
        "first-layer",
        "tsne",
        "saliency",
        "filters-conv1",
        "filters-conv2",
        "filters-conv3",
    ]
    assert hashlib.sha256(checkpoint.read_bytes()).hexdigest() == before
    assert all(picture.data is not None and picture.data.is_file() for picture in pictures)

    explain(checkpoint, labelled, tmp_path / "b", QUICK)
    assert digests(tmp_path / "a") == digests(tmp_path / "b")

    with open(tmp_path / "a" / "tsne.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = {example.name: labelled.classes[int(labelled.label(example))] for example in labelled.examples}
    assert {row["name"]: row["class"] for row in rows} == names
    said = np.mean([row["class"] == row["predicted"] for row in rows])
    assert said > 0.7, "the tiny classifier is right about most"

    with np.load(tmp_path / "a" / "saliency.npz") as arrays:
        assert arrays["saliency"].shape == (2, 32, 32)
        assert arrays["names"].tolist() == [name for name in names if name in arrays["names"]]


def test_a_segmentation_model(tiny_checkpoint: Path, tiny_data: Path, tmp_path: Path) -> None:
    labelled = labelled_for(checkpoint_card(tiny_checkpoint), tiny_data)
    said: list[str] = []
    options = replace(QUICK, layers=("features.0", "score"))
    pictures = explain(tiny_checkpoint, labelled, tmp_path, options, said.append)
    assert list(sizes(pictures)) == ["first-layer", "tsne", "saliency", "filters-features.0", "filters-score"]
    assert said == []
    with open(tmp_path / "filters-score.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["rank"] for row in rows] == ["0", "1", "2"] * 2
    assert float(rows[1]["activation"]) >= float(rows[2]["activation"])
    with np.load(tmp_path / "saliency.npz") as arrays:
        assert arrays["region"].dtype == np.bool_
        assert 0 < arrays["region"].mean() < 1
    with np.load(tmp_path / "filters-score.npz") as arrays:
        assert arrays["images"].shape == (2, 64, 64, 3)
        assert [f"{value:.6g}" for value in arrays["highest"]] == [rows[0]["activation"], rows[3]["activation"]]


@pytest.mark.parametrize("model", ["cnn3", "unet"])
def test_names_are_text_whatever_they_hold(
    subject_of: Callable[..., Any], labelled_noise: Callable[..., LabelledSet[Any]], tmp_path: Path, model: str
) -> None:
    """Formulas that are none, bytes that are no UTF-8, letters that the font lacks; and a user's own look of figures."""
    import matplotlib as mpl

    subject = subject_of(model, classes=4)
    card = replace(subject.card, classes=("_road", "$a_{$", "\u6d77", "two words"))
    save_checkpoint(tmp_path / "best.pt", Checkpoint(card, subject.model.state_dict(), dataset={}))
    labelled = labelled_noise(card, 8, "$x^{_caf\udce9\u6d77")
    layers = ("fc",) if model == "cnn3" else ("score",)
    options = replace(QUICK, layers=layers, top=1, steps=1, filters=1, saliency_images=1)
    explain(tmp_path / "best.pt", labelled, tmp_path / "a", options)
    with mpl.rc_context({"text.usetex": True, "axes.facecolor": "red", "savefig.dpi": 30}):
        sizes(explain(tmp_path / "best.pt", labelled, tmp_path / "b", options))
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_some_kinds_alone(classified: tuple[Path, LabelledSet[Any]], tmp_path: Path) -> None:
    checkpoint, labelled = classified
    pictures = explain(checkpoint, labelled, tmp_path, replace(QUICK, kinds=("weights", "saliency"), smooth=2))
    assert [picture.name for picture in pictures] == ["first-layer", "saliency"]
    assert "2 noisy copies" in pictures[1].caption
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "first-layer.npz", "first-layer.png", "saliency.npz", "saliency.png",
    ]  # fmt: skip


def test_too_few_points_are_a_line_and_the_rest_is_drawn(
    classified: tuple[Path, LabelledSet[Any]], tmp_path: Path
) -> None:
    checkpoint, labelled = classified
    said: list[str] = []
    pictures = explain(
        checkpoint, labelled.evenly(3), tmp_path, replace(QUICK, kinds=("tsne", "saliency")), said.append
    )
    assert [picture.name for picture in pictures] == ["saliency"]
    assert said == ["no t-SNE: t-SNE has 3 points, expected 5 at least; take more images"]


def test_what_is_wrong_is_told_before_any_work(
    classified: tuple[Path, LabelledSet[Any]], tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, labelled = classified
    folder = tmp_path / "out"
    with pytest.raises(UsageError, match=r"'conv7'; it has conv1, conv2, conv3, fc$"):
        explain(checkpoint, labelled, folder, replace(QUICK, layers=("conv7",)))
    with pytest.raises(DatasetError, match="the model is for segmentation"):
        explain(tiny_checkpoint, labelled, folder, QUICK)
    with pytest.raises(DatasetError, match="has no image"):
        explain(checkpoint, labelled.with_examples([]), folder, QUICK)
    monkeypatch.setattr("dlcv.train.explain.run.find_spec", lambda name: None if name == "sklearn" else object())
    with pytest.raises(MissingPackageError, match=r"^scikit-learn is needed .*pip install 'dlcv-edge\[report\]'$"):
        explain(checkpoint, labelled, folder, QUICK)
    assert not folder.exists()


def test_options_out_of_range_are_told_together() -> None:
    with pytest.raises(
        UsageError,
        match=r"^feature pictures: unknown kind 'dreams', expected some of weights, tsne, saliency, filters; points is 2, expected 5 or more; filters is 99, expected 1 to 64$",
    ):
        ExplainOptions(kinds=("dreams",), points=2, filters=99)
