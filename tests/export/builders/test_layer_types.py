"""A TensorRT that chooses types itself (8.6) is held to the graph's, and what it built is held to them: against the builder's double."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcv.export.builders.plan_types import require_held
from dlcv.export.builders.rebuild import plan_facts
from dlcv.runtime.errors import ExportError, UsageError, VerdictError
from dlcv.runtime.sessions.executed import Executed, Operator

onnx = pytest.importorskip("onnx", reason="onnx makes the graphs of these tests")

import network_double  # noqa: E402
from plan_graphs import CARD, write_graph, write_half_graph, write_int8_graph, write_nodes  # noqa: E402

HALF = ["FP16", "OBEY_PRECISION_CONSTRAINTS"]


@pytest.fixture
def gpu() -> tuple[str, str]:
    return "Orin", "8.7"


@pytest.fixture
def run(build_with: Callable[..., Any]) -> Any:
    """(graph, precision of its card, options of the build ...) -> report."""

    def built(graph: Path, precision: str, *, version: str = "8.6.2.3", card: Any = CARD, **options: Any) -> Any:
        return build_with(version, graph, card.changed(precision=precision), **options)

    return built


@pytest.fixture
def half(tmp_path: Path) -> Path:
    path: Path = write_half_graph(tmp_path / "half.onnx")
    return path


def flags(world: Any) -> list[str]:
    return [flag for (flag,) in world.named("set_flag")]


def held(world: Any) -> dict[str, str]:
    return dict(world.named("precision"))


def test_each_layer_of_a_float16_graph_is_held_to_the_graphs_type(run: Any, world: Any, half: Path) -> None:
    report = run(half, "fp16")
    assert flags(world) == HALF
    assert held(world) == {
        "to_nchw": "FLOAT", "normalise": "FLOAT", "conv": "HALF", "relu": "HALF", "average": "FLOAT", "shift": "HALF",
        "reshape": "HALF", "compare": "HALF", "choose": "HALF", "up": "HALF", "argmax": "FLOAT",
    }  # fmt: skip
    gives = {(name, index): kind for name, index, kind in world.named("set_output_type")}
    assert gives == {(name, 0): kind for name, kind in held(world).items() if name != "compare"}, (
        "a comparison gives no float"
    )
    assert report.ran == (
        "TensorRT 8.6.2.3 on Orin runs 100.0% in fp16 (2 layers with weights are told, 2 of them held to the graph's types)"
    )
    assert plan_facts(report)["ran"] == report.ran


def test_casts_constants_and_shapes_are_left_as_they_are(run: Any, world: Any, half: Path) -> None:
    run(half, "fp16")
    kinds = {layer.type.name for layer in world.layers if layer.held is None}
    assert kinds == {"CAST", "CONSTANT", "SHAPE", "SHUFFLE"}, "of the shuffles, the one of ArgMax's integers"
    (squeezed,) = (layer.name for layer in world.layers if layer.held is None and layer.type.name == "SHUFFLE")
    assert squeezed.endswith("[Shuffle]")


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Any:
    """(change) -> the parser's layers, by name, go through `change` from now on."""

    def change_by(change: Any) -> None:
        parse = network_double.layers_of

        def changed(path: str, note: Any) -> Any:
            layers = parse(path, note)
            change({layer.name: layer for layer in layers})
            return layers

        monkeypatch.setattr(network_double, "layers_of", changed)

    return change_by


def test_a_layer_that_computes_a_shape_is_not_held(run: Any, world: Any, half: Path, parsed: Any) -> None:
    parsed(lambda layers: setattr(layers["average"].get_output(0), "is_shape_tensor", True))
    run(half, "fp16")
    assert "average" not in held(world) and held(world)["shift"] == "HALF"


def test_the_graphs_word_counts_before_what_flows_in(run: Any, world: Any, half: Path, parsed: Any) -> None:
    """As where a parser left out the Cast before a layer."""
    parsed(lambda layers: layers["average"].read(layers["relu"].get_output(0)))
    run(half, "fp16")
    assert held(world)["average"] == "FLOAT"


def test_an_input_that_is_left_out_is_none(run: Any, world: Any, half: Path, parsed: Any) -> None:
    parsed(lambda layers: layers["reshape"].read(layers["shift"].get_output(0), None))
    run(half, "fp16")
    assert held(world)["reshape"] == "HALF"


def test_a_tensor_that_the_parser_made_has_the_type_of_what_flows_into_it(run: Any, world: Any, tmp_path: Path) -> None:
    """Of a Gemm: the product is unnamed, and constants say nothing of the arithmetic."""
    types, h = onnx.TensorProto, onnx.helper
    weights = {"w": np.ones((3, 3), np.float16), "b": np.ones(3, np.float16)}
    nodes = [
        h.make_node("Cast", ["image"], ["floats"], to=types.FLOAT, name="to_float"),
        h.make_node("Cast", ["floats"], ["low"], to=types.FLOAT16, name="to_half"),
        h.make_node("Reshape", ["low", "rows"], ["flat"], name="flatten"),
        h.make_node("Gemm", ["flat", "w", "b"], ["raw"], name="fc", alpha=0.5),
        h.make_node("Reshape", ["raw", "back"], ["logits_low"], name="unflatten"),
        h.make_node("Cast", ["logits_low"], ["logits"], to=types.FLOAT, name="raise"),
        h.make_node("ArgMax", ["logits"], ["classes"], axis=3, keepdims=0, name="argmax"),
        h.make_node("Cast", ["classes"], ["classes_float"], to=types.FLOAT, name="tail_float"),
        h.make_node("Cast", ["classes_float"], ["mask"], to=types.UINT8, name="tail_uint8"),
    ]
    shapes = {"rows": np.array([-1, 3]), "back": np.array([-1, 16, 24, 3])}
    graph = write_nodes(tmp_path / "gemm.onnx", nodes, weights | shapes)
    run(graph, "fp16")
    assert {name: held(world)[name] for name in ("fc", "scaled", "summed")} == dict.fromkeys(
        ("fc", "scaled", "summed"), "HALF"
    )


def test_a_graph_of_int8_alone_sets_the_flag_and_holds_nothing(run: Any, world: Any, tmp_path: Path) -> None:
    report = run(write_int8_graph(tmp_path / "q.onnx"), "int8")
    assert flags(world) == ["INT8"], "without FP16, what is float32 stays float32"
    assert world.named("precision") == world.named("set_output_type") == []
    assert "in int8" in report.ran and "in fp32 (2 layers with weights are told)" in report.ran


def test_int8_amid_float16_leaves_what_is_beside_pairs_to_tensorrt(run: Any, world: Any, tmp_path: Path) -> None:
    run(write_int8_graph(tmp_path / "q.onnx", np.float16), "int8")
    assert flags(world) == ["INT8", *HALF]
    expected = {"to_nchw": "FLOAT", "relu_of_rest": "HALF", "up": "HALF", "argmax": "FLOAT"}
    assert held(world) == expected, "not conv, which is int8, nor relu, which is joined to it"


def test_float32_sets_no_flags_as_before(run: Any, world: Any, tmp_path: Path) -> None:
    report = run(write_graph(tmp_path / "tiny.onnx"), "fp32")
    assert flags(world) == [] and held(world) == {} and report.ran == "" and "ran" not in plan_facts(report)


@pytest.mark.parametrize("version", ["10.9.0.34", "11.4.0.106"])
def test_a_newer_tensorrt_takes_the_types_from_the_graph(run: Any, world: Any, half: Path, version: str) -> None:
    report = run(half, "fp16", version=version)
    assert flags(world) == [] and held(world) == {}
    assert report.card.proof == "types of the strongly typed network as parsed: 100.0% in fp16"
    assert report.ran == f"TensorRT {version} on Orin: 100.0% in fp16 (2 of 2 layers are told)", (
        "its inspector is asked too"
    )


@pytest.mark.parametrize("version", ["10.9.0.34", "11.4.0.106"])
def test_tf32_that_was_allowed_to_a_newer_tensorrt_is_no_fault(
    run: Any, world: Any, tmp_path: Path, version: str
) -> None:
    graph = write_graph(tmp_path / "tiny.onnx")
    world.ran = {"conv": "TF32"}
    with pytest.raises(
        VerdictError, match=r"in fp32, expected at least 100\.0% in fp32; not so: conv .* in tf32;|100\.0% in tf32"
    ):
        run(graph, "fp32", version=version)
    report = run(graph, "fp32", version=version, tf32=True)
    assert "in tf32" in report.ran and "in less than the graph says" not in report.ran
    assert report.card.versions["tf32"] == "yes"


def test_a_newer_tensorrt_whose_layers_ran_in_float32_is_caught(
    run: Any, world: Any, half: Path, tmp_path: Path
) -> None:
    world.ran = {"conv": "FLOAT"}
    with pytest.raises(VerdictError) as caught:
        run(half, "fp16", version="11.4.0.106")
    assert re.fullmatch(
        r"the plan is not in fp16, no file was written: TensorRT 11\.4\.0\.106 on Orin: [\d.]+% in fp32, [\d.]+% in fp16, expected at least "
        r"95\.0% in fp16; not so: conv \+ relu \(CaskConvolution\) in fp32; .* --min-share 0\.\d\d",
        str(caught.value),
    )
    assert not (tmp_path / "tiny.plan").exists()


def test_a_newer_tensorrt_that_tells_nothing_has_its_networks_types(run: Any, world: Any, half: Path) -> None:
    """They bind it; an inspector that names no layer is no reason to refuse, and is told."""
    world.detailed = False
    report = run(half, "fp16", version="10.9.0.34")
    assert report.ran.startswith(
        "what was compiled was not asked: TensorRT 10.9.0.34 on Orin does not tell what the plan's layers"
    )
    with pytest.raises(
        VerdictError, match=r"as parsed: 100\.0% in fp16, expected at least 90\.0% in int8; .* --min-share 0\.00$"
    ):
        run(half, "int8", version="10.9.0.34")


def test_the_card_of_a_plan_of_8_6_says_where_its_proof_is(run: Any, half: Path, tmp_path: Path) -> None:
    assert run(half, "fp16").card.proof == (
        "layers held to the graph's types; what TensorRT's inspector told of them stands in the sidecar"
    )
    tiny = write_graph(tmp_path / "tiny.onnx")
    assert run(tiny, "fp32").card.proof == "no type below fp32 was allowed to the builder"


def test_two_contexts_may_share_the_plans_profile(run: Any, world: Any, half: Path) -> None:
    """8.6 allows it when asked (bindings of 8.6.0); our session runs two batches at a time."""
    run(half, "fp16")
    assert world.named("set_preview_feature") == [("PROFILE_SHARING_0806", True)]
    world.calls.clear()
    run(half, "fp16", version="10.9.0.34")
    assert world.named("set_preview_feature") == []


@pytest.mark.parametrize(
    ("layer", "kind", "sentence"),
    [
        ("up", "FLOAT", "TensorRT 8.6.2.3 on Orin runs up in fp32, expected fp16"),
        ("conv", "FLOAT", "TensorRT 8.6.2.3 on Orin runs conv + relu in fp32, expected fp16"),
    ],
)
def test_a_layer_that_ran_in_float32_is_caught(run: Any, world: Any, half: Path, tmp_path: Path, layer: str, kind: str, sentence: str) -> None:  # fmt: skip
    world.ran = {layer: kind}
    with pytest.raises(VerdictError) as caught:
        run(half, "fp16")
    assert str(caught.value) == f"the plan is not in fp16 as its graph is, no file was written: {sentence}"
    assert not (tmp_path / "tiny.plan").exists()


def test_a_restored_layer_that_ran_in_float16_is_caught(run: Any, world: Any, half: Path) -> None:
    model = onnx.load(half)
    nodes = {node.name: node for node in model.graph.node}
    nodes["to_logits"].input[0], nodes["to_logits"].output[0] = "clipped", "raised_back"
    nodes["up"].input[0], nodes["up"].output[0] = "raised_back", "logits"
    order = [node for node in model.graph.node if node.name not in ("up", "to_logits")]
    order[-3:-3] = [nodes["to_logits"], nodes["up"]]
    (kernel,) = (tensor for tensor in model.graph.initializer if tensor.name == "upsampling")
    kernel.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(kernel).astype(np.float32), "upsampling"))
    whole = onnx.helper.make_graph(order, "restored", model.graph.input, model.graph.output, model.graph.initializer)
    model.graph.CopyFrom(whole)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, half)
    run(half, "fp16")
    assert (held(world)["up"], held(world)["conv"]) == ("FLOAT", "HALF")
    world.ran = {"up": "HALF"}
    with pytest.raises(VerdictError, match=r"runs up in fp16, expected fp32$"):
        run(half, "fp16")


@pytest.mark.parametrize("name", ["up", "up + PWN(relu)", "score || up", "first + up"])
def test_a_layer_is_known_in_what_it_was_fused_to(name: str) -> None:
    ran = Executed("X", (Operator(name, "CaskConvolution", "fp32", 1), Operator("conv", "CaskConvolution", "fp16", 9)))
    require_held(ran, {"conv": "fp16"}, "fp16")
    with pytest.raises(VerdictError, match=r": X runs .*up.* in fp32, expected fp16$"):
        require_held(ran, {"conv": "fp16", "up": "fp16"}, "fp16")


def test_tf32_is_float32_where_it_was_allowed() -> None:
    ran = Executed("X", (Operator("up", "CaskConvolution", "tf32", 1), Operator("conv", "CaskConvolution", "fp16", 9)))
    require = partial(require_held, ran, {"up": "fp32", "conv": "fp16"}, "fp16")
    with pytest.raises(VerdictError, match=r"X runs up in tf32, expected fp32$"):
        require()
    require(tf32=True)


def test_int8_that_ran_in_float32_is_caught(run: Any, world: Any, tmp_path: Path) -> None:
    world.ran = {"conv": "FLOAT"}
    with pytest.raises(VerdictError, match=r"runs 0\.0% of the multiply-adds in int8, expected at least 50%$"):
        run(write_int8_graph(tmp_path / "q.onnx"), "int8")


def test_a_plan_that_tells_nothing_is_not_proven(run: Any, world: Any, half: Path) -> None:
    world.detailed = False
    with pytest.raises(ExportError, match=r"Orin does not tell what the plan's layers run in, so nothing is proven; "):
        run(half, "fp16")


@pytest.mark.parametrize(
    ("precision", "version", "slow", "sentence"),
    [
        (
            "bf16", "8.6.2.3", (),
            "TensorRT 8.6.2.3 knows no bfloat16, and this graph is bf16; export it with --precision fp16, or build with TensorRT 10 or newer",
        ),
        (
            "fp16", "8.6.2.3", ("fp16",),
            "TensorRT 8.6.2.3 finds no fast fp16 on this machine's GPU, and the graph computes in it; export it with --precision fp32",
        ),
        (
            "int8", "8.6.2.3", ("int8",),
            "TensorRT 8.6.2.3 finds no fast int8 on this machine's GPU, and the graph computes in it; export it with --precision fp32",
        ),
    ],
)  # fmt: skip
def test_what_8_6_or_its_gpu_has_not_is_refused(run: Any, world: Any, tmp_path: Path, precision: str, version: str, slow: tuple[str, ...], sentence: str) -> None:  # fmt: skip
    world.slow = slow
    make = write_int8_graph if precision == "int8" else write_half_graph
    with pytest.raises(ExportError) as caught:
        run(make(tmp_path / "g.onnx"), precision, version=version)
    assert str(caught.value) == sentence


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_graph_that_is_not_what_its_card_says_is_refused(run: Any, tmp_path: Path, precision: str) -> None:
    with pytest.raises(
        ExportError, match=f"^the card says {precision}, and the graph holds nothing of it; export it again$"
    ):
        run(write_graph(tmp_path / "tiny.onnx"), precision)


def test_a_version_compatible_plan_cannot_be_proven_here(run: Any, half: Path) -> None:
    with pytest.raises(UsageError, match=r"does not tell what a version-compatible plan's layers run in, so fp16 .* leave out --version-compatible"):  # fmt: skip
        run(half, "fp16", version_compatible=True)


def test_a_layer_without_a_kernel_in_its_type_says_what_to_do(run: Any, world: Any, half: Path) -> None:
    world.build_errors = ["Error Code 10: Could not find any implementation for node conv"]
    with pytest.raises(
        ExportError, match=r"node conv; export it with --precision fp32, or build with TensorRT 10 or newer$"
    ):
        run(half, "fp16")
