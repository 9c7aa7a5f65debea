"""Every session in every precision below float32: at its bound, or refused in a sentence; and said as what it is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from session_openers import OPENERS, WORLDS, World, open_torch

from dlcv.runtime.card.card import PRECISIONS
from dlcv.runtime.errors import PrecisionError
from dlcv.runtime.scoring.comparison import MIN_AGREEMENT, bound_precision
from dlcv.runtime.sessions import Session, open_session

LOW_HEADS = {"segmentation": "mask", "classification": "probs"}
COMPUTES = {
    ("onnx-cpu", "fp16"): "fp32", ("onnx-cpu", "int8"): "int8",
    ("openvino", "fp16"): "fp32", ("openvino", "bf16"): "bf16", ("openvino", "int8"): "int8",
    ("onnx-cuda", "fp16"): "fp16", ("onnx-cuda", "bf16"): "bf16",
    ("plan", "fp16"): "fp16", ("plan", "bf16"): "bf16", ("plan", "int8"): "int8",
}  # fmt: skip
"""What a session computes a graph in; a precision that is left out is refused."""
REFUSALS = {
    (
        "onnx-cpu",
        "bf16",
    ): "^ONNX Runtime has no bfloat16 convolution on a CPU; run it with --session openvino, or export with --precision fp32$",
    ("onnx-cuda", "int8"): "CUDA provider has no int8 convolution and would compute in float32",
}
LOW_CASES = [
    pytest.param(
        task, name, precision, id=f"{task}-{name}-{precision}", marks=[pytest.mark.gpu] if name in ("onnx-cuda", "plan") else []
    )
    for task in WORLDS
    for name in OPENERS
    for precision in PRECISIONS[1:]
    if name != "torch"
]  # fmt: skip


class LowWorld:
    """A trained or scaled model of a task, and its graphs in each precision; as a `World`, of one precision at a time."""

    def __init__(self, request: pytest.FixtureRequest, task: str, folder: Path) -> None:
        pytest.importorskip("torch")
        self._request, self.task, self.folder, self.head = request, task, folder, LOW_HEADS[task]
        if task == "segmentation":
            self.model, card = request.getfixturevalue("tiny_model"), request.getfixturevalue("tiny_card")
            self.images = np.stack(request.getfixturevalue("tiny_scenes"))
        else:
            from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint

            checkpoint = load_checkpoint(request.getfixturevalue("tiny_classifier")(0))
            self.model, card = model_from_checkpoint(checkpoint).eval(), checkpoint.card
            self.images = request.getfixturevalue("tiny_crops")
        self.card = card.changed(head=self.head)

    def graph(self, precision: str) -> Path:
        """The model's graph, made once."""
        path = self.folder / f"{self.task}-{precision}.onnx"
        if not path.exists():
            path.write_bytes(self._proto(precision).SerializeToString())
        return path

    def _proto(self, precision: str) -> Any:
        import onnx

        from dlcv.export.onnx_from_checkpoint import onnx_from_model, with_card
        from dlcv.export.precision.calibration import int8_from_onnx
        from dlcv.export.precision.cast import network_at

        card = self.card.changed(precision=precision)
        if precision == "fp32":
            return onnx_from_model(self.model, card)
        if precision == "int8":
            return with_card(int8_from_onnx(onnx.load(self.graph("fp32")), list(self.images)), card)
        return onnx_from_model(network_at(self.model, precision, card.input_size_hw), card)

    def at(self, precision: str) -> World:
        """For the openers."""
        folder = self.folder / precision
        folder.mkdir(exist_ok=True)
        card = self.card.changed(precision=precision)
        return World(card, lambda head: self.graph(precision), lambda: self.model, list(self.images), folder)

    def agreement(self, session: Session) -> float:
        """Share of pixels or images in which a session says what torch says in float32, or, of int8, what the graph says.

        The tiny segmentation model is not trained: its logits lie near each other, and int8 itself moves 0.06 of the pixels.
        """
        if session.card.precision == "int8":
            expected = self._as_written()
        else:
            expected = open_torch(self.at("fp32"), "logits").run(self.images)["logits"].argmax(1)
        assert len(np.unique(expected)) >= 3, "a model that says one class everywhere would agree with anything"
        return float(np.mean(self._classes(session.run(self.images)[self.head]) == expected))

    def _as_written(self) -> NDArray[Any]:
        """The int8 graph as it is written: every value quantised and dequantised, every convolution in float32."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        plain = ort.InferenceSession(str(self.graph("int8")), options, providers=["CPUExecutionProvider"])
        return self._classes(plain.run(None, {"image": self.images})[0])

    def _classes(self, answer: NDArray[Any]) -> NDArray[Any]:
        return answer if self.head == "mask" else answer.argmax(1)


@pytest.fixture(scope="module")
def low_worlds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], LowWorld]:
    made: dict[str, LowWorld] = {}

    def world(task: str) -> LowWorld:
        if task not in made:
            made[task] = LowWorld(request, task, tmp_path_factory.mktemp(f"low-{task}"))
        return made[task]

    return world


@pytest.fixture
def low(low_worlds: Callable[[str], LowWorld], task: str) -> LowWorld:
    return low_worlds(task)


def _without_bf16() -> bool:
    from dlcv.runtime.sessions.openvino import cpu_abilities

    return "BF16" not in cpu_abilities()


@pytest.mark.parametrize(("task", "name", "precision"), LOW_CASES)
def test_a_precision_agrees_with_torch_at_its_bound_or_is_refused(low: LowWorld, task: str, name: str, precision: str) -> None:  # fmt: skip
    if name == "openvino" and precision == "bf16" and _without_bf16():
        with pytest.raises(PrecisionError, match=r"^bf16 needs a CPU with AVX512_BF16 or AMX, and "):
            OPENERS[name](low.at(precision), low.head)
        return
    if (name, precision) not in COMPUTES:
        with pytest.raises(PrecisionError, match=REFUSALS[name, precision]):
            OPENERS[name](low.at(precision), low.head)
        return
    with OPENERS[name](low.at(precision), low.head) as session:
        assert session.computes == COMPUTES[name, precision]
        ran = session.executed()
        assert ran is None or ran.problems(session.computes) == []
        assert low.agreement(session) >= MIN_AGREEMENT[task][bound_precision(precision, session.computes)]


@pytest.mark.parametrize("task", WORLDS)
@pytest.mark.parametrize("compute", ["bf16", "fp16"])
def test_less_than_the_card_says_is_computed_when_asked_for_and_said(low: LowWorld, task: str, compute: str) -> None:
    openvino = pytest.importorskip("openvino")
    if compute.upper() not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip(f"this CPU computes no {compute}")
    with open_session(low.graph("fp32"), session="openvino", compute=compute) as session:
        assert session.computes == compute and session.description.endswith(f", in {compute}")
        ran = session.executed()
        assert ran is not None and ran.share(compute) >= 0.5
        assert low.agreement(session) >= MIN_AGREEMENT[task][compute]


@pytest.mark.parametrize("task", ["segmentation"])
def test_an_fp32_graph_that_is_run_in_bf16_is_caught_twice(low: LowWorld, task: str, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """Without the hint OpenVINO runs a float32 graph in bfloat16 by itself, where the CPU can."""
    pytest.importorskip("openvino")
    if _without_bf16():
        pytest.skip("this CPU computes no bf16")
    from dlcv.runtime.sessions import openvino
    from dlcv.runtime.sessions.executed import Executed

    monkeypatch.setattr(openvino, "_precision_options", lambda wanted: {})
    with pytest.raises(PrecisionError, match=r"is to be computed in fp32, and OpenVINO \S+ on CPU runs \d+\.\d% of the multiply-adds in less than fp32: \S+ in bf16, .* and \d+ more"):  # fmt: skip
        open_session(low.graph("fp32"), session="openvino")
    monkeypatch.setattr(Executed, "require", lambda *_: None)
    with open_session(low.graph("fp32"), session="openvino") as session:
        assert low.agreement(session) < MIN_AGREEMENT[task]["fp32"], "the bound must catch what the check would"


@pytest.mark.parametrize("task", WORLDS)
def test_an_int8_label_on_float32_convolutions_is_caught_twice(low: LowWorld, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """By the types in the file, for every session; and by what OpenVINO runs, where the file looks right."""
    import onnx

    from dlcv.runtime.card.reader import ONNX_KEY
    from dlcv.runtime.sessions import candidates

    proto, path = onnx.load(low.graph("fp32")), tmp_path / "mislabelled.onnx"
    onnx.helper.set_model_props(proto, {ONNX_KEY: low.card.changed(precision="int8").to_json()})
    path.write_bytes(proto.SerializeToString())
    for library in ("onnxruntime", "openvino"):
        with pytest.raises(PrecisionError, match=r"says int8, and 0 of its .* are in int8; export it again$"):
            open_session(path, session=library)
    pytest.importorskip("openvino")
    monkeypatch.setattr(candidates, "_check_label", lambda wanted: None)
    with pytest.raises(PrecisionError, match=r"computed in int8, and OpenVINO .* runs 0\.0% of the multiply-adds in int8, expected at least 50%$"):  # fmt: skip
        open_session(path, session="openvino")


def test_lanes_in_int8_say_what_one_says(tmp_path: Path) -> None:
    """A network whose layers share shapes, of which OpenVINO 2026.4 gives wrong answers where a compiled model has several streams."""
    torch, onnx = pytest.importorskip("torch"), pytest.importorskip("onnx")
    pytest.importorskip("openvino")
    from dlcv.export.onnx_from_checkpoint import onnx_from_model, with_card
    from dlcv.export.precision.calibration import int8_from_onnx
    from dlcv.runtime.card.card import ModelCard
    from dlcv.train.models import create_model

    card = ModelCard(
        model="resnet18", task="classification", classes=tuple("abcd"), palette=((0, 0, 0),) * 4, input_size_hw=(32, 32),
        mean_rgb=(0.4,) * 3, std_rgb=(0.2,) * 3, head="logits", fit="centre-crop", short_side=32, width=0.125,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = create_model("resnet18", classes=4, width=0.125).eval()
        for norm in network.modules():
            if isinstance(norm, torch.nn.BatchNorm2d):
                norm.weight.data.uniform_(0.5, 1.5)
                norm.bias.data.normal_(0, 0.3)
    images = np.random.default_rng(0).integers(0, 255, (8, 32, 32, 3), dtype=np.uint8)
    proto = int8_from_onnx(onnx_from_model(network, card), list(images))
    path = tmp_path / "resnet18.onnx"
    onnx.save(with_card(proto, card.changed(precision="int8")), path)

    def logits(lanes: int) -> list[NDArray[Any]]:
        with open_session(path, device="cpu", session="openvino", lanes=lanes) as session:
            return [session.run(images)["logits"] for _ in range(session.parallel)]  # each lane has its turn

    one = logits(1)[0]
    for answer in logits(3) + logits(3):  # lanes are compiled at the same time
        np.testing.assert_array_equal(answer, one)
