"""Graphs whose height and width vary: no size is baked in, both ends are verified, and what cannot vary is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
torch = pytest.importorskip("torch", reason="the export extra is not installed")

from dlcv.export.onnx_from_checkpoint import onnx_from_model  # noqa: E402
from dlcv.export.precision.proof import prove  # noqa: E402
from dlcv.export.sizes import range_for  # noqa: E402
from dlcv.runtime.card.card import SizeRange  # noqa: E402
from dlcv.runtime.card.reader import read_card  # noqa: E402
from dlcv.runtime.errors import ExportError, UsageError  # noqa: E402
from dlcv.runtime.model.model import load  # noqa: E402

Export = Callable[..., Any]
SHALLOW = (1, 1, 2, 2)
"""Blocks of a ResNet: every kernel, stride and dilation of the deep one's; that one is exported in tests/contracts/test_exports.py."""
MODELS = ("fcn8s", "fcn32s", "fcn32s-fc7x7", "fcn32s-fc1x1", "unet", "deeplabv3-resnet101")


def _card(tiny_card: Any, name: str, **changed: Any) -> Any:
    from dlcv.train.models.registry import model_entry

    step = model_entry(name).size_divisor
    sizes = SizeRange((32, 32), (128, 160), step)
    return tiny_card.changed(model=name, head="logits", **{"size_range": sizes} | changed)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_no_model_bakes_its_size_in(
    name: str, tiny_card: Any, ort_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlcv.export.graph import ExportGraph
    from dlcv.train.models import resnet
    from dlcv.train.models.registry import create_model

    monkeypatch.setitem(resnet.BLOCKS, 101, SHALLOW)
    torch.manual_seed(0)
    model = create_model(name, len(tiny_card.classes), 0.0625).eval()
    card = _card(tiny_card, name)
    proto = onnx_from_model(model, card)
    graph = ExportGraph(model, card.mean_rgb, card.std_rgb, card.head).eval()
    for count, height, width in ((1, 32, 32), (3, 128, 160), (2, 96, 64)):
        images = np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)
        with torch.inference_mode():
            expected = graph(torch.from_numpy(images)).numpy()
        found = ort_run(proto, images)
        assert found.shape == expected.shape
        # float32 sums in another order, as in verify.MAX_LOGIT_DIFFERENCE
        assert np.abs(found - expected).max() <= 1e-3 * np.abs(expected).max()
    assert prove(proto, "fp32").share == 1.0, "the multiply-adds are counted at the card's size"


class _BakedIn(torch.nn.Module):
    """Resizes to one size, as `interpolate(size=(64, 64))` in a network does."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, classes, 3, padding=1)

    def forward(self, image: Any) -> Any:
        return torch.nn.functional.interpolate(self.conv(image), size=(64, 64), mode="bilinear")


def test_a_network_of_one_size_is_refused(tiny_card: Any) -> None:
    with pytest.raises(ExportError, match=r"output shape \[batch, 7, 64, 64\], expected \[N, 7, H, W\] with N and H and W dynamic; if fcn8s works at one size alone, leave out --dynamic-size"):  # fmt: skip
        onnx_from_model(_BakedIn(7).eval(), _card(tiny_card, "fcn8s"))


class _Undecided(torch.nn.Module):
    """Decides by the values of its pixels, which no graph of torch's exporter can."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, classes, 3, padding=1)

    def forward(self, image: Any) -> Any:
        return self.conv(image) if image.mean() > 0 else self.conv(-image)


def test_a_network_that_torch_cannot_export_so_is_refused_in_words(tiny_card: Any) -> None:
    with pytest.raises(ExportError, match=r"cannot export fcn8s at sizes of 32 x 32 to 128 x 160 in multiples of 32; leave out --dynamic-size, or"):  # fmt: skip
        onnx_from_model(_Undecided(7).eval(), _card(tiny_card, "fcn8s"))


def test_one_side_may_vary_alone_and_the_smallest_size_may_be_one_step(tiny_card: Any, tiny_model: Any) -> None:
    sizes = SizeRange((32, 64), (96, 64), 32)
    proto = onnx_from_model(tiny_model, _card(tiny_card, "fcn8s", size_range=sizes, input_size_hw=(32, 64)))
    shape = [side.dim_param or side.dim_value for side in proto.graph.input[0].type.tensor_type.shape.dim]
    assert isinstance(shape[1], str)
    assert shape[2:] == [64, 3]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ((32, 32, 100, 128), "--dynamic-size 32 32 100 128 is not in multiples of 32, which fcn8s needs; use --dynamic-size 32 32 128 128"),
        ((96, 96, 128, 128), "with the input size 64 64 among them; choose others, or another --size"),
        ((128, 128, 64, 64), "expected MIN_H MIN_W MAX_H MAX_W in order"),
        ((64, 64, 64, 64), "expected MIN_H MIN_W MAX_H MAX_W in order"),
    ],
)  # fmt: skip
def test_a_range_that_cannot_be_is_told(asked: tuple[int, int, int, int], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        range_for("fcn8s", "segmentation", (64, 64), asked)
    assert sentence in str(caught.value)


def test_a_classifier_has_one_size() -> None:
    with pytest.raises(UsageError, match="--dynamic-size is for segmentation; resnet18 classifies"):
        range_for("resnet18", "classification", (64, 64), (32, 32, 64, 64))
    assert range_for("resnet18", "classification", (64, 64), None) is None


@pytest.fixture(scope="module")
def dynamic(tmp_path_factory: pytest.TempPathFactory, tiny_checkpoint: Path) -> Path:
    """A real export of the tiny model at 32 x 32 to 96 x 128; do not change the files."""
    from click.testing import CliRunner

    from dlcv.export.cli.export import main

    folder = tmp_path_factory.mktemp("dynamic")
    arguments = ["--checkpoint", tiny_checkpoint, "--output", folder, "--format", "onnx", "--dynamic-size", 32, 32, 96, 128]  # fmt: skip
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    assert "verifying at 32 x 32\nverifying at 96 x 128\n" in result.stderr
    return folder / "fcn8s.onnx"


def test_the_card_and_the_sidecar_say_the_range(dynamic: Path) -> None:
    card = read_card(dynamic)
    assert card.size_range == SizeRange((32, 32), (96, 128), 32)
    assert card.input_size_hw == (64, 64)
    sizes = json.loads(dynamic.with_suffix(".json").read_text())["sizes"]
    assert {size: found["agreement"] for size, found in sizes.items()} == {"32 x 32": 1.0, "96 x 128": 1.0}


def test_a_window_of_another_size_is_what_torch_gives_there(dynamic: Path, tiny_model: Any, tiny_card: Any) -> None:
    from dlcv.train.checkpoints.session import TorchSession

    image = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    with load(dynamic, window_hw=(96, 128)) as model:
        assert model.card.input_size_hw == (96, 128)
        mask = model(image)
    reference = TorchSession(tiny_model, tiny_card.changed(input_size_hw=(96, 128)), torch.device("cpu"))
    assert np.array_equal(mask, reference.run(image[None])["logits"][0].argmax(0))
    with load(dynamic) as model:
        assert not np.array_equal(model(image), mask), "windows of 64 x 64 see less around their edges"


def test_a_size_out_of_range_is_told(dynamic: Path, exported: Any) -> None:
    with pytest.raises(UsageError, match=r"--window 128 128: \S+ takes 32 x 32 to 96 x 128 in multiples of 32; choose a size among them"):  # fmt: skip
        load(dynamic, window_hw=(128, 128))
    with pytest.raises(UsageError, match=r"--window 96 96: \S+ takes 64 x 64 alone; leave it out, or export with --dynamic-size"):  # fmt: skip
        load(exported.folder / "fcn8s.onnx", window_hw=(96, 96))
    load(exported.folder / "fcn8s.onnx", window_hw=(64, 64)).close()


def test_a_graph_that_is_wrong_at_one_end_alone_is_caught(export: Export, tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """A network that does something else for large images than the graph: right at 64 x 64, wrong at 96 x 128."""
    from dlcv.export import sizes as module

    real = module.TorchSession

    def other(network: Any, card: Any, device: Any) -> Any:
        if card.input_size_hw == (96, 128):
            network = torch.nn.Sequential(network, torch.nn.ReLU())
        return real(network, card, device)

    monkeypatch.setattr(module, "TorchSession", other)
    result = export("--checkpoint", tiny_checkpoint, "--output", tmp_path, "--format", "onnx", "--dynamic-size", 32, 32, 96, 128)  # fmt: skip
    assert result.exit_code == 1
    assert "verification at 96 x 128 failed on 4 tiles, no file was written: " in result.stderr.splitlines()[-1]
    assert list(tmp_path.iterdir()) == []
