"""An engine on labelled images, as functions; the command's tests are in tests/benchmarks."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.classes.images import ClassificationSet, LabelledImage
from dlcv.runtime.datasets.masks.description import load_description
from dlcv.runtime.datasets.masks.labels import read_label
from dlcv.runtime.datasets.masks.pairs import find_pairs
from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.runtime.errors import DatasetError, EngineError, TileError
from dlcv.runtime.metrics import make_tally
from dlcv.runtime.metrics.segmentation import confusion_matrix
from dlcv.runtime.pipeline.settings import PipelineSettings
from dlcv.runtime.scoring.evaluation import answer_images, evaluate, one_class_note
from dlcv.runtime.sessions import Session, open_session

DESCRIPTION = load_description("deepglobe")


def labelled_tiles(folder: Path) -> SegmentationSet:
    return SegmentationSet(find_pairs(folder, DESCRIPTION), DESCRIPTION)


class Brightness(Session):
    """Classifies by the mean of the red channel: class 0 is dark, 1 is bright; `max_batch` is 2."""

    max_batch = 2

    def __init__(self, fault: float | None = None, head: str = "probs") -> None:
        self.card = ModelCard(
            model="cnn3", task="classification", classes=("dark", "bright"), palette=(), input_size_hw=(8, 8),
            mean_rgb=(0, 0, 0), std_rgb=(1, 1, 1), fit="centre-crop", short_side=8, head=head,
        )  # fmt: skip
        self._fault, self.batches = fault, list[int]()

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        self.batches.append(len(images))
        red = images[..., 0].mean((1, 2)).astype(np.float32) / 255
        scores = (
            np.stack([1 - red, red], 1) if self._fault is None else np.full((len(images), 2), np.float32(self._fault))
        )
        return {self.card.head: scores if self.card.head == "probs" else np.log(scores)}


def grey(level: int, label: int, shape: tuple[int, int] = (8, 8)) -> LabelledImage:
    """An image without a file, as a row of a CSV gives it."""
    return LabelledImage(f"row {level}", label, Path("x.csv"), np.full(shape, level, np.uint8))


BRIGHT = ClassificationSet(
    [grey(10, 0), grey(250, 1), grey(90, 1), grey(200, 1, (9, 31))], ("dark", "bright"), "levels"
)


@pytest.mark.parametrize("settings", [PipelineSettings(), PipelineSettings(batch=4, decoders=3, writers=2)])
def test_the_confusion_is_that_of_torchs_masks(
    tiny_onnx: Path, tiny_data: Path, tiny_masks: list[NDArray[np.uint8]], settings: PipelineSettings
) -> None:
    with open_session(tiny_onnx, device="cpu") as session:
        got = evaluate(session, labelled_tiles(tiny_data), settings, quiet=True).confusion
    labels = np.stack([read_label(pair, DESCRIPTION) for pair in find_pairs(tiny_data, DESCRIPTION)])
    expected = confusion_matrix(labels, np.stack(tiny_masks), len(DESCRIPTION.classes))
    assert got.sum() == expected.sum() == 6 * 64 * 64
    assert np.abs(got - expected).sum() <= 4  # two ties at most, decided by the order of float32 sums


@pytest.mark.parametrize("settings", [PipelineSettings(), PipelineSettings(batch=2, decoders=3, writers=3)])
def test_images_are_counted_by_true_and_predicted_class(settings: PipelineSettings) -> None:
    tally = evaluate(Brightness(), BRIGHT, settings, quiet=True)
    assert tally.confusion.tolist() == [[1, 0], [1, 2]]
    assert tally.scores().headline == 0.75


def test_other_classes_are_refused(tiny_onnx: Path, tiny_data: Path) -> None:
    other = ClassificationSet(BRIGHT.examples, ("dark", "shiny"), "levels")
    with pytest.raises(
        DatasetError, match=r"the model has 2 classes \(dark, bright\), the dataset levels has 2 \(dark, shiny\)"
    ):
        evaluate(Brightness(), other, PipelineSettings(), quiet=True)
    with pytest.raises(
        DatasetError, match="the model is for classification, the dataset deepglobe is labelled for segmentation"
    ):
        evaluate(Brightness(), labelled_tiles(tiny_data), PipelineSettings(), quiet=True)


def test_a_mask_of_another_size_is_told(tiny_onnx: Path, tiny_data: Path, tmp_path: Path) -> None:
    import cv2

    data = Path(shutil.copytree(tiny_data, tmp_path / "data"))
    mask = cv2.imread(str(data / "t3_mask.png"))
    assert mask is not None
    cv2.imwrite(str(data / "t3_mask.png"), mask[:32])
    with (
        open_session(tiny_onnx, device="cpu") as session,
        pytest.raises(DatasetError, match=r"t3_mask\.png is 32 x 64, its image "),
    ):
        evaluate(session, labelled_tiles(data), PipelineSettings(), quiet=True)


def test_an_image_that_does_not_fit_is_told(tiny_onnx: Path, tiny_data: Path) -> None:
    with open_session(tiny_onnx, device="cpu") as session:
        session.card = session.card.changed(fit="pad")
        padded = evaluate(session, labelled_tiles(tiny_data), PipelineSettings(), quiet=True)
        assert padded.confusion.sum() == 6 * 64 * 64, "the control: tiles of the engine's size"
        with pytest.raises(TileError, match=r"tile is 65 x 64, the engine takes 64 x 64; pass --fit windows"):
            answer_images(session, [np.zeros((65, 64, 3), np.uint8)], batch=1)


@pytest.mark.parametrize("fault", [np.nan, np.inf])
def test_answers_that_are_no_numbers_are_told(fault: float) -> None:
    with pytest.raises(EngineError, match=r"^row \d+: the engine's answer is not a number; export the model again$"):
        evaluate(Brightness(fault), BRIGHT, PipelineSettings(), quiet=True)


def test_images_of_any_size_are_answered_in_the_engines_batches() -> None:
    session = Brightness()
    images = [BRIGHT.image(example) for example in BRIGHT.examples]
    found = answer_images(session, images, batch=3)
    assert session.batches == [2, 2], "no more than the session takes"
    assert [int(f.answer.argmax()) for f in found] == [0, 1, 0, 1]
    assert all(f.logits is None and f.answer.shape == (2,) for f in found)
    logits = answer_images(Brightness(head="logits"), images, batch=2)
    for with_logits, plain in zip(logits, found, strict=True):
        assert with_logits.logits is not None and with_logits.logits.shape == (2,)
        np.testing.assert_allclose(with_logits.answer, plain.answer, rtol=1e-5)  # softmax of a logarithm, float32


class Corner(Session):
    """Segments by the blue channel's lowest bit; its logits say where a window begins."""

    def __init__(self, tiny_card: ModelCard) -> None:
        self.card = tiny_card.changed(head="logits")

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        logits = np.zeros((len(images), 7, 64, 64), np.float32)
        logits[:, 1] = images[..., 2] - 0.5
        logits[:, 2] = images[:, :1, :1, 0]  # (n, 1, 1)
        return {"logits": logits}


def test_the_logits_are_those_of_the_first_window(tiny_card: ModelCard) -> None:
    images = [np.zeros(shape, np.uint8) for shape in ((64, 64, 3), (64, 150, 3), (130, 64, 3))]
    for number, image in enumerate(images):
        image[10:, 20:, 2] = 9
        image[0, 0, 0] = number + 1  # below 9 - 0.5
    found = answer_images(Corner(tiny_card), images, batch=3)
    for number, (image, answered) in enumerate(zip(images, found, strict=True)):
        assert answered.answer.shape == image.shape[:2]
        assert answered.answer[5, 30] == 2 and answered.answer[12, 30] == 1
        assert answered.logits is not None
        assert answered.logits[2, 0, 0] == number + 1


def test_a_model_that_says_one_class_is_told_in_plain_words() -> None:
    always = make_tally("classification", 3)
    for label in (0, 1, 1, 1):
        always.add(np.array(label), np.array([0, 1, 0]))
    assert one_class_note(always, ("lake", "sea", "land")) == "it predicts only sea: accuracy equals the majority share"
    always.add(np.array(1), np.array([1, 0, 0]))
    assert one_class_note(always, ("lake", "sea", "land")) == ""
    other = make_tally("classification", 2)
    for label in (0, 1, 1):
        other.add(np.array(label), np.array([1, 0]))
    assert one_class_note(other, ("lake", "sea")) == "it predicts only lake, which is not even the commonest class"
    tied = make_tally("classification", 2)
    for label in (0, 1):
        tied.add(np.array(label), np.array([0, 1]))
    assert one_class_note(tied, ("lake", "sea")) == "it predicts only sea: accuracy equals the majority share"
    masks = make_tally("segmentation", 2)
    masks.add(np.array([[0, 1, 1]], np.uint8), np.ones((1, 3), np.uint8))
    assert one_class_note(masks, ("lake", "sea")) == "it predicts only sea: mean IoU equals the majority predictor's"
