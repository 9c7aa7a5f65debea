"""Which session opens a file, and what is said of the others."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime.card.reader import read_card
from dlcv.runtime.cli import session_options
from dlcv.runtime.errors import EngineError, MissingPackageError, PrecisionError
from dlcv.runtime.sessions import COMPUTES, DEVICES, SESSIONS, candidates, explain_session, open_session
from dlcv.runtime.sessions.candidates import OPENVINO, ORT_CPU, ORT_CUDA, ORT_TENSORRT, TENSORRT, choose
from dlcv.runtime.sessions.cuda import driver_library_missing
from dlcv.runtime.sessions.executed import Executed
from dlcv.runtime.sessions.wanted import Wanted

no_gpu = pytest.mark.skipif(not driver_library_missing(), reason="this machine has a GPU")
MISSING = MissingPackageError("openvino", "run a graph with OpenVINO", "pip install it")


@pytest.fixture
def without_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    from dlcv.runtime.sessions import openvino

    def check(wanted: Wanted) -> None:
        raise MISSING

    monkeypatch.setattr(openvino, "check_openvino", check)


@pytest.fixture
def labelled(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Wanted]:
    """What is wanted of the tiny graph under the label of another precision."""
    monkeypatch.setattr(candidates, "_check_label", lambda wanted: None)
    card = read_card(tiny_onnx)
    return lambda precision, **options: Wanted(tiny_onnx, "onnx", card.changed(precision=precision), **options)


def test_the_choices_of_the_commands_are_those_of_the_sessions() -> None:
    assert (session_options.DEVICES, session_options.SESSIONS, session_options.COMPUTES) == (
        DEVICES,
        SESSIONS,
        COMPUTES,
    )
    assert {one.session for one in candidates.candidates()} | {"auto"} == set(SESSIONS)


def test_the_order_is_the_measured_one_on_x86_alone() -> None:
    gpus = (TENSORRT, ORT_TENSORRT, ORT_CUDA)
    assert candidates.candidates("x86_64") == candidates.candidates("AMD64") == (*gpus, OPENVINO, ORT_CPU)
    assert candidates.candidates("aarch64") == (*gpus, ORT_CPU, OPENVINO)


@no_gpu
def test_auto_takes_the_first_that_can(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(candidates.platform, "machine", lambda: "x86_64")
    with open_session(tiny_onnx) as session:
        assert session.description.startswith("OpenVINO ")
    with open_session(tiny_onnx, session="onnxruntime") as session:
        assert session.description.startswith("ONNX Runtime ")


@no_gpu
def test_where_openvino_is_missing_onnx_runtime_runs_and_explain_says_how_to_install_it(tiny_onnx: Path, without_openvino: None) -> None:  # fmt: skip
    with open_session(tiny_onnx) as session:
        assert session.description.startswith("ONNX Runtime ")
    lines = [str(verdict) for verdict in explain_session(tiny_onnx)]
    assert len(lines) == 5
    assert "passed over: openvino on cpu: openvino is needed to run a graph with OpenVINO; install it with: pip install it" in lines  # fmt: skip
    assert [line for line in lines if line.startswith("chosen")] == [
        f"chosen: onnxruntime on cpu: {session.description}"
    ]
    assert lines[0] == f"passed over: tensorrt on cuda: tensorrt runs .plan files, and {tiny_onnx} is a .onnx; build one with: dlcv-export --format plan"  # fmt: skip
    assert "passed over: onnxruntime on cuda: this machine has no NVIDIA driver (libcuda.so.1)" in lines


def test_one_that_alone_is_asked_for_gives_its_own_error(tiny_onnx: Path, without_openvino: None) -> None:
    with pytest.raises(MissingPackageError) as caught:
        open_session(tiny_onnx, session="openvino")
    assert caught.value is MISSING
    with pytest.raises(EngineError, match=r"^--session openvino runs on cpu, not on cuda; leave --device out$"):
        open_session(tiny_onnx, session="openvino", device="cuda")


@no_gpu
def test_where_none_can_all_reasons_are_told(labelled: Callable[..., Wanted], without_openvino: None) -> None:
    with pytest.raises(EngineError) as caught:
        choose(labelled("bf16"))
    assert str(caught.value).endswith(
        "(bf16) runs in no session here: onnxruntime on cuda: this machine has no NVIDIA driver (libcuda.so.1); "
        f"openvino on cpu: {MISSING}; onnxruntime on cpu: ONNX Runtime has no bfloat16 convolution on a CPU; run it with --session openvino, or export with --precision fp32"
    )
    session, verdicts = choose(labelled("bf16"), explain=True)
    assert session is None and not any(verdict.chosen for verdict in verdicts)


@no_gpu
def test_int8_beside_float16_is_none_of_onnx_runtimes(labelled: Callable[..., Wanted], without_openvino: None) -> None:
    wanted = labelled("int8")
    wanted = replace(wanted, card=wanted.card.changed(rest="fp16"))
    with pytest.raises(EngineError) as caught:
        choose(wanted)
    assert "ask for it with --session onnxruntime, install OpenVINO, which computes it in int8 " in str(caught.value)


@no_gpu
def test_cuda_where_there_is_none(tiny_onnx: Path) -> None:
    with pytest.raises(EngineError, match=r"^--device cuda: this machine has no NVIDIA driver \(libcuda\.so\.1\); run with --device cpu$"):  # fmt: skip
        open_session(tiny_onnx, device="cuda")


@no_gpu
def test_one_that_does_not_keep_the_precision_when_opened_is_passed_over(tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    from dlcv.runtime.sessions import openvino

    def opens(wanted: Wanted) -> Any:
        raise PrecisionError("it would run in bf16")

    monkeypatch.setattr(openvino, "check_openvino", lambda wanted: None)
    monkeypatch.setattr(openvino, "open_openvino", opens)
    with open_session(tiny_onnx) as session:
        assert session.description.startswith("ONNX Runtime ")
    if candidates.platform.machine() in ("x86_64", "AMD64"):
        assert "passed over: openvino on cpu: it would run in bf16" in map(str, explain_session(tiny_onnx))
    with pytest.raises(PrecisionError, match=r"^it would run in bf16$"):
        open_session(tiny_onnx, session="openvino")


def test_a_gpu_comes_first_and_int8_passes_cuda_over(labelled: Callable[..., Wanted], monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    """On paper: the CUDA session here runs on the CPU."""
    from dlcv.runtime.sessions import onnxrt

    monkeypatch.setattr(candidates, "driver_library_missing", lambda: "")
    monkeypatch.setattr(onnxrt, "cuda_missing", lambda provider="": None)
    monkeypatch.setattr(onnxrt, "open_cuda", lambda wanted: onnxrt.open_cpu(replace(wanted, compute="card")))
    session, verdicts = choose(labelled("fp32"))
    assert session is not None and verdicts[-1].candidate == ORT_CUDA and verdicts[-1].chosen
    assert "ask for it with --session onnxruntime-tensorrt" in verdicts[1].reason
    monkeypatch.setattr(Executed, "require", lambda *_: None)  # the graph is float32, whatever its label
    session, verdicts = choose(labelled("int8", session="onnxruntime"))
    assert [verdict.candidate for verdict in verdicts if verdict.chosen] == [ORT_CPU]
    assert "no int8 convolution" in {verdict.candidate: verdict.reason for verdict in verdicts}[ORT_CUDA]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"compute": "int4"}, "^unknown compute 'int4'; known: card, tf32, fp16, bf16$"),
        ({"session": "tflite"}, "^unknown session 'tflite'; known: auto, tensorrt, "),
        ({"device": "tpu"}, "^unknown device 'tpu'; known: auto, cpu, cuda$"),
        ({"compute": "tf32", "session": "onnxruntime", "device": "cpu"}, "computes a float32 graph in float32 on a CPU, never in tf32$"),
    ],
)  # fmt: skip
def test_what_is_not_known_or_not_done(tiny_onnx: Path, options: dict[str, str], sentence: str) -> None:
    with pytest.raises(EngineError, match=sentence):
        open_session(tiny_onnx, **options)


def test_less_is_for_float32_graphs(labelled: Callable[..., Wanted]) -> None:
    with pytest.raises(EngineError, match=r"^--compute bf16 is for a graph in fp32, and .* is in int8; leave it out$"):
        choose(labelled("int8", compute="bf16"))


def test_what_is_not_needed_is_not_imported(tiny_onnx: Path, run_command: Callable[..., Any], tile_folder: Path, tmp_path: Path) -> None:  # fmt: skip
    """With OpenVINO chosen, ONNX Runtime need not be there."""
    if importlib.util.find_spec("openvino") is None or not driver_library_missing():
        pytest.skip("needs openvino and no GPU")
    done = run_command(
        "dlcv-infer", tile_folder, "--engine", tiny_onnx, "--output", tmp_path / "m", "--quiet",
        before="import sys; sys.modules['onnxruntime'] = None\nimport platform; platform.machine = lambda: 'x86_64'",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
