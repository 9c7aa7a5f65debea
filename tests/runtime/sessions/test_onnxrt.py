"""ONNX Runtime's providers: what each is told and refuses, without a GPU where that can be seen; and IO binding, which works on a CPU too."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcv.runtime.card_reader import read_card
from dlcv.runtime.comparison import MIN_AGREEMENT
from dlcv.runtime.errors import EngineError, PrecisionError
from dlcv.runtime.sessions import onnxrt
from dlcv.runtime.sessions.wanted import Wanted


@pytest.fixture
def wanted(tiny_onnx: Path) -> Any:
    card = read_card(tiny_onnx)
    return lambda precision="fp32", **options: Wanted(tiny_onnx, "onnx", card.changed(precision=precision), **options)


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
