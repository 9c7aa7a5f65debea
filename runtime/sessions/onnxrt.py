"""ONNX Runtime: the graph itself, on a CPU, through CUDA, or through its TensorRT provider.

A graph is run at its card's precision: TF32 is off unless asked for, so that float32 is float32, and what an int8 graph became on a
CPU is read back before the session is given out. What CUDA and TensorRT's provider run in is not known: nothing here tells it.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import EngineError, OutOfMemory, PrecisionError, one_line
from dlcv.runtime.machine import cpu_count
from dlcv.runtime.sessions.base import Session, check_head
from dlcv.runtime.sessions.cuda import driver_library_missing
from dlcv.runtime.sessions.executed import Executed
from dlcv.runtime.sessions.memory import says_out_of_memory
from dlcv.runtime.sessions.onnxrt_graph import operators_run, optimised_path, precisions_run, read_graph
from dlcv.runtime.sessions.wanted import Wanted

_LOG_FATAL = 4
CUDA_LANES = 2
"""Batches in flight on a GPU: one computes while the other is copied."""
CACHE_FOLDER = ".onnxruntime-tensorrt"
"""Beside the graph: the engines that the TensorRT provider builds, which takes minutes."""
_TYPES = {"tensor(uint8)": "uint8", "tensor(float)": "float32", "tensor(float16)": "float16", "tensor(int64)": "int64"}


class OnnxSession(Session):
    """A graph in ONNX Runtime; see `open_cpu`, `open_cuda`, `open_tensorrt`.

    Args:
        session: ONNX Runtime's.
        card: of the graph.
        on: where it runs, in words.
        device: `cpu` or `cuda`.
        computes: see `Session`.
        parallel: batches in flight.
        bound: whether images are copied to the device, and outputs back, by IO binding: once each, and not by way of every operator
            that ONNX Runtime puts on the CPU.
        executed: what each operator runs in, worked out when it is asked for; None where that is not known.
    """

    def __init__(
        self, session: ort.InferenceSession, card: ModelCard, *, on: str, device: str, computes: str, parallel: int,
        bound: bool = False, executed: Callable[[], Executed | None] = lambda: None,
    ) -> None:  # fmt: skip
        self.card, self.device, self.computes, self.parallel = card, device, computes, parallel
        self.description = f"{_name(on)}, in {computes}"
        self._session: ort.InferenceSession | None = session
        self._executed = executed
        self._bound = bound
        self._names = [output.name for output in session.get_outputs()]

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        session = self._session
        if session is None:
            raise EngineError("the session is closed; open it again")
        images = np.ascontiguousarray(images)
        try:
            found = self._run_bound(session, images) if self._bound else session.run(self._names, {"image": images})
        except Exception as error:  # ONNX Runtime's exceptions share no base of their own
            kind = OutOfMemory if is_out_of_memory(error) else EngineError
            raise kind(f"ONNX Runtime failed on a batch of {len(images)}: {_reason(error)}") from error
        return dict(zip(self._names, found))

    def _run_bound(self, session: ort.InferenceSession, images: NDArray[np.uint8]) -> list[NDArray[Any]]:
        binding = session.io_binding()  # of this call alone: other threads have theirs
        binding.bind_ortvalue_input("image", ort.OrtValue.ortvalue_from_numpy(images, self.device, 0))
        for name in self._names:
            binding.bind_output(name, self.device)
        session.run_with_iobinding(binding)
        found: list[NDArray[Any]] = binding.copy_outputs_to_cpu()
        return found

    def executed(self) -> Executed | None:
        """On a CPU, from the graph that ONNX Runtime's optimiser made: the first call opens the file once more, but for int8."""
        return self._executed()

    def close(self) -> None:
        super().close()
        self._session = None  # frees it once no other thread is inside `run`


def check_cpu(wanted: Wanted) -> None:
    """Raises EngineError or PrecisionError when ONNX Runtime's CPU provider cannot run a graph at the precision asked for."""
    if wanted.compute != "card":
        raise PrecisionError(f"ONNX Runtime computes a float32 graph in float32 on a CPU, never in {wanted.compute}")
    if wanted.card.precision == "bf16":
        raise PrecisionError(
            "ONNX Runtime has no bfloat16 convolution on a CPU; run it with --session openvino, or export with --precision fp32"
        )
    if wanted.card.rest == "fp16" and wanted.session == "auto":
        raise PrecisionError(
            "ONNX Runtime computes int8 beside float16 (--rest fp16) in float32 on a CPU, several times slower than the float32 graph; "
            "ask for it with --session onnxruntime, install OpenVINO, which computes it in int8 (pip install 'dlcv-edge[openvino]'), or export without --rest fp16"
        )


def open_cpu(wanted: Wanted) -> OnnxSession:
    """Opens a graph on the CPU.

    Raises:
        PrecisionError: when ONNX Runtime does not compute in what was asked for.
        EngineError: when ONNX Runtime refuses the graph, or it is not what its card says.
    """
    check_cpu(wanted)
    precision = wanted.card.precision
    if precision == "int8":
        return _open_int8(wanted)
    session = _session(wanted, ["CPUExecutionProvider"])
    computes = "fp32" if precision == "fp16" and platform.machine() in ("x86_64", "AMD64") else precision
    return OnnxSession(
        session, wanted.card, on="CPU", device="cpu", computes=computes, parallel=wanted.lanes,
        executed=cache(lambda: _session_and_executed(wanted)[1]),
    )  # fmt: skip


def _open_int8(wanted: Wanted) -> OnnxSession:
    """ONNX Runtime leaves in float32 what it does not fuse: an int8 session says how much is in int8, or is refused."""
    session, executed, kinds = _session_and_executed(wanted)
    if wanted.card.rest == "fp16" and kinds and "int8" not in kinds:
        (computes,) = kinds  # no label makes it int8; who asked for this session has it
        opened = OnnxSession(
            session, wanted.card, on="CPU", device="cpu", computes=computes, parallel=wanted.lanes, executed=lambda: executed
        )  # fmt: skip
        opened.description += ", none of it in int8: its int8 kernels take no float16 beside them"
        return opened
    opened = OnnxSession(
        session, wanted.card, on="CPU", device="cpu", computes="int8", parallel=wanted.lanes, executed=lambda: executed
    )
    if executed is None:
        opened.description = (
            f"{_name('CPU')}, in int8 as the graph says; how much of it ONNX Runtime computes so is not known"
        )
        return opened
    executed.require("int8", str(wanted.path))
    if (share := executed.share("int8")) < 1:
        opened.description += f" ({share:.1%} of the multiply-adds, the others in fp32)"
    return opened


def _session_and_executed(wanted: Wanted) -> tuple[ort.InferenceSession, Executed | None, frozenset[str]]:
    """A session on the CPU, what each layer of the file became in it, and the types that its layers are in; None and empty where not known."""
    options = ort.SessionOptions()
    with optimised_path(options) as path:
        session = _session(wanted, ["CPUExecutionProvider"], options)
        try:
            source, optimised = read_graph(wanted.path if wanted.data is None else wanted.data), read_graph(path)
            found, kinds = operators_run(source, optimised), precisions_run(source, optimised)
        except EngineError:  # a later version may write it in another way: then nothing is known
            found = kinds = None
    return session, None if found is None else Executed(_name("CPU"), found), frozenset(kinds or ())


def _name(on: str) -> str:
    return f"ONNX Runtime {ort.__version__} on {on}"


def check_cuda(wanted: Wanted) -> None:
    """Raises EngineError or PrecisionError when the CUDA provider cannot run a graph at the precision asked for."""
    if missing := cuda_missing():
        raise EngineError(missing)
    if wanted.card.precision == "int8":
        raise PrecisionError("ONNX Runtime's CUDA provider has no int8 convolution and would compute in float32")
    if wanted.compute not in ("card", "tf32"):
        raise PrecisionError(f"ONNX Runtime's CUDA provider computes a float32 graph in float32 or TF32, never in {wanted.compute}")  # fmt: skip


def open_cuda(wanted: Wanted) -> OnnxSession:
    """Opens a graph on an NVIDIA GPU; raises as `open_cpu`."""
    check_cuda(wanted)
    session = _session(wanted, [_cuda(wanted), "CPUExecutionProvider"])
    _require_provider(session, "CUDAExecutionProvider")
    return OnnxSession(
        session, wanted.card, on="CUDA", device="cuda", computes=wanted.precision, parallel=CUDA_LANES, bound=True
    )


def check_tensorrt(wanted: Wanted) -> None:
    """Raises EngineError or PrecisionError when the TensorRT provider cannot run a graph at the precision asked for."""
    if missing := cuda_missing("TensorrtExecutionProvider"):
        raise EngineError(missing)
    if wanted.session != "onnxruntime-tensorrt":
        raise EngineError("it builds an engine of its own at the first start, for minutes; ask for it with --session onnxruntime-tensorrt")  # fmt: skip
    if wanted.card.precision == "fp32" and wanted.compute != "tf32":
        raise PrecisionError("ONNX Runtime's TensorRT provider has no option against TF32 in a float32 graph; allow it with --compute tf32")  # fmt: skip


def open_tensorrt(wanted: Wanted) -> OnnxSession:
    """Opens a graph through ONNX Runtime's TensorRT provider; the engine it builds is kept beside the graph. Raises as `open_cpu`."""
    check_tensorrt(wanted)
    cache, precision = str(wanted.path.absolute().parent / CACHE_FOLDER), wanted.card.precision
    options = {} if wanted.data is not None else {"trt_engine_cache_enable": "1", "trt_engine_cache_path": cache}
    if precision != "fp32":  # TensorRT 11 takes the types from the graph and does not look at it
        options[f"trt_{precision}_enable"] = "1"
    session = _session(wanted, [("TensorrtExecutionProvider", options), _cuda(wanted), "CPUExecutionProvider"])
    _require_provider(session, "TensorrtExecutionProvider")
    opened = OnnxSession(
        session, wanted.card, on="TensorRT through its provider", device="cuda", computes=wanted.precision,
        parallel=CUDA_LANES, bound=True,
    )  # fmt: skip
    opened.description += " as asked for; what the engine inside runs in is not known"
    return opened


def cuda_missing(provider: str = "CUDAExecutionProvider") -> str | None:
    """Why ONNX Runtime cannot use CUDA here, in words; None when it may."""
    if provider not in ort.get_available_providers():
        kind = provider.removesuffix("ExecutionProvider")
        return f"this build of ONNX Runtime has no {kind} provider (pip install onnxruntime-gpu)"
    missing = driver_library_missing()
    return f"this machine has {missing}" if missing else None


def _cuda(wanted: Wanted) -> tuple[str, dict[str, str]]:
    return "CUDAExecutionProvider", {"use_tf32": "1" if wanted.compute == "tf32" else "0"}


def _session(wanted: Wanted, providers: list[Any], options: ort.SessionOptions | None = None) -> ort.InferenceSession:
    options = options or ort.SessionOptions()
    options.log_severity_level = _LOG_FATAL  # what fails is raised, in one line
    options.intra_op_num_threads = max(1, cpu_count() // wanted.lanes)
    try:
        session = ort.InferenceSession(
            str(wanted.path) if wanted.data is None else wanted.data, options, providers=providers
        )
    except Exception as error:  # ONNX Runtime's exceptions share no base of their own
        kind = PrecisionError if "NOT_IMPLEMENTED" in str(error) else EngineError
        raise kind(f"ONNX Runtime {ort.__version__} refuses {wanted.path}: {_reason(error)}") from error
    try:
        _check_graph(session, wanted)
    except UnicodeDecodeError as error:  # a name of an input, an output or a varying side
        raise EngineError(f"{wanted.path} holds a name that is not UTF-8: it is damaged; export it again") from error
    return session


def _require_provider(session: ort.InferenceSession, provider: str) -> None:
    if provider not in session.get_providers():
        raise EngineError(
            f"ONNX Runtime's {provider} did not start (see its requirements on CUDA, cuDNN and TensorRT); run with --device cpu"
        )


def _check_graph(session: ort.InferenceSession, wanted: Wanted) -> None:
    """The graph must be what its card says: image uint8 (N, H, W, 3), and the head's outputs."""
    card, path = wanted.card, wanted.path
    found = {node.name: (node.type, node.shape[1:]) for node in session.get_inputs()}
    expected = ("tensor(uint8)", [*card.input_size_hw, 3])
    if card.size_range is not None and "image" in found:  # a side that varies has a name
        kind, sides = found["image"]
        found["image"] = (kind, [side if isinstance(side, int) else known for side, known in zip(sides, expected[1])])
    if found.get("image") != expected or len(found) != 1:
        raise EngineError(
            f"{path}: expected one input, image uint8 (N, {card.input_size_hw[0]}, {card.input_size_hw[1]}, 3), got {found}; export it again"
        )
    outputs = {node.name: (_TYPES.get(node.type, node.type), node.shape[1:]) for node in session.get_outputs()}
    check_head(outputs, card, str(path))


def is_out_of_memory(error: Exception) -> bool:
    """Whether an exception of ONNX Runtime says that memory ran out: it has no type of its own for that."""
    return isinstance(error, MemoryError) or says_out_of_memory(str(error))


def _reason(error: Exception) -> str:
    return one_line(str(error).strip())[:400]
