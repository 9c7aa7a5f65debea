"""A checkpoint as a session, and validation through it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from dlcv.runtime.card import ModelCard
from dlcv.runtime.datasets.description import DatasetDescription
from dlcv.runtime.datasets.pairs import Pair
from dlcv.runtime.errors import DlcvError, EngineError, UsageError
from dlcv.runtime.metrics import confusion_matrix
from dlcv.train.data.tiles import read_pair
from dlcv.train.losses import make_loss
from dlcv.train.preprocess import normalise
from dlcv.train.session import TorchSession, open_checkpoint, torch_device
from dlcv.train.validation import validate

CPU = torch.device("cpu")


def test_a_session_runs_the_model_on_normalised_images(
    tiny_checkpoint: Path, tiny_model: nn.Module, tiny_card: ModelCard, tiny_scenes: list[NDArray[np.uint8]]
) -> None:
    images = np.stack(tiny_scenes[:3])
    with open_checkpoint(tiny_checkpoint, device="cpu", model="fcn8s") as session:
        result = session.run(images)
    with torch.inference_mode():
        logits = tiny_model(normalise(torch.from_numpy(images), tiny_card.mean_rgb, tiny_card.std_rgb)).numpy()
    assert result["logits"].dtype == np.float32 and np.array_equal(result["logits"], logits)
    assert result["mask"].dtype == np.uint8 and np.array_equal(result["mask"], logits.argmax(1))


def test_another_size_is_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(EngineError, match=r"expected images as uint8 \(n, 64, 64, 3\), got uint8 \(1, 96, 64, 3\)"):
        open_checkpoint(tiny_checkpoint, device="cpu").run(np.zeros((1, 96, 64, 3), np.uint8))


def test_an_unknown_device_is_told() -> None:
    with pytest.raises(UsageError, match="unknown device 'gpu'; expected auto, cpu or cuda"):
        torch_device("gpu")
    assert torch_device("cpu").type == "cpu" and torch_device("auto").type in ("cpu", "cuda")


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_told() -> None:
    with pytest.raises(UsageError, match="torch sees no GPU for the device cuda; use --device cpu"):
        torch_device("cuda")


def test_validation_of_tiles_of_the_models_size(
    tiny_model: nn.Module, tiny_card: ModelCard, validation: list[Pair], deepglobe: DatasetDescription
) -> None:
    """The same numbers as one batch through the model by hand, when no window or padding is needed."""
    card = tiny_card.changed(input_size_hw=(96, 96))
    counted: list[int] = []
    loss, confusion = validate(
        TorchSession(tiny_model, card, CPU),
        validation,
        deepglobe,
        make_loss("cross-entropy", None, CPU),
        batch=2,
        advance=counted.append,
    )
    images, labels = zip(*(read_pair(pair, deepglobe) for pair in validation), strict=True)
    with torch.inference_mode():
        logits = tiny_model(normalise(torch.from_numpy(np.stack(images)), card.mean_rgb, card.std_rgb))
    expected = nn.functional.cross_entropy(logits, torch.from_numpy(np.stack(labels).astype(np.int64)))
    assert loss == pytest.approx(expected.item(), rel=1e-5)  # float32 sums in another order
    assert np.array_equal(confusion, confusion_matrix(np.stack(labels), logits.argmax(1).byte().numpy(), 7))
    assert counted == [1, 1, 1]


def test_a_tile_whose_classes_weigh_nothing_has_no_loss(
    tiny_model: nn.Module, tiny_card: ModelCard, validation: list[Pair], deepglobe: DatasetDescription
) -> None:
    session = TorchSession(tiny_model, tiny_card.changed(input_size_hw=(96, 96)), CPU)
    first = np.bincount(read_pair(validation[0], deepglobe)[1].ravel(), minlength=7)
    nowhere = make_loss("weighted-cross-entropy", np.where(first > 0, 0, 5), CPU)
    loss, _ = validate(session, validation[:1], deepglobe, nowhere, batch=1)
    assert math.isnan(loss)
    both, _ = validate(session, validation, deepglobe, nowhere, batch=1)
    rest, _ = validate(session, validation[1:], deepglobe, nowhere, batch=1)
    assert both == rest and math.isfinite(both)


def test_outputs_that_are_no_numbers_stop_in_a_sentence(
    tiny_card: ModelCard, validation: list[Pair], deepglobe: DatasetDescription
) -> None:
    class Broken(nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return torch.full((len(image), 7, *image.shape[2:]), float("nan"))

    with pytest.raises(DlcvError, match=r"the outputs for .*_sat\.jpg are not numbers; try a smaller --learning-rate"):
        validate(
            TorchSession(Broken(), tiny_card, CPU),
            validation,
            deepglobe,
            make_loss("cross-entropy", None, CPU),
            batch=1,
        )
