"""One suite over every model in the registry: what is exported is what was trained. A new model joins by its registry line.

Models are narrow and images small, so that the suite takes seconds a model; weights are random, but their batch statistics and the
spread of their logits are those of a network at work, so that a difference would show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
torch = pytest.importorskip("torch", reason="the export extra is not installed")

from dlcv.export.builders.build import build_plan  # noqa: E402
from dlcv.export.builders.options import BuildOptions  # noqa: E402
from dlcv.export.onnx_from_checkpoint import onnx_from_model  # noqa: E402
from dlcv.export.verify import verify_graph  # noqa: E402
from dlcv.runtime.card.card import ModelCard  # noqa: E402
from dlcv.runtime.card.reader import read_card  # noqa: E402
from dlcv.runtime.files import sha256_of  # noqa: E402
from dlcv.runtime.scoring.evaluation import answer_images  # noqa: E402
from dlcv.runtime.sessions import open_session  # noqa: E402
from dlcv.train.checkpoints.session import TorchSession  # noqa: E402
from dlcv.train.data.scenes import make_scene  # noqa: E402
from dlcv.train.models import create_model, list_models  # noqa: E402
from dlcv.train.models.imagenet import IMAGENET_MEAN_RGB, IMAGENET_STD_RGB  # noqa: E402
from dlcv.train.models.registry import MODELS  # noqa: E402
from dlcv.train.preprocess import normalise  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

CLASSES = 5
WIDTH = 0.05
SIDE = {"segmentation": 64, "classification": 48}
SAME_BLOCKS = ("resnet34", "resnet101", "resnet152")
"""Deeper than resnet18 and resnet50, of the same blocks: they would add minutes of torch's exporter, and nothing else."""
DEEP = ("resnet50", "deeplabv3-resnet101", "densenet201-mlp")
"""Torch's exporter takes many seconds for them."""

AGREEMENT = 0.999
"""Of pixels: the logits of a random network lie nearer to each other than those of a trained one, so more of them are ties."""
PROBABILITIES_ATOL = 2e-4
"""Logits of deviation 1 move by up to 4e-4 (densenet201-mlp: float32 sums of 200 layers in another order), probabilities by less than half."""

every_model = pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.slow if n in DEEP else ()) for n in list_models() if n not in SAME_BLOCKS],
)


@dataclass(frozen=True)
class Exported:
    """A model's graph, and torch to hold it against."""

    path: Path
    session: TorchSession
    images: NDArray[np.uint8]


@cache
def scenes(side: int, count: int = 6) -> NDArray[np.uint8]:
    """uint8 (count, side, side, 3)."""
    return np.stack([make_scene(0, index, side)[0] for index in range(count)])


def at_work(name: str, images: NDArray[np.uint8]) -> nn.Module:
    """A narrow model in evaluation mode whose batch statistics are those of `images`, and whose logits spread by about 1."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(5)
        model = create_model(name, classes=CLASSES, width=WIDTH)
        inputs = normalise(torch.from_numpy(images), IMAGENET_MEAN_RGB, IMAGENET_STD_RGB)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None  # the mean over what it sees
            elif isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
                module.p = 0.0
        for (
            parameter
        ) in model.parameters():  # fresh skip connections and biases may be 0, and a path of zeros shows nothing
            parameter.add_(0.01 * torch.randn_like(parameter))
        model.train()(inputs)
        model.eval()
        logits = model(inputs)
        mean = logits.mean([axis for axis in range(logits.ndim) if axis != 1], keepdim=True)
    return torch.nn.Sequential(model, _Spread(mean, (logits - mean).std())).eval()


class _Spread(torch.nn.Module):
    """Moves each class's logits to mean 0 and all to deviation 1: a random network says nearly the same whatever it sees."""

    def __init__(self, mean: Any, deviation: Any) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, logits: Any) -> Any:
        return (logits - self.mean) / self.deviation


def card_of(name: str) -> ModelCard:
    task, side = MODELS[name].task, SIDE[MODELS[name].task]
    own: dict[str, Any] = {"palette": tuple((k, k, k) for k in range(CLASSES)), "head": "mask"}
    if task == "classification":
        own = {"palette": (), "fit": "centre-crop", "short_side": side, "head": "probs"}
    return ModelCard(
        model=name, task=task, width=WIDTH, classes=tuple("abcde"), input_size_hw=(side, side),
        mean_rgb=IMAGENET_MEAN_RGB, std_rgb=IMAGENET_STD_RGB, **own,
    )  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Exported]:
    """Name -> its graph with the task's own head, exported once."""
    folder, made = tmp_path_factory.mktemp("exports"), dict[str, Exported]()

    def export(name: str) -> Exported:
        if name not in made:
            card = card_of(name)
            images = scenes(card.input_size_hw[0])
            model, path = at_work(name, images), folder / f"{name}.onnx"
            path.write_bytes(onnx_from_model(model, card).SerializeToString())
            made[name] = Exported(path, TorchSession(model, card, torch.device("cpu")), images)
        return made[name]

    return export


@every_model
def test_the_graph_is_what_torch_is(name: str, exported: Callable[[str], Exported]) -> None:
    """Logits and argmax over every image, in batches of three; see `verify.py`."""
    given = exported(name)
    found = verify_graph(onnx.load(given.path), read_card(given.path), given.session, list(given.images))
    assert [text for text in found.problems() if not text.startswith("argmax agreement")] == []
    assert found.agreement >= AGREEMENT
    assert found.predicted_classes >= 2 and found.logit_scale > 1


@every_model
def test_a_batch_gives_what_single_runs_give(name: str, exported: Callable[[str], Exported]) -> None:
    given = exported(name)
    head = read_card(given.path).head
    with open_session(given.path, device="cpu") as session:
        single = np.concatenate([session.run(image[None])[head] for image in given.images[:3]])
        together = session.run(given.images[:3])[head]
    assert together.shape == single.shape and together.dtype == single.dtype
    assert np.any(single[0] != single[1]), "the images are told apart at all"
    if head == "mask":
        assert np.mean(together == single) >= AGREEMENT
    else:
        np.testing.assert_allclose(together, single, rtol=0, atol=PROBABILITIES_ATOL)


@every_model
def test_only_what_an_edge_runtime_reads_is_in_the_graph(name: str, exported: Callable[[str], Exported]) -> None:
    """Places computed from shapes (Range, NonZero, Gather of them) are where TensorRT's support of dynamic batches ends."""
    proto = onnx.load(exported(name).path)
    used = {node.op_type for node in proto.graph.node}
    assert not used & {"Range", "NonZero", "ScatterND", "GatherND", "If", "Loop", "Einsum", "OneHot"}
    assert {entry.domain for entry in proto.opset_import} == {""}
    assert not proto.functions


@every_model
@pytest.mark.parametrize("size_hw", [(50, 77), (100, 64), (33, 131)])
def test_images_of_other_sizes_are_fitted(name: str, size_hw: tuple[int, int], exported: Callable[[str], Exported]) -> None:  # fmt: skip
    """Sizes not divisible by 32: the graph says what torch says, a mask of the image's own size or one answer."""
    given = exported(name)
    image = scenes(160, 1)[0][: size_hw[0], : size_hw[1]]
    with open_session(given.path, device="cpu") as session:
        (found,) = answer_images(session, [image], batch=2)
    (expected,) = answer_images(given.session, [image], batch=2)
    if given.session.card.task == "segmentation":
        assert found.answer.shape == size_hw
        assert np.mean(found.answer == expected.answer) >= AGREEMENT
    else:
        assert found.answer.shape == (CLASSES,)
        np.testing.assert_allclose(found.answer, expected.answer, rtol=0, atol=PROBABILITIES_ATOL)


@every_model
def test_a_plan_is_built_without_a_gpu(name: str, exported: Callable[[str], Exported], tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    path, card = exported(name).path, read_card(exported(name).path)
    options = BuildOptions("tensorrt-rtx", max_batch=4, opt_batch=3, compute_capabilities=("8.6",))
    report = build_plan(path, tmp_path / "x.plan", card=card, options=options)
    found = read_card(report.path)
    assert found == report.card
    assert (found.max_batch, found.onnx_sha256) == (4, sha256_of(path))
    assert found.changed(max_batch=0, onnx_sha256="", versions={}, proof="") == card
    told = report.proof
    assert told.network.share("fp32") == told.compiled.share("fp32") == 1
    assert told.compiled.multiply_adds == told.network.multiply_adds, "the build log tells every layer's kernel"
