"""The plan's stage: a twin with logits tells NaN and Inf, and a graph is repaired until its plan holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import trt_double
from numpy.typing import NDArray

from dlcv.export import export_plan, stages
from dlcv.export.logits_graph import logits_graph
from dlcv.export.stages import Stage, TwinSession, plan_stage
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import ExportError
from dlcv.runtime.sessions.base import Session

onnx = pytest.importorskip("onnx", reason="the export extra is not installed")

Export = Callable[..., Any]


# --- the graph of the twin ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("head", ["mask", "probs", "logits"])
def test_the_twin_gives_the_logits_that_the_head_was_made_of(
    head: str, graph_of: Callable[[str], Any], card_of: Callable[[str], ModelCard], tiny_scenes: list[NDArray[np.uint8]]
) -> None:
    proto, batch = graph_of(head), np.stack(tiny_scenes[:2])
    before = proto.SerializeToString()
    twin, card = logits_graph(proto, card_of(head))
    assert card == card_of(head).changed(head="logits") and proto.SerializeToString() == before
    session = ort.InferenceSession(twin.SerializeToString(), providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["logits"]
    expected = TwinSession(proto, card_of(head)).run(batch)["logits"]
    assert np.array_equal(session.run(None, {"image": batch})[0], expected), "the same nodes, so the same numbers"
    left = {node.op_type for node in twin.graph.node}
    assert not left & {"ArgMax", "Softmax"}


def test_tensorrt_builds_the_twin(graph_of: Callable[[str], Any], card_of: Callable[[str], ModelCard], tmp_path: Path) -> None:  # fmt: skip
    pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")
    from dlcv.export.builders.options import BuildOptions

    twin, card = logits_graph(graph_of("mask"), card_of("mask"))
    (tmp_path / "x.onnx").write_bytes(twin.SerializeToString())
    options = BuildOptions("tensorrt-rtx", compute_capabilities=("8.6",))
    export_plan.build_plan(tmp_path / "x.onnx", tmp_path / "x.plan", card=card, options=options)
    assert read_card(tmp_path / "x.plan").head == "logits"


# --- a plan that runs, on the double -----------------------------------------------------------------------------------


class Noise(LabelledSet[Any]):
    """Images of the double's size, labelled with what its network says."""

    task, name, classes, palette = "segmentation", "noise", trt_double.CARD.classes, trt_double.CARD.palette

    def __init__(self) -> None:
        self.examples = tuple(range(6))

    def image(self, example: Any) -> NDArray[np.uint8]:
        return trt_double.images_of(1, seed=example)[0]

    def label(self, example: Any) -> NDArray[Any]:
        return self.image(example)[..., 0] % 3

    def read(self, example: Any) -> tuple[NDArray[np.uint8], NDArray[Any]]:
        return self.image(example), self.label(example)

    def sha256(self, example: Any) -> str:
        return str(example)

    def counts(self) -> NDArray[np.int64]:
        raise NotImplementedError

    def description(self) -> dict[str, Any]:
        return {}


class Torch(Session):
    """What the double's network is in torch."""

    card, description = trt_double.CARD, "torch"

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        mask = images[..., 0] % 3
        return {"mask": mask, "logits": np.eye(3, dtype=np.float32)[mask].transpose(0, 3, 1, 2)}


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[trt_double.World]:
    yield from trt_double.installed(monkeypatch)


def _written(path: Path, head: str = "mask") -> Path:
    path.write_bytes(trt_double.plan_bytes(trt_double.CARD.changed(head=head).to_json()))
    return path


def test_nan_that_a_mask_hides_is_counted_on_the_twin(world: trt_double.World, tmp_path: Path) -> None:
    """The mask agrees with torch in every pixel; the logits behind it are NaN in two places of each image, infinite in one."""
    plan, labelled = _written(tmp_path / "x.plan"), Noise()
    alone = plan_stage(plan, Torch(), labelled)
    assert isinstance(alone, Stage) and (alone.nan, alone.infinite) == (None, None)
    assert alone.comparison.agreement == 1 and alone.comparison.problems(max_drop=0, min_agreement=1) == []

    def spoil(logits: NDArray[np.float32]) -> None:
        logits[:, 0, 0, :3] = (np.nan, np.nan, np.inf)

    def twin() -> Path:
        world.tensors = {"image": world.tensors["image"], "logits": ("FLOAT", (-1, 3, 4, 6))}
        world.spoil = spoil
        return _written(tmp_path / "twin.plan", "logits")

    stage = plan_stage(plan, Torch(), labelled, twin)
    assert isinstance(stage, Stage) and (stage.nan, stage.infinite) == (2 * 6, 6)
    assert stage.comparison.agreement == 1, "of the plan itself"
    problems = stage.comparison.problems(max_drop=0, min_agreement=1)
    assert problems == ["18 logits are NaN or infinite"]
    assert stage.to_dict()["nan"] == 12


def test_a_twin_that_cannot_be_built_leaves_the_stage_and_a_reason(world: trt_double.World, tmp_path: Path) -> None:
    def twin() -> Path:
        raise ExportError("TensorRT cannot build it: memory ran out")

    stage = plan_stage(_written(tmp_path / "x.plan"), Torch(), Noise(), twin)
    assert isinstance(stage, Stage) and stage.nan is None and stage.comparison.agreement == 1
    assert stage.to_dict()["no_logits"] == "TensorRT cannot build it: memory ran out"


def test_a_twin_is_not_asked_where_no_plan_runs(tmp_path: Path) -> None:
    (tmp_path / "x.plan").write_bytes(b"no plan")
    assert isinstance(plan_stage(tmp_path / "x.plan", Torch(), Noise(), lambda: pytest.fail("asked")), str)


# --- a plan that drops while its graph holds ----------------------------------------------------------------------------


class Dropping(Session):
    """A plan whose answers are those of the graph beside it, but class 0 everywhere until a layer is restored."""

    def __init__(self, graph: Path, until: str) -> None:
        self.card, self.description = read_card(graph), "a plan"
        self._own, self._broken = TwinSession(onnx.load(graph), self.card), until not in self.card.proof

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        head = self._own.run(images)[self.card.head]
        return {self.card.head: np.eye(head.shape[1], dtype=np.float32)[[0] * len(head)] if self._broken else head}


@pytest.fixture
def plans(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], list[str]]:
    """Plans that are built and run; `plans(layer)` makes them drop until the layer is restored, and gives the cards' proofs."""

    def install(until: str) -> list[str]:
        built: list[str] = []

        def build(settings: Any, folder: Path, card: ModelCard, say: Any) -> Any:
            built.append(card.proof)
            plan = folder / f"{settings.model}.plan"
            plan.write_bytes(b"a plan")
            return type("Report", (), {"path": plan})

        for module in ("export_model", "export_plan"):
            monkeypatch.setattr(f"dlcv.export.{module}.plan_of", build)
        monkeypatch.setattr("dlcv.export.export_model._builder", lambda settings: (None, ""))
        monkeypatch.setattr("dlcv.export.export_model._write_sidecar", _sidecar)
        monkeypatch.setattr("dlcv.export.export_model.replace", lambda report, **changed: report)
        monkeypatch.setattr(stages, "open_session", lambda plan: Dropping(plan.with_suffix(".onnx"), until))
        return built

    return install


def _sidecar(settings: Any, staging: Path, card: ModelCard, verification: Any, plan: Any, low: Any, *rest: Any) -> None:
    facts = {"restored": [] if low.repair is None else [layer.name for layer in low.repair.restored]}
    (staging / "facts.json").write_text(json.dumps(facts))


def _settings(tiny_classifier: Callable[[int], Path], output: Path, **changed: Any) -> Any:
    from dlcv.export.export_model import ExportSettings
    from dlcv.export.precision.low_precision import PrecisionSettings

    asked = PrecisionSettings("int8", min_share=0.3, max_drop=0.1, calibration="min-max", **changed)
    return ExportSettings("cnn3", (tiny_classifier(0),), output, precision=asked)


def test_a_graph_is_repaired_until_its_plan_holds(
    tiny_classifier: Callable[[int], Path], plans: Callable[[str], list[str]], tmp_path: Path
) -> None:
    """The graph passes as it is, so nothing but the plan's own answers can tell which layers to restore."""
    from dlcv.export.export_model import export_model

    built, said = plans("restored to fp32: "), list[str]()
    export_model(_settings(tiny_classifier, tmp_path / "out"), said.append)
    restored = json.loads((tmp_path / "out" / "facts.json").read_text())["restored"]
    assert restored and f"restored to fp32: {', '.join(restored)}" in read_card(tmp_path / "out" / "cnn3.onnx").proof
    assert "restored" not in built[0] and "restored" in built[-1]
    (line,) = (line for line in said if line.endswith("; building plans with layers restored"))
    assert line.startswith("the plan: int8 is not what torch is on ")
    assert "take another --precision or --builder, or allow more with --max-drop" in line


def test_a_plan_that_drops_is_refused_without_repair(
    tiny_classifier: Callable[[int], Path], plans: Callable[[str], list[str]], tmp_path: Path
) -> None:
    from dlcv.export.export_model import export_model

    plans("restored to fp32: ")
    with pytest.raises(export_plan.PlanDropsError, match=r"^the plan: int8 is not what torch is on .* --max-drop$"):
        export_model(_settings(tiny_classifier, tmp_path / "out", repair=False))
    assert not list((tmp_path / "out").iterdir())


def test_a_plan_that_no_repair_helps_names_the_layers(
    tiny_classifier: Callable[[int], Path], plans: Callable[[str], list[str]], tmp_path: Path
) -> None:
    from dlcv.export.export_model import export_model
    from dlcv.runtime.errors import VerdictError

    plans("never")
    with pytest.raises(VerdictError, match=r"guilty: .* restoring \d layers to fp32 did not suffice"):
        export_model(_settings(tiny_classifier, tmp_path / "out"))
    assert not list((tmp_path / "out").iterdir())
