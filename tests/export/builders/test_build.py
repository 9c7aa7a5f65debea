"""Real plans from a tiny graph with TensorRT-RTX, which needs no GPU; what stands in their bytes; and every refusal."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcv.export.builders import network, readback
from dlcv.export.builders.build import build_plan
from dlcv.export.builders.options import BuildOptions
from dlcv.runtime.card.card import SizeRange
from dlcv.runtime.card.plan_header import read_plan_header
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import ExportError, OutputError, PlanError, UsageError, VerdictError
from dlcv.runtime.files import sha256_of
from dlcv.runtime.sessions import cuda, open_session

onnx = pytest.importorskip("onnx", reason="onnx makes the graphs of these tests")

from plan_graphs import CARD, write_graph, write_half_graph, write_int8_graph, write_nodes  # noqa: E402


@pytest.fixture
def rtx() -> Any:
    return pytest.importorskip("tensorrt_rtx", reason="TensorRT-RTX has no wheels for this Python")


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "tiny.onnx")


def _build(graph: Path, **changed: Any) -> Any:
    values = {"builder": "tensorrt-rtx", "max_batch": 4, "opt_batch": 2} | changed
    more = {name: values.pop(name) for name in ("card", "progress", "timing_cache", "min_share") if name in values}
    return build_plan(graph, graph.with_suffix(".plan"), **{"card": CARD} | more, options=BuildOptions(**values))


def test_the_card_and_the_header_stand_in_the_plans_bytes(rtx: Any, graph: Path) -> None:
    lines: list[str] = []
    report = _build(graph, progress=lines.append)
    data = report.path.read_bytes()
    assert data[:4] == b"vtrt"
    assert b'dlcv1:{"schema":' in data[:4096]
    card = read_card(report.path)
    assert card == report.card
    assert card == CARD.changed(
        onnx_sha256=sha256_of(graph),
        max_batch=4,
        proof="types of the strongly typed network as parsed: 100.0% in fp32",
        versions={"onnx": onnx.__version__, "tensorrt_rtx": rtx.__version__},
    )
    header = read_plan_header(report.path)
    assert header == report.header
    assert (header.kind, header.version) == ("tensorrt-rtx", rtx.__version__)
    assert header.compute_capabilities == ("8.0", "8.6", "8.9", "12.0", "12.1")  # TensorRT-RTX 1.7's own choice
    assert report.sentence == (
        f"built by TensorRT-RTX {rtx.__version__} for GPUs of compute capability 8.0, 8.6, 8.9, 12.0, 12.1; "
        "it does not run on 7.5 (Turing, RTX 20), 8.7 (Jetson Orin), 9.0 (H100, H200), 10.0 (B200)"
    )
    assert report.warnings == ()
    assert re.fullmatch(r"compiled in \d+\.\d s", lines.pop(4))
    assert lines == [
        f"building with TensorRT-RTX {rtx.__version__}, as asked",
        f"reading {graph}",
        card.proof,
        "compiling for batches of 1 to 4",
        "kernels in the build log: 100.0% in fp32 (2 of 2 layers are told)",
        "reading the plan back",
    ]
    assert sorted(path.name for path in graph.parent.iterdir()) == ["tiny.onnx", "tiny.plan"]


def test_the_targets_can_be_chosen(rtx: Any, graph: Path) -> None:
    report = _build(graph, compute_capabilities=("12.0", "7.5"), workspace_mib=64, tf32=True)
    assert report.header.compute_capabilities == ("7.5", "12.0")
    assert "does not run on 8.0 (A100), 8.6 (RTX 30), 8.7 (Jetson Orin)" in report.sentence
    with pytest.raises(UsageError, match=r"builds for compute capability 7\.5, 8\.0, .*12\.1, not for 9\.0$"):
        _build(graph, compute_capabilities=("8.6", "9.0"))


def test_bf16_for_a_gpu_without_it_is_refused_before_the_build(rtx: Any, graph: Path) -> None:
    """The builder's own words are "Cannot compile for target(s) sm75"; fp16 and int8 it does build for 7.5."""
    lines: list[str] = []
    with pytest.raises(UsageError) as caught:
        _build(graph, card=CARD.changed(precision="bf16"), compute_capabilities=("8.6", "7.5"), progress=lines.append)
    assert str(caught.value) == (
        "--compute-capability 7.5 (Turing, RTX 20) does not compute in bf16, which begins with 8.0; "
        "leave it out, or export with --precision fp16"
    )
    assert lines == []
    for precision, write in (("fp16", write_half_graph), ("int8", write_int8_graph)):
        write(graph)
        report = _build(graph, card=CARD.changed(precision=precision), compute_capabilities=("7.5",), min_share=0.0)
        assert report.header.compute_capabilities == ("7.5",)


def test_too_little_workspace_is_told_with_what_to_do(rtx: Any, graph: Path) -> None:
    """TensorRT-RTX itself refuses: this graph's kernels want 8 MiB of scratch memory."""
    with pytest.raises(ExportError) as caught:
        _build(graph, workspace_mib=1, compute_capabilities=("8.6",))
    text = str(caught.value)
    assert text.startswith(f"TensorRT-RTX {rtx.__version__} cannot build {graph}: ")
    assert "no tactics to implement the operation within workspace limit" in text
    assert text.endswith("; pass more than --workspace-mib 1, or leave it out")
    assert not graph.with_suffix(".plan").exists()


def test_a_plan_opened_without_a_driver_names_the_graph(rtx: Any, graph: Path) -> None:
    if cuda.driver_present():
        pytest.skip("this machine has an NVIDIA driver")
    report = _build(graph)
    with pytest.raises(PlanError) as caught:
        open_session(report.path)
    assert str(caught.value).startswith(
        "this machine has no NVIDIA driver (libcuda.so.1), and a TensorRT plan runs on an NVIDIA GPU only;"
    )
    assert str(caught.value).endswith(f"--engine {graph}")


def test_an_operator_that_tensorrt_does_not_know_is_told_with_its_node(rtx: Any, graph: Path) -> None:
    node = onnx.helper.make_node("Frobnicate", ["nchw"], ["features"], name="frob")
    write_graph(graph, {2: node})
    with pytest.raises(ExportError) as caught:
        _build(graph)
    text = str(caught.value)
    assert text.startswith(f"TensorRT-RTX {rtx.__version__} cannot read {graph}: node 2 frob Frobnicate: ")
    assert "Plugin not found" in text
    assert "\n" not in text
    assert not graph.with_suffix(".plan").exists()


def test_the_layout_change_before_the_cast_is_refused_in_words(rtx: Any, graph: Path) -> None:
    h, types = onnx.helper, onnx.TensorProto
    swapped = {
        0: h.make_node("Transpose", ["image"], ["floats"], perm=[0, 3, 1, 2]),
        1: h.make_node("Cast", ["floats"], ["nchw"], to=types.FLOAT),
    }
    write_graph(graph, swapped)
    with pytest.raises(ExportError, match=r"node 0 Transpose: .*has type UInt8") as caught:
        _build(graph)
    assert "cudaError" not in str(caught.value), "the missing driver has nothing to do with it"


def test_a_file_that_is_no_graph_is_told(rtx: Any, graph: Path) -> None:
    graph.write_bytes(b"not a graph")
    with pytest.raises(ExportError, match=r"cannot read .*tiny\.onnx: .*Failed to parse the ONNX model"):
        _build(graph)
    graph.unlink()
    with pytest.raises(
        ExportError, match=r"tiny\.onnx cannot be read: No such file or directory; export the graph first"
    ):
        _build(graph)


def test_a_graph_of_another_size_than_its_card_is_told(rtx: Any, graph: Path) -> None:
    with pytest.raises(
        ExportError, match=r"has the inputs \{'image': \(-1, 16, 24, 3\)\}, expected \{'image': \(-1, 32, 24, 3\)\}"
    ):
        _build(graph, card=CARD.changed(input_size_hw=(32, 24)))


def test_a_card_that_the_plan_cannot_hold_is_told(rtx: Any, graph: Path) -> None:
    spare = 4095 - len("dlcv1:" + _build(graph).card.to_json())
    longest = CARD.changed(classes=("land" + "x" * spare, "water", "road"))
    assert read_card(_build(graph, card=longest).path).classes == longest.classes
    with pytest.raises(ExportError) as caught:
        _build(graph, card=CARD.changed(classes=("land" + "x" * (spare + 1), "water", "road")))
    assert str(caught.value) == (
        "the model card is 4096 characters long as JSON, and a plan holds at most 4095; "
        "use fewer classes or shorter class names"
    )


def test_batches_out_of_order_are_told(graph: Path) -> None:
    with pytest.raises(
        UsageError, match="expected batches with 1 <= --min-batch <= --opt-batch <= --max-batch <= 1024, got 1, 8 and 4"
    ):
        _build(graph, opt_batch=8)


def test_a_folder_that_cannot_be_written_is_told_and_the_old_plan_stays(rtx: Any, graph: Path) -> None:
    with pytest.raises(OutputError, match=r"cannot write .*none/tiny\.plan: No such file or directory"):
        build_plan(
            graph, graph.parent / "none" / "tiny.plan", card=CARD, options=BuildOptions("tensorrt-rtx", max_batch=1)
        )
    old = graph.with_suffix(".plan")
    old.write_bytes(b"older plan")
    write_graph(graph, {2: onnx.helper.make_node("Frobnicate", ["nchw"], ["features"])})
    with pytest.raises(ExportError):
        _build(graph)
    assert old.read_bytes() == b"older plan"


def test_a_plan_that_says_something_else_than_asked_is_not_kept(
    rtx: Any, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readback, "read_card", lambda path: CARD.changed(model="other"))
    with pytest.raises(ExportError, match=r"read back from the plan's bytes: another model card"):
        _build(graph)
    monkeypatch.setattr(network.Build, "compile", lambda self, say: b"vtrt cut")
    with pytest.raises(ExportError, match=r"built cannot be read back: .* is cut short"):
        _build(graph)
    assert [path.name for path in graph.parent.iterdir()] == ["tiny.onnx"]


# --- which proof a plan carries -------------------------------------------------------------------------------------


def _one(graph: Path, **changed: Any) -> Any:
    """For one kind of GPU, which is quicker; the list of kernels is the same for each."""
    return _build(graph, compute_capabilities=("8.6",), **changed)


def test_the_types_of_the_network_are_those_that_the_graph_is_counted_in(rtx: Any, graph: Path) -> None:
    """The same layers, types and multiply-adds as `proof.layers_of` finds with onnx, in a network whose batch varies."""
    from dlcv.export.precision.layers import layers_of

    write_half_graph(graph)
    report = _one(graph, card=CARD.changed(precision="fp16", proof="99% of it; restored to fp32: a, b; ONNX Runtime 1 runs 9 of 9"))  # fmt: skip
    assert report.card.proof == "types of the strongly typed network as parsed: 100.0% in fp16; restored to fp32: a, b"
    assert report.ran == "kernels in the build log: 100.0% in fp16 (2 of 2 layers are told)"
    expected = {layer.name: (layer.kind, layer.multiply_adds) for layer in layers_of(onnx.load(graph))}
    for told in (report.proof.network, report.proof.compiled):
        assert {one.name: (one.precision, one.multiply_adds) for one in told.operators} == expected


def test_a_plan_whose_kernels_are_in_another_type_is_refused(rtx: Any, graph: Path) -> None:
    """Both layers are between pairs; TensorRT-RTX 1.7 computes the transposed convolution in float32 all the same."""
    model = onnx.load(write_int8_graph(graph))
    h, nodes = onnx.helper, {node.name: node for node in model.graph.node}
    nodes["up"].input[0], nodes["up"].input[1] = "read", "up_weights"
    weights = h.make_node("DequantizeLinear", ["upsampling8", "scale", "zero"], ["up_weights"], name="up_weights_of")
    order = [node for node in model.graph.node if node.name not in ("to_rest", "relu_of_rest")]
    order.insert(next(index for index, node in enumerate(order) if node.name == "up"), weights)
    kept = [tensor for tensor in model.graph.initializer if tensor.name != "upsampling"]
    kept.append(onnx.numpy_helper.from_array(np.ones((4, 3, 2, 2), np.int8), "upsampling8"))
    model.graph.CopyFrom(h.make_graph(order, "q", model.graph.input, model.graph.output, kept))
    onnx.save(model, graph)
    with pytest.raises(VerdictError) as caught:
        _one(graph, card=CARD.changed(precision="int8"))
    assert str(caught.value) == (
        "the plan is not in int8, no file was written: kernels in the build log: 69.2% in int8, 30.8% in fp32, expected at least "
        "90.0% in int8; not so: up (deconvolution) in fp32; export with another --precision, or accept it with --min-share 0.69"
    )
    assert not graph.with_suffix(".plan").exists()
    report = _one(graph, card=CARD.changed(precision="int8"), min_share=0.69)
    assert report.card.proof == "types of the strongly typed network as parsed: 100.0% in int8"
    assert report.proof.to_dict()["compiled"]["multiply_adds"] == {"int8": 10368, "fp32": 4608}
    assert "up (deconvolution) in fp32" not in report.ran, "float32 is not less than int8"


def test_a_graph_below_the_share_is_refused_before_it_is_compiled(rtx: Any, graph: Path) -> None:
    lines: list[str] = []
    with pytest.raises(VerdictError, match=r"as parsed: 100\.0% in fp32, expected at least 95\.0% in fp16; not so: conv \(convolution\) in fp32, up"):  # fmt: skip
        _one(graph, card=CARD.changed(precision="fp16"), progress=lines.append)
    assert not any(line.startswith("compiling") for line in lines)


def test_a_restored_layer_that_is_joined_to_its_casts_is_refused(rtx: Any, graph: Path) -> None:
    """TensorRT-RTX 1.7 computes a convolution in float32 that stands alone between Casts in float16: what overflowed does so again."""
    h, types = onnx.helper, onnx.TensorProto
    kernel = {"kernel_shape": [3, 3], "pads": [1] * 4}
    nodes = [
        h.make_node("Cast", ["image"], ["floats"], to=types.FLOAT, name="to_float"),
        h.make_node("Transpose", ["floats"], ["nchw"], perm=[0, 3, 1, 2], name="to_nchw"),
        h.make_node("Cast", ["nchw"], ["low"], to=types.FLOAT16, name="to_half"),
        h.make_node("Conv", ["low", "first_weights"], ["features"], name="first", **kernel),
        h.make_node("Cast", ["features"], ["raised"], to=types.FLOAT, name="raise"),
        h.make_node("Conv", ["raised", "large"], ["whole"], name="restored", **kernel),
        h.make_node("Cast", ["whole"], ["lowered"], to=types.FLOAT16, name="lower"),
        h.make_node("Conv", ["lowered", "last_weights"], ["scores"], name="last", **kernel),
        h.make_node("Cast", ["scores"], ["logits"], to=types.FLOAT, name="to_logits"),
        h.make_node("ArgMax", ["logits"], ["classes"], axis=1, keepdims=0, name="argmax"),
        h.make_node("Cast", ["classes"], ["classes_float"], to=types.FLOAT, name="tail_float"),
        h.make_node("Cast", ["classes_float"], ["mask"], to=types.UINT8, name="tail_uint8"),
    ]
    weights = {
        "first_weights": np.ones((8, 3, 3, 3), np.float16), "large": np.full((8, 8, 3, 3), 1e6, np.float32),
        "last_weights": np.ones((3, 8, 3, 3), np.float16),
    }  # fmt: skip
    write_nodes(graph, nodes, weights)
    with pytest.raises(VerdictError) as caught:
        _one(graph, card=CARD.changed(precision="fp16"), min_share=0.4)
    assert str(caught.value) == (
        "the plan is not in fp16, no file was written: kernels in the build log: restored (convolution) in fp16, which the graph "
        "keeps in more; export with another --precision, or build with full TensorRT"
    )


def test_a_log_without_kernels_proves_nothing_and_says_so(
    rtx: Any, graph: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "kernel_operators", lambda log, layers: ())
    report = _one(graph)
    assert report.ran == "what was compiled was not asked: the build log lists no kernels"
    assert report.proof.to_dict()["compiled"] is None


def test_sizes_that_vary_are_counted_at_the_cards_size(rtx: Any, graph: Path) -> None:
    card = CARD.changed(size_range=SizeRange((8, 8), (32, 48), 8))
    report = _one(write_graph(graph, sides=("h", "w")), card=card)
    assert sum(report.proof.network.multiply_adds.values()) == 10368 + 4608
    assert report.ran.startswith("kernels in the build log: 100.0% in fp32")


# --- on a GPU -------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@pytest.mark.skipif(not cuda.driver_present(), reason=f"this machine has {cuda.driver_problem()}")
def test_a_plan_gives_the_masks_of_onnx_runtime(graph: Path) -> None:
    ort = pytest.importorskip("onnxruntime")
    pytest.importorskip("pycuda", reason="pycuda runs the plan")
    report = _build(graph, builder="auto")
    name, capability = cuda.gpu_name_and_capability()
    if report.header.kind == "tensorrt-rtx" and capability not in report.header.compute_capabilities:
        pytest.skip(f"TensorRT-RTX does not build for {name} ({capability}), and full TensorRT is not installed")
    batches = [
        np.random.default_rng(seed).integers(0, 256, (1 + seed % 4, 16, 24, 3), dtype=np.uint8) for seed in range(24)
    ]
    reference = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
    with open_session(report.path) as session, ThreadPoolExecutor(2 * session.parallel) as pool:
        masks = [outputs["mask"] for outputs in pool.map(session.run, batches)]
    expected = [reference.run(["mask"], {"image": batch})[0] for batch in batches]
    assert [mask.shape for mask in masks] == [mask.shape for mask in expected]
    # Both compute in float32 in another order of summation: only pixels whose two best classes nearly tie may differ.
    agreement = np.mean(
        np.concatenate([mask.ravel() for mask in masks]) == np.concatenate([mask.ravel() for mask in expected])
    )
    assert agreement >= 0.999
