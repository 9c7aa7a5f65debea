"""The auxiliary head: it trains, stays in the checkpoint, and is in no answer and no export."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from dlcv.train import run
from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint
from dlcv.train.data.augment import Augmentation
from dlcv.train.data.examples import TrainingImages
from dlcv.train.loop import Trainer
from dlcv.train.preprocess import normalise
from dlcv.train.settings.settings import TrainSettings
from dlcv.train.steps.losses import AUXILIARY_WEIGHT

Start = Callable[..., Trainer]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def auxiliary(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch of deeplabv3-resnet101 with its auxiliary head."""
    folder = tmp_path_factory.mktemp("runs") / "deeplab"
    settings = TrainSettings(
        model="deeplabv3-resnet101", data=str(scenes), width=0.05, options={"auxiliary": True}, epochs=1, batch=4, crop=48,
        workers=0, device="cpu",
    )  # fmt: skip
    trainer = run.start(settings, folder, overwrite=False, say=lambda _: None)
    _assert_a_step_takes_both_losses(trainer)
    assert trainer.train() is not None
    return folder


def _assert_a_step_takes_both_losses(trainer: Trainer) -> None:
    items = [TrainingImages(trainer.run.training, Augmentation(48), 0)[1, index] for index in range(4)]
    images, labels = (torch.stack(part) for part in zip(*items, strict=True))
    before = {name: tensor.clone() for name, tensor in trainer.model.state_dict().items()}
    state = torch.get_rng_state()
    trainer.model.train()
    value = trainer._step([(images, labels)])
    moved = [n for n, p in trainer.model.named_parameters() if n.startswith("aux_") and not torch.equal(p, before[n])]
    assert len(moved) > 3  # its own weights learn of its own loss alone
    trainer.model.load_state_dict(before)
    torch.set_rng_state(state)  # the same dropout
    with torch.no_grad():
        logits, other = trainer.model(normalise(images, trainer.run.card.mean_rgb, trainer.run.card.std_rgb))
    both = trainer.loss(logits, labels) + AUXILIARY_WEIGHT * trainer.loss(other, labels)
    assert value == pytest.approx(both.item(), rel=1e-5)  # float32
    trainer.model.load_state_dict(before)


def test_the_auxiliary_head_stays_in_the_checkpoint_and_out_of_the_answer(auxiliary: Path) -> None:
    best = load_checkpoint(auxiliary / "best.pt")
    assert best.card.options == {"auxiliary": True} and any(name.startswith("aux_classifier.") for name in best.weights)
    model, image = model_from_checkpoint(best), torch.randn(1, 3, 48, 48)
    with torch.inference_mode():
        before = model(image)
        assert isinstance(before, torch.Tensor) and before.shape == (1, 7, 48, 48)
        for parameter in model.aux_classifier.parameters():
            parameter.add_(1.0)
        assert torch.equal(model(image), before)


@pytest.mark.slow  # through torch.export
def test_the_auxiliary_head_is_not_exported(tiny_card: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a shallow one: the deep one's layers, each once or twice."""
    pytest.importorskip("onnxscript")
    from dlcv.export.onnx_from_checkpoint import onnx_from_model
    from dlcv.train.models import create_model, resnet

    monkeypatch.setitem(resnet.BLOCKS, 101, (1, 1, 2, 2))
    options = {"auxiliary": True}
    model = create_model("deeplabv3-resnet101", classes=7, width=0.05, options=options).eval()
    assert [name for name, _ in model.named_parameters() if "aux" in name]
    card = tiny_card.changed(model="deeplabv3-resnet101", width=0.05, options=options, head="mask")
    names = [tensor.name for tensor in onnx_from_model(model, card).graph.initializer]
    assert len(names) > 30 and not [name for name in names if "aux" in name]
