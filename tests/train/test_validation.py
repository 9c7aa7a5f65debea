"""Validation: the same numbers as one batch through the model by hand, and what it says of bad outputs."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.classes.images import ClassificationSet, LabelledImage
from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.runtime.errors import DatasetError, DlcvError
from dlcv.runtime.fitting.fitting import centre_crop
from dlcv.runtime.metrics.segmentation import confusion_matrix
from dlcv.train.checkpoints.session import TorchSession
from dlcv.train.models import create_model
from dlcv.train.models.imagenet import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB
from dlcv.train.preprocess import normalise
from dlcv.train.steps.losses import make_loss
from dlcv.train.validation import validate

CPU = torch.device("cpu")
PLAIN = make_loss("cross-entropy", None, CPU)


@pytest.fixture
def classifier(split_pictures: tuple[ClassificationSet, ClassificationSet]) -> TorchSession:
    """A narrow resnet18 with drawn weights that takes the middle 24 x 24 of pictures scaled to 28 x 28."""
    torch.manual_seed(3)
    model = create_model("resnet18", classes=4, width=0.1)
    card = ModelCard(
        model="resnet18", task="classification", classes=split_pictures[0].classes, palette=(), input_size_hw=(24, 24),
        short_side=28, fit="centre-crop", mean_rgb=IMAGENET_MEAN_RGB, std_rgb=IMAGENET_STD_RGB, width=0.1,
    )  # fmt: skip
    return TorchSession(model, card, CPU)


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_validation_of_tiles_of_the_models_size(
    tiny_model: nn.Module, tiny_card: ModelCard, validation: SegmentationSet, batch: int
) -> None:
    """The same numbers as one batch through the model by hand, when no window or padding is needed."""
    card = tiny_card.changed(input_size_hw=(96, 96))
    counted: list[int] = []
    loss, tally = validate(TorchSession(tiny_model, card, CPU), validation, PLAIN, batch=batch, advance=counted.append)
    images, labels = zip(*(validation.read(pair) for pair in validation.examples), strict=True)
    with torch.inference_mode():
        logits = tiny_model(normalise(torch.from_numpy(np.stack(images)), card.mean_rgb, card.std_rgb))
    expected = nn.functional.cross_entropy(logits, torch.from_numpy(np.stack(labels).astype(np.int64)))
    assert loss == pytest.approx(expected.item(), rel=1e-5)  # float32 sums in another order
    truth, answers = np.stack(labels), logits.argmax(1).byte().numpy()
    assert np.array_equal(tally.confusion, confusion_matrix(truth, answers, 7))
    assert counted == [1, 1, 1]


@pytest.mark.parametrize("batch", [1, 3, 64])
def test_validation_of_pictures(
    classifier: TorchSession, split_pictures: tuple[ClassificationSet, ClassificationSet], batch: int
) -> None:
    """The evaluation transform, the model, the loss and the scores by hand."""
    pictures = split_pictures[1]
    counted: list[int] = []
    loss, tally = validate(classifier, pictures, PLAIN, batch=batch, advance=counted.append)
    images = np.stack([centre_crop(pictures.image(e), (24, 24), 28, "area") for e in pictures.examples])
    with torch.inference_mode():
        logits = classifier.logits(torch.from_numpy(images))
    labels = torch.tensor([e.label for e in pictures.examples])
    assert loss == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)  # as above
    scores = tally.scores()
    assert scores.headline == (logits.argmax(1) == labels).double().mean().item()
    assert scores.count == len(counted) == 8 and tally.confusion.sum(1).tolist() == [2, 2, 2, 2]


def test_validation_repeats_itself(
    classifier: TorchSession, split_pictures: tuple[ClassificationSet, ClassificationSet]
) -> None:
    runs = [validate(classifier, split_pictures[1], PLAIN, batch=3) for _ in range(3)]
    assert len({loss for loss, _ in runs}) == 1
    assert all(np.array_equal(tally.confusion, runs[0][1].confusion) for _, tally in runs)


def test_validation_leaves_a_model_as_it_was(
    classifier: TorchSession, split_pictures: tuple[ClassificationSet, ClassificationSet]
) -> None:
    """Running statistics are not touched, and no gradient is kept."""
    before = {name: tensor.clone() for name, tensor in classifier._model.state_dict().items()}
    validate(classifier, split_pictures[1], PLAIN, batch=4)
    assert all(torch.equal(tensor, before[name]) for name, tensor in classifier._model.state_dict().items())
    assert all(parameter.grad is None for parameter in classifier._model.parameters())


def test_a_tile_whose_classes_weigh_nothing_has_no_loss(
    tiny_model: nn.Module, tiny_card: ModelCard, validation: SegmentationSet
) -> None:
    session = TorchSession(tiny_model, tiny_card.changed(input_size_hw=(96, 96)), CPU)
    pairs = validation.examples
    first = np.bincount(validation.label(pairs[0]).ravel(), minlength=7)
    nowhere = make_loss("weighted-cross-entropy", np.where(first > 0, 0, 5), CPU)
    loss, _ = validate(session, validation.with_examples(pairs[:1]), nowhere, batch=1)
    assert math.isnan(loss)
    both, _ = validate(session, validation, nowhere, batch=1)
    rest, _ = validate(session, validation.with_examples(pairs[1:]), nowhere, batch=1)
    assert both == rest and math.isfinite(both)


def test_outputs_that_are_no_numbers_stop_in_a_sentence(tiny_card: ModelCard, validation: SegmentationSet) -> None:
    class Broken(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.full((len(image), 7, *image.shape[2:]), float("nan"))

    # Two batches are in flight: either may be finished first.
    names = "|".join(example.name for example in validation.examples)
    with pytest.raises(DlcvError, match=rf"^the outputs for ({names}) are not numbers; try a smaller --learning-rate$"):
        validate(TorchSession(Broken(), tiny_card, CPU), validation, PLAIN, batch=1)


def test_a_picture_that_cannot_be_read_is_named(
    classifier: TorchSession, split_pictures: tuple[ClassificationSet, ClassificationSet], tmp_path: Path
) -> None:
    (tmp_path / "torn.png").write_bytes(b"\x89PNG torn")
    pictures = split_pictures[1]
    torn = LabelledImage("sea/torn.png", 2, tmp_path / "torn.png")
    with pytest.raises(DatasetError, match=r"torn\.png"):
        validate(classifier, pictures.with_examples([*pictures.examples, torn]), PLAIN, batch=4)
