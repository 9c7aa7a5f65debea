"""The contract of a session, held by every one: ONNX Runtime, OpenVINO, TensorRT, and torch as the reference; and in every precision.

A new session joins with one line in `OPENERS`.
"""

from __future__ import annotations

import runpy
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.card import PRECISIONS, ModelCard
from dlcv.runtime.comparison import MIN_AGREEMENT, bound_precision
from dlcv.runtime.errors import EngineError, PrecisionError
from dlcv.runtime.sessions import Session, open_session

LOGIT_TOLERANCE = 1e-3
"""Logits here are of deviation 1; float32 sums of some hundred products in another order differ by about 1e-5."""

Images = NDArray[np.uint8]


class World:
    """What the openers need for a task: a model, its card, its graphs, images that it tells apart, and a folder."""

    def __init__(
        self,
        card: ModelCard,
        graph: Callable[[str], Path],
        model: Callable[[], Any],
        scenes: list[Images],
        folder: Path,
    ) -> None:
        self.card, self.graph, self.model, self.scenes, self.folder = card, graph, model, scenes, folder


def _segmentation(request: pytest.FixtureRequest, folder: Path) -> World:
    card, graph, scenes = (request.getfixturevalue(name) for name in ("tiny_card", "tiny_graph", "tiny_scenes"))
    return World(card, graph, lambda: request.getfixturevalue("tiny_model"), scenes, folder)


def _classification(request: pytest.FixtureRequest, folder: Path) -> World:
    colours = runpy.run_path(str(Path(__file__).parents[1] / "runtime" / "colour_engine.py"))
    card = colours["CARD"]

    def graph(head: str) -> Path:
        pytest.importorskip("onnx")
        path: Path = colours["write_colour_engine"](folder / f"{head}.onnx", card.changed(head=head))
        return path

    def model() -> Any:
        torch = pytest.importorskip("torch")

        class MeanColour(torch.nn.Module):  # type: ignore[name-defined, misc]
            def forward(self, images: Any) -> Any:
                mean = images.mean((2, 3))
                share = mean / mean.sum(1, keepdim=True)
                return share @ torch.from_numpy(colours["WEIGHT"]) + torch.from_numpy(colours["BIAS"])

        return MeanColour()

    return World(card, graph, model, [colours["colour_tile"](name) for name in card.classes], folder)


def _torch(world: World, head: str) -> Session:
    model = world.model()
    import torch

    from dlcv.train.session import TorchSession

    return TorchSession(model, world.card, torch.device("cpu"))


def _onnx_cpu(world: World, head: str) -> Session:
    return open_session(world.graph(head), device="cpu", session="onnxruntime", lanes=2)


def _openvino(world: World, head: str) -> Session:
    pytest.importorskip("openvino")
    return open_session(world.graph(head), session="openvino", lanes=2)


def _onnx_cuda(world: World, head: str) -> Session:
    from dlcv.runtime.sessions.onnxrt import cuda_missing

    if missing := cuda_missing():
        pytest.skip(f"ONNX Runtime cannot use CUDA: {missing}")
    return open_session(world.graph(head), device="cuda", session="onnxruntime")


def _plan(world: World, head: str) -> Session:
    from dlcv.export.builders.build import build_plan
    from dlcv.export.builders.options import BuildOptions
    from dlcv.runtime.card_reader import read_card
    from dlcv.runtime.errors import MissingPackageError, PlanError
    from dlcv.runtime.sessions.cuda import driver_problem

    if problem := driver_problem():
        pytest.skip(f"no plan can run here: {problem}")
    path = world.folder / f"{head}.plan"
    try:
        if not path.exists():
            graph = world.graph(head)
            build_plan(graph, path, card=read_card(graph), options=BuildOptions(max_batch=4, opt_batch=2))
        return open_session(path)
    except (MissingPackageError, PlanError) as error:  # TensorRT-RTX's plans leave some GPUs out
        pytest.skip(f"no plan for this machine: {error}")


OPENERS: dict[str, Callable[[World, str], Session]] = {
    "torch": _torch,
    "onnx-cpu": _onnx_cpu,
    "openvino": _openvino,
    "onnx-cuda": _onnx_cuda,
    "plan": _plan,
}
WORLDS = {"segmentation": _segmentation, "classification": _classification}
HEADS = {"segmentation": ("mask", "probs", "logits"), "classification": ("probs", "logits")}
CASES = [
    pytest.param(
        task, name, head, id=f"{task}-{name}-{head}", marks=[pytest.mark.gpu] if name in ("onnx-cuda", "plan") else []
    )
    for task in WORLDS
    for name in OPENERS
    for head in HEADS[task]
    if name != "torch" or head == "logits"  # torch gives logits and mask or probabilities at once
]


@pytest.fixture(scope="module")
def worlds(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], World]:
    made: dict[str, World] = {}

    def world(task: str) -> World:
        if task not in made:
            made[task] = WORLDS[task](request, tmp_path_factory.mktemp(task))
        return made[task]

    return world


@pytest.fixture
def world(worlds: Callable[[str], World], task: str) -> World:
    return worlds(task)


@pytest.fixture
def images(world: World) -> Images:
    return np.stack(world.scenes[:3])


@pytest.fixture
def torch_logits(world: World, images: Images) -> NDArray[np.float32]:
    logits: NDArray[np.float32] = _torch(world, "logits").run(images)["logits"]
    return logits


@pytest.fixture
def session(world: World, name: str, head: str) -> Iterator[Session]:
    with OPENERS[name](world, head) as session:
        yield session


every_session = pytest.mark.parametrize(("task", "name", "head"), CASES)


def _equal(first: NDArray[Any], second: NDArray[Any]) -> bool:
    """Equal up to the order of float32 additions, which a library may choose by the batch."""
    if first.dtype == np.uint8:
        return bool(np.mean(first == second) >= MIN_AGREEMENT["segmentation"]["fp32"])
    return bool(np.allclose(first, second, rtol=0, atol=LOGIT_TOLERANCE))


@every_session
def test_outputs_have_the_promised_shapes_and_types(session: Session, head: str, images: Images) -> None:
    sides = session.card.input_size_hw if session.card.task == "segmentation" else ()
    classes = len(session.card.classes)
    outputs = session.run(images)
    expected = {
        "mask": (np.uint8, (3, *sides)),
        "probs": (np.float32, (3, classes, *sides)),
        "logits": (np.float32, (3, classes, *sides)),
    }
    assert head in outputs
    for name, array in outputs.items():
        assert (array.dtype, array.shape) == expected[name]
    if "probs" in outputs:
        np.testing.assert_allclose(outputs["probs"].sum(1), 1, atol=1e-5)  # float32's rounding over a few terms


@every_session
def test_agrees_with_torch_at_the_bound_of_fp32(
    session: Session, head: str, images: Images, torch_logits: NDArray[np.float32]
) -> None:
    outputs = session.run(images)
    expected = torch_logits.argmax(1)
    assert len(np.unique(expected)) >= 3, "a model that says one class everywhere would agree with anything"
    got = outputs["mask"] if head == "mask" else outputs[head].argmax(1)
    assert np.mean(got == expected) >= MIN_AGREEMENT["segmentation"]["fp32"]
    if head == "logits":
        np.testing.assert_allclose(outputs["logits"], torch_logits, rtol=0, atol=LOGIT_TOLERANCE)


@every_session
def test_a_batch_gives_what_single_images_give_in_their_order(session: Session, head: str, images: Images) -> None:
    together = session.run(images)[head]
    assert not _equal(together[0], together[1]), "the images must differ for this test to mean anything"
    for index in range(3):
        assert _equal(together[index : index + 1], session.run(images[index : index + 1])[head])
    turned = session.run(np.ascontiguousarray(images[::-1]))[head]
    assert _equal(turned[::-1], together)


@every_session
def test_results_belong_to_the_caller(session: Session, head: str, images: Images) -> None:
    first = session.run(images)[head]
    kept = first.copy()
    session.run(255 - images)
    np.testing.assert_array_equal(first, kept)
    first[:] = 0  # writing into it harms no later result
    np.testing.assert_array_equal(session.run(images)[head], kept)


@every_session
def test_the_images_are_left_as_they_were(session: Session, images: Images) -> None:
    given = images.copy()
    session.run(given)
    np.testing.assert_array_equal(given, images)


@every_session
def test_images_that_are_not_contiguous_give_the_same(session: Session, head: str, images: Images) -> None:
    strided = np.repeat(images, 2, axis=2)[:, :, ::2]
    assert not strided.flags.c_contiguous
    assert _equal(session.run(strided)[head], session.run(images)[head])


@every_session
def test_a_wrong_batch_is_refused_in_a_sentence(session: Session, images: Images) -> None:
    side = session.card.input_size_hw[0]
    for wrong in (images[0], images[:, :-1], images[..., :1], images.astype(np.float32), images.transpose(0, 3, 1, 2)):
        with pytest.raises(EngineError, match=rf"^expected images as uint8 \(n, {side}, {side}, 3\), got \w+ \("):
            session.run(wrong)
    with pytest.raises(EngineError, match=r"^expected a batch of 1 .*, got 0; pass another --batch$"):
        session.run(images[:0])
    if session.max_batch is not None:
        with pytest.raises(EngineError, match=f"^expected a batch of 1 to {session.max_batch} images, got "):
            session.run(np.repeat(images[:1], session.max_batch + 1, axis=0))


@every_session
def test_a_closed_session_refuses_and_closes_twice(world: World, name: str, head: str, images: Images) -> None:
    session = OPENERS[name](world, head)
    with session as entered:
        assert entered is session
        session.run(images[:1])
    with pytest.raises(EngineError, match=r"closed; open it again$"):
        session.run(images[:1])
    session.close()


@every_session
def test_threads_get_what_a_serial_caller_gets(session: Session, head: str, world: World) -> None:
    batches = [np.stack(world.scenes[k : k + 2]) for k in range(len(world.scenes) - 1)] * 3
    serial = [session.run(batch)[head] for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda batch: session.run(batch)[head], batches))
    for one, other in zip(serial, threaded, strict=True):
        assert _equal(one, other)


@every_session
def test_says_what_it_is(session: Session, name: str, world: World) -> None:
    assert session.device == ("cpu" if name in ("torch", "onnx-cpu", "openvino") else "cuda")
    assert session.card.classes == world.card.classes
    assert {"torch": "torch", "openvino": "OpenVINO", "plan": "TensorRT"}.get(
        name, "ONNX Runtime"
    ) in session.description
    assert session.parallel >= 1
    assert session.computes == "fp32" and (name == "torch" or session.description.endswith(", in fp32"))
    ran = session.executed()
    assert ran is None or ran.problems("fp32") == []
    assert (ran is not None) == (name in ("openvino", "onnx-cpu", "plan"))


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
            from dlcv.train.checkpoint import load_checkpoint, model_from_checkpoint

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
            expected = _torch(self.at("fp32"), "logits").run(self.images)["logits"].argmax(1)
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

    from dlcv.runtime.card_reader import ONNX_KEY
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
