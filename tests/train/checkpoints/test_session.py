"""A checkpoint as a session."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import EngineError, UsageError
from dlcv.train.checkpoints.session import TorchSession, open_checkpoint, torch_device
from dlcv.train.models import create_model
from dlcv.train.preprocess import normalise


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


def test_a_classifier_gives_probabilities_and_no_mask(tiny_card: ModelCard) -> None:
    torch.manual_seed(0)
    model = create_model("cnn3", classes=7, width=0.1)
    card = tiny_card.changed(
        model="cnn3", task="classification", palette=(), uncounted=(), fit="centre-crop", short_side=64
    )
    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    result = TorchSession(model, card, torch.device("cpu")).run(images)
    assert set(result) == {"logits", "probs"} and result["probs"].shape == result["logits"].shape == (3, 7)
    exponentials = np.exp(result["logits"].astype(np.float64))
    expected = exponentials / exponentials.sum(1, keepdims=True)
    assert result["probs"].dtype == np.float32 and np.allclose(result["probs"], expected, rtol=1e-5)  # float32
