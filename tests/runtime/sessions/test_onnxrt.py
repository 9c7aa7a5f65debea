"""ONNX Runtime's providers: what each is told and refuses, without a GPU where that can be seen; and IO binding, which works on a CPU too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import EngineError, PrecisionError
from dlcv.runtime.scoring.comparison import MIN_AGREEMENT
from dlcv.runtime.sessions import onnxrt, open_session
from dlcv.runtime.sessions.wanted import Wanted


@pytest.fixture
def wanted(tiny_onnx: Path) -> Any:
    card = read_card(tiny_onnx)
    return lambda precision="fp32", **options: Wanted(tiny_onnx, "onnx", card.changed(precision=precision), **options)


@pytest.fixture(scope="module")
def tiny_int8(tiny_onnx: Path, tiny_scenes: list[Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model in int8."""
    onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
    from dlcv.export.onnx_from_checkpoint import with_card
    from dlcv.export.precision.calibration import int8_from_onnx

    path = tmp_path_factory.mktemp("int8") / "int8.onnx"
    made = int8_from_onnx(onnx.load(tiny_onnx), tiny_scenes, "min-max")
    onnx.save_model(with_card(made, read_card(tiny_onnx).changed(precision="int8")), path)
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A machine with every provider, on paper: the providers that sessions were asked for; they run on the CPU."""
    found: list[Any] = []
    names = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]
    monkeypatch.setattr(onnxrt.ort, "get_available_providers", lambda: names)
    monkeypatch.setattr(onnxrt, "driver_library_missing", lambda: "")
    monkeypatch.setattr(onnxrt, "_require_provider", lambda session, provider: None)
    real = onnxrt.ort.InferenceSession

    def session(path: str, options: Any, providers: list[Any]) -> Any:
        found.append(providers)
        return real(path, options, providers=["CPUExecutionProvider"])

    monkeypatch.setattr(onnxrt.ort, "InferenceSession", session)
    return found


def test_io_binding_gives_what_run_gives(wanted: Any, tiny_scenes: list[Any]) -> None:
    images = np.stack(tiny_scenes)
    with onnxrt.open_cpu(wanted()) as session:
        plain = session.run(images)["mask"]
        session._bound = True
        bound = session.run(images)["mask"]
        np.testing.assert_array_equal(plain, bound)
        first = bound.copy()
        session.run(255 - images)
        np.testing.assert_array_equal(bound, first)


def test_what_a_float_graph_runs_in_is_read_from_the_optimised_graph(wanted: Any) -> None:
    with onnxrt.open_cpu(wanted()) as session:
        executed = session.executed()
        assert executed is not None and executed is session.executed(), "worked out once"
    assert (executed.share("fp32"), len(executed.operators)) == (1, 21)
    assert executed.sentence() == f"ONNX Runtime {onnxrt.ort.__version__} on CPU runs 100.0% in fp32"
    assert session.description.endswith(" on CPU, in fp32")


def test_an_int8_session_says_how_much_is_in_int8(wanted: Any, tiny_int8: Path) -> None:
    with onnxrt.open_cpu(Wanted(tiny_int8, "onnx", read_card(tiny_int8))) as session:
        executed = session.executed()
    assert executed is not None and 0.5 < executed.share("int8") < 1, "transposed convolutions are in float32"
    assert {one.kind for one in executed.operators if one.precision != "int8"} == {"ConvTranspose"}
    assert session.description.endswith(f" on CPU, in int8 ({executed.share('int8'):.1%} of the multiply-adds, the others in fp32)")  # fmt: skip
    data = Wanted(tiny_int8, "onnx", read_card(tiny_int8), data=tiny_int8.read_bytes())
    assert onnxrt.open_cpu(data).executed() == executed


def test_an_int8_graph_that_is_run_in_float_is_refused(tiny_int8: Path, tmp_path: Path) -> None:
    """Without the pairs behind its convolutions ONNX Runtime fuses none of them, though their inputs and weights are int8."""
    onnx = pytest.importorskip("onnx", reason="the export extra is not installed")
    proto = onnx.load(tiny_int8)
    makers = {name: node for node in proto.graph.node for name in node.output}
    for node in [n for n in proto.graph.node if n.op_type == "DequantizeLinear" and n.input[0] in makers]:
        quantize = makers[node.input[0]]
        if makers[quantize.input[0]].op_type == "Conv":
            for user in proto.graph.node:
                user.input[:] = [quantize.input[0] if name == node.output[0] else name for name in user.input]
            proto.graph.node.remove(node)
            proto.graph.node.remove(quantize)
    path = tmp_path / "x.onnx"
    onnx.save_model(proto, path)
    with pytest.raises(PrecisionError, match=r"x\.onnx is to be computed in int8, and ONNX Runtime \S+ on CPU runs 0\.0% of the multiply-adds in int8, expected at least 50%$"):  # fmt: skip
        onnxrt.open_cpu(Wanted(path, "onnx", read_card(tiny_int8)))


def test_what_is_not_known_is_said(wanted: Any, asked: list[Any], tiny_int8: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    session = onnxrt.open_tensorrt(wanted("fp16", session="onnxruntime-tensorrt"))
    assert session.description.endswith("in fp16 as asked for; what the engine inside runs in is not known")
    assert session.executed() is None
    monkeypatch.setattr(onnxrt, "operators_run", lambda source, optimised: None)
    with onnxrt.open_cpu(Wanted(tiny_int8, "onnx", read_card(tiny_int8))) as session:
        assert session.executed() is None
        assert session.description.endswith("in int8 as the graph says; how much of it ONNX Runtime computes so is not known")  # fmt: skip


def test_tf32_is_off_unless_asked_for(wanted: Any, asked: list[Any]) -> None:
    for compute, flag in (("card", "0"), ("tf32", "1")):
        session = onnxrt.open_cuda(wanted(compute=compute))
        assert asked.pop()[0] == ("CUDAExecutionProvider", {"use_tf32": flag})
        assert session.computes == ("fp32" if compute == "card" else "tf32")
        assert session.description.endswith(f" on CUDA, in {session.computes}")


def test_what_cuda_does_not_compute_is_refused(wanted: Any, asked: list[Any]) -> None:
    with pytest.raises(PrecisionError, match=r"no int8 convolution and would compute in float32$"):
        onnxrt.open_cuda(wanted("int8"))
    with pytest.raises(PrecisionError, match=r"in float32 or TF32, never in bf16$"):
        onnxrt.open_cuda(wanted(compute="bf16"))
    assert asked == []


def test_the_tensorrt_provider_only_when_asked_and_at_the_cards_precision(wanted: Any, asked: list[Any], tiny_onnx: Path) -> None:  # fmt: skip
    with pytest.raises(EngineError, match=r"for minutes; ask for it with --session onnxruntime-tensorrt$"):
        onnxrt.check_tensorrt(wanted("fp16"))
    with pytest.raises(
        PrecisionError, match=r"no option against TF32 in a float32 graph; allow it with --compute tf32$"
    ):
        onnxrt.check_tensorrt(wanted(session="onnxruntime-tensorrt"))
    cache = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(tiny_onnx.parent / ".onnxruntime-tensorrt")}
    for precision, compute, more in (
        ("fp16", "card", {"trt_fp16_enable": "1"}),
        ("int8", "card", {"trt_int8_enable": "1"}),
        ("fp32", "tf32", {}),
    ):
        onnxrt.open_tensorrt(wanted(precision, compute=compute, session="onnxruntime-tensorrt"))
        first, second, _ = asked.pop()
        assert first == ("TensorrtExecutionProvider", cache | more)
        assert second[0] == "CUDAExecutionProvider"


def test_a_build_without_the_provider_is_told(wanted: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxrt.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(
        EngineError, match=r"^this build of ONNX Runtime has no CUDA provider \(pip install onnxruntime-gpu\)$"
    ):
        onnxrt.check_cuda(wanted())
    with pytest.raises(EngineError, match="has no Tensorrt provider"):
        onnxrt.check_tensorrt(wanted(session="onnxruntime-tensorrt"))


def test_a_provider_that_does_not_start_is_told(wanted: Any) -> None:
    with onnxrt.open_cpu(wanted()) as session, pytest.raises(EngineError, match="CUDAExecutionProvider did not start"):
        onnxrt._require_provider(session._session, "CUDAExecutionProvider")


@pytest.mark.gpu
@pytest.mark.parametrize("library", ["onnxruntime", "onnxruntime-tensorrt"])
def test_tf32_agrees_at_its_bound_on_a_gpu(wanted: Any, library: str, tiny_onnx: Path, tiny_scenes: list[Any]) -> None:
    through_tensorrt = library == "onnxruntime-tensorrt"
    if missing := onnxrt.cuda_missing("TensorrtExecutionProvider" if through_tensorrt else "CUDAExecutionProvider"):
        pytest.skip(missing)
    from dlcv.runtime.sessions import open_session

    images = np.stack(tiny_scenes)
    try:
        session = open_session(tiny_onnx, device="cuda", session=library, compute="tf32")
    except EngineError as error:
        if through_tensorrt and "did not start" in str(error):
            pytest.skip(str(error))  # the provider is built in, and TensorRT itself is not installed
        raise
    with open_session(tiny_onnx, device="cpu", session="onnxruntime") as reference, session:
        agreement = np.mean(session.run(images)["mask"] == reference.run(images)["mask"])
    assert agreement >= MIN_AGREEMENT["segmentation"]["fp16"]


@pytest.mark.parametrize("first", ["", "from dlcv.export import verify"])
def test_nothing_is_reported_to_onnx_runtimes_maker(first: str, tiny_onnx: Path, tmp_path: Path) -> None:
    """ONNX Runtime 1.31 would keep a device's number and a database of events in the home folder, to be sent."""
    if first:
        pytest.importorskip("onnx")
        pytest.importorskip("torch")
    code = f"{first}\nfrom dlcv.runtime import open_session as f; f({str(tiny_onnx)!r}, device='cpu', session='onnxruntime').close()"
    left_out = ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    environment = {name: value for name, value in os.environ.items() if name not in left_out} | {"HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, capture_output=True, timeout=120)
    assert not list(tmp_path.rglob("*onnxruntime*"))


def test_a_name_that_is_not_utf8_is_a_damaged_graph(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the long fuzz: ONNX Runtime opens such a graph and fails when Python asks for its names."""

    def names(self: Any) -> Any:
        b"\xff".decode()

    monkeypatch.setattr(onnxrt.ort.InferenceSession, "get_inputs", names)
    with pytest.raises(EngineError, match=r"holds a name that is not UTF-8: it is damaged; export it again$"):
        open_session(tiny_onnx, device="cpu", session="onnxruntime")
