"""Several checkpoints as one network: the mean of their probabilities, and every refusal."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

torch = pytest.importorskip("torch", reason="the train extra is not installed")

from torch import Tensor, nn  # noqa: E402

from dlcv.runtime.errors import CheckpointError  # noqa: E402
from dlcv.runtime.files import sha256_of  # noqa: E402
from dlcv.train.checkpoints.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from dlcv.train.checkpoints.ensemble import (  # noqa: E402
    ALIKE,
    EnsembleNetwork,
    ensemble_of,
    load_members,
    open_checkpoints,
    sha256_of_members,
)
from dlcv.train.checkpoints.session import open_checkpoint  # noqa: E402


class Gives(nn.Module):
    """Returns the same logits whatever the image."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, image: Tensor) -> Tensor:
        return self.logits


@pytest.fixture
def paths(tiny_classifier: Callable[[int], Path]) -> list[Path]:
    return [tiny_classifier(seed) for seed in (0, 1, 2)]


@pytest.mark.parametrize("shape", [(4, 3), (2, 5, 6, 7)], ids=["classification", "segmentation"])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_the_softmax_is_the_mean_of_the_members(count: int, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    logits = [3 * torch.randn(shape) for _ in range(count)]
    found = EnsembleNetwork([Gives(each) for each in logits])(torch.empty(0))
    mean = torch.stack([each.double().softmax(1) for each in logits]).mean(0)
    assert found.shape == shape
    # float32 has 24 bits of mantissa, and a handful of roundings stand between the two
    torch.testing.assert_close(found.softmax(1).double(), mean, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(found.double(), mean.log(), rtol=1e-5, atol=1e-6)
    assert torch.equal(found.argmax(1), mean.argmax(1))


def test_two_members_by_hand() -> None:
    """0.9 and 0.1 beside 0.3 and 0.7: the mean is 0.6 and 0.4, where the mean of the logits would say so by another number."""
    members = [Gives(torch.tensor([values]).log()) for values in ((0.9, 0.1), (0.3, 0.7))]
    assert EnsembleNetwork(members)(torch.empty(0)).exp().tolist() == [pytest.approx([0.6, 0.4])]


def test_logits_far_apart_stay_finite() -> None:
    """exp(-200) is 0 in float32: the logarithm of a softmax would be minus infinity."""
    members = [Gives(torch.tensor([[200.0, 0.0]])), Gives(torch.tensor([[0.0, -300.0]]))]
    found = EnsembleNetwork(members)(torch.empty(0))
    assert torch.isfinite(found).all()
    assert found[0].tolist() == pytest.approx([0, -200 - np.log(2)], abs=1e-4)


def test_a_session_gives_the_mean_probability(paths: list[Path], tiny_crops: NDArray[np.uint8]) -> None:
    images = tiny_crops
    single = [open_checkpoint(path, device="cpu").run(images)["probs"] for path in paths]
    assert np.abs(single[0] - single[1]).max() > 0.01, "the members differ"
    with open_checkpoints(paths, device="cpu", model="cnn3") as session:
        found = session.run(images)
    np.testing.assert_allclose(
        found["probs"], np.mean(single, 0), rtol=0, atol=1e-6
    )  # float32 roundings of values up to 1
    assert session.card.members == 3
    assert session.description.endswith(" on cpu, the mean of 3 checkpoints")


def test_one_checkpoint_is_itself(paths: list[Path]) -> None:
    network, card = ensemble_of(load_members(paths[:1]), paths[:1])
    assert card == load_checkpoint(paths[0]).card
    assert not isinstance(network, EnsembleNetwork)
    with open_checkpoints(paths[:1], device="cpu") as session:
        assert "mean" not in session.description


def test_the_card_says_of_whom_it_is(paths: list[Path]) -> None:
    _, card = ensemble_of(load_members(paths), paths)
    digest = hashlib.sha256("".join(sorted(map(sha256_of, paths))).encode()).hexdigest()
    assert (card.members, card.checkpoint_sha256) == (3, digest)
    assert sha256_of_members(paths[::-1]) == digest, "the order does not matter"
    assert sha256_of_members(paths[:2]) != digest
    assert sha256_of_members(paths[:1]) == sha256_of(paths[0])


OTHER: dict[str, Any] = {
    "classes": ("blood", "grass", "night", "lake"),
    "input_size_hw": (32, 24),
    "mean_rgb": (1.0, 2.0, 3.0),
    "std_rgb": (1.0, 2.0, 3.0),
    "short_side": 64,
    "interpolation": "cubic",
    "uncounted": (2,),
}


@pytest.mark.parametrize("name", OTHER)
def test_members_that_are_not_alike_are_refused(name: str, paths: list[Path], tmp_path: Path) -> None:
    loaded, other = load_checkpoint(paths[1]), tmp_path / "other.pt"
    save_checkpoint(other, replace(loaded, card=loaded.card.changed(**{name: OTHER[name]})))
    with pytest.raises(CheckpointError) as caught:
        load_members([paths[0], other])
    text = str(caught.value)
    assert text.startswith(f"{paths[0]} and {other} cannot be averaged: their {name} differs (")
    assert "\n" not in text


def test_another_task_or_model_is_refused(paths: list[Path], tiny_checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot be averaged: their model differs \(cnn3 and fcn8s\)"):
        load_members([paths[0], tiny_checkpoint])
    with pytest.raises(CheckpointError, match="is a checkpoint of fcn8s, not of cnn3"):
        load_members([paths[0], tiny_checkpoint], model="cnn3")
    assert {"model", "task", *OTHER} <= set(ALIKE)


def test_the_same_checkpoint_twice_is_refused(paths: list[Path], tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=rf"^{paths[0]} is named twice; the members of an ensemble must be different"
    ):
        load_members([paths[0], paths[1], paths[0]])
    shutil.copyfile(paths[0], tmp_path / "copy.pt")
    with pytest.raises(CheckpointError, match=rf"^{paths[0]} and {tmp_path}/copy\.pt are the same; "):
        load_members([paths[0], tmp_path / "copy.pt"])
    with pytest.raises(CheckpointError, match="no checkpoint was named; name one with --checkpoint FILE"):
        load_members([])
