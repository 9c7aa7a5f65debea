"""A network of the user's own goes the whole way, and weights from elsewhere become a checkpoint without a step of training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from dlcv.runtime.errors import CheckpointError, UsageError
from dlcv.train.checkpoints.checkpoint import load_checkpoint
from dlcv.train.checkpoints.session import open_checkpoint
from dlcv.train.cli.train import main
from dlcv.train.loop import Trainer
from dlcv.train.models.registry import MODELS

Start = Callable[..., Trainer]
NET = """
from torch import nn

class Net(nn.Module):
    task, size_divisor, mean_rgb, std_rgb = "segmentation", 4, (0, 0, 0), (255, 255, 255)

    def __init__(self, classes):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, stride=4, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Conv2d(8, classes, 1)

    def forward(self, image):
        return nn.functional.interpolate(self.head(self.body(image)), scale_factor=4.0, mode="bilinear")
"""


@pytest.fixture(autouse=True)
def _registry() -> Iterator[None]:
    known = dict(MODELS)
    yield
    MODELS.clear()
    MODELS.update(known)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "my nets.py"
    path.write_text(NET)
    return path


def train(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [*map(str, words), "--workers", "0", "--device", "cpu"], catch_exceptions=False)
    return done.exit_code, done.stderr


def test_it_trains_resumes_and_is_a_checkpoint_like_any(net: Path, scenes: Path, tmp_path: Path) -> None:
    given = (
        "--model-file",
        net,
        "--model",
        "net",
        "--data",
        scenes,
        "--crop",
        64,
        "--batch",
        4,
        "--output",
        tmp_path / "run",
    )
    code, said = train(*given, "--epochs", 1)
    assert code == 0, said
    assert said.splitlines()[-1].endswith(
        f"export it with: dlcv-export --model-file '{net}' --model net --checkpoint {tmp_path / 'run' / 'best.pt'}"
    )
    code, said = train(*given, "--resume", "--epochs", 2)
    assert code == 0 and "epoch 2/2" in said
    card = load_checkpoint(tmp_path / "run/best.pt").card
    assert (card.model, card.mean_rgb, card.std_rgb) == ("net", (0, 0, 0), (255, 255, 255))
    open_checkpoint(tmp_path / "run/best.pt", device="cpu").close()
    del MODELS["net"]
    with pytest.raises(
        UsageError, match=r"^unknown model 'net'; .*; one of your own is known with --model-file FILE.py$"
    ):
        open_checkpoint(tmp_path / "run/best.pt")  # which runs no file that nobody named
    code, said = train("--model", "net", "--data", scenes)
    assert code == 2 and said.endswith("one of your own is known with --model-file FILE.py\n")


def test_what_it_gives_is_looked_at_before_anything_is_written(net: Path, scenes: Path, tmp_path: Path) -> None:
    net.write_text(NET.replace(", scale_factor=4.0", ", scale_factor=2.0"))
    code, said = train(
        "--model-file", net, "--model", "net", "--data", scenes, "--crop", 64, "--output", tmp_path / "run"
    )
    assert code == 2
    assert said.splitlines()[-1] == (
        "dlcv-train: net gives a tensor of float32 (2, 7, 32, 32) for 2 images of 64 x 64, expected logits: a float tensor (2, 7, 64, 64)"
    )
    assert not (tmp_path / "run").exists()


def test_the_one_model_of_a_file_need_not_be_named(net: Path, scenes: Path) -> None:
    code, said = train("--model-file", net, "--data", scenes, "--dry-run")
    assert code == 0 and "would train net with " in said
    net.write_text(NET + "\n\nclass Other(Net): pass\n")
    code, said = train("--model-file", net, "--data", scenes, "--dry-run")
    assert (code, said) == (2, f"dlcv-train: {net}: has net, other; name one of them with --model\n")
    code, said = train("--model-file", net, "--model", "other", "--data", scenes, "--dry-run")
    assert code == 0 and "would train other with " in said


def test_a_file_of_settings_does_not_name_code(net: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(f'model-file = ["{net}"]\n')
    code, said = train("--config", tmp_path / "run.toml")
    assert code == 2 and "unknown name 'model-file'" in said


def test_weights_as_they_are_become_a_checkpoint(start: Start, scenes: Path, tmp_path: Path) -> None:
    trained = start(tmp_path / "trained", epochs=2)
    expected = trained.train()
    weights = {name: tensor.clone() for name, tensor in trained.model.state_dict().items()}
    torch.save(weights, tmp_path / "weights.pth")
    said: list[str] = []
    scores = start(tmp_path / "run", init=str(tmp_path / "weights.pth"), epochs=0, say=said.append).train()
    assert scores is not None and expected is not None and scores.headline == expected.headline
    best, last = load_checkpoint(tmp_path / "run/best.pt"), load_checkpoint(tmp_path / "run/last.pt")
    assert all(torch.equal(best.weights[name], tensor) for name, tensor in weights.items())
    assert best.scores["epoch"] == 0 and best.scores["mean_iou"] == scores.headline and best.probe_sha256
    assert (last.training["epoch"], last.training["step_in_epoch"], last.training["best"]) == (1, 0, scores.headline)
    assert said[-1].startswith("as they are: validation loss ") and f"mean IoU {scores.headline:.4f} (" in said[-1]
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "best.pt", "last.pt", "probe", "settings.toml", "split.csv"
    ]  # fmt: skip


def test_weights_that_are_not_all_there_are_no_result(start: Start, tmp_path: Path) -> None:
    weights = start(tmp_path / "other", epochs=1).model.state_dict()
    last = list(weights)[-1]
    torch.save({name: tensor for name, tensor in weights.items() if name != last}, tmp_path / "most.pth")
    with pytest.raises(CheckpointError, match=rf"most.pth has not all weights of the model, and none would be trained; it lacks {last}$"):  # fmt: skip
        start(tmp_path / "run", init=str(tmp_path / "most.pth"), epochs=0)
    assert not (tmp_path / "run/best.pt").exists()
    start(tmp_path / "run", init=str(tmp_path / "most.pth"), epochs=1)  # which trains it


def test_it_is_trained_further_and_not_judged_twice(start: Start, tmp_path: Path) -> None:
    from dlcv.train import run

    first = start(tmp_path / "first", epochs=1)
    first.train()
    torch.save(first.model.state_dict(), tmp_path / "weights.pth")
    start(tmp_path / "run", init=str(tmp_path / "weights.pth"), epochs=0).train()
    assert run.resume(tmp_path / "run", {"model": "fcn8s"}, say=lambda _: None).train() is None, "all is done"
    scores = run.resume(tmp_path / "run", {"model": "fcn8s", "epochs": 1}, say=lambda _: None).train()
    assert scores is not None
    assert (tmp_path / "run/history.csv").read_text().splitlines()[1].startswith("1,")


def test_no_epochs_and_no_weights_is_refused(start: Start, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--epochs 0 trains nothing: .*; name them with --init FILE$"):
        start(tmp_path / "run", epochs=0)
