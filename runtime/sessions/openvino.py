"""OpenVINO: the graph itself on a CPU, at its card's precision.

Left alone, OpenVINO runs a float32 graph in bfloat16 where the CPU has AMX or AVX512_BF16. So the hint is always set, and what the
compiled model really runs in is read back before the session is given out.

A compiled model of several streams keeps packed weights once for all, and of int8 graphs whose layers share shapes OpenVINO 2026.4.1 gives wrong answers then, as
if layers got each other's: an int8 resnet18 had an accuracy of 0.215, where one stream has 0.878 (benchmarks/results/sessions.md). So int8
graphs are compiled once a lane, with a stream each. Float graphs were right with several streams.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from queue import Empty, SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import EngineError, MissingPackageError, PrecisionError, one_line
from dlcv.runtime.machine import cpu_count, cpu_name
from dlcv.runtime.sessions.base import Session, check_head
from dlcv.runtime.sessions.executed import Executed, Operator
from dlcv.runtime.sessions.openvino_joins import quantise_before_joins
from dlcv.runtime.sessions.wanted import Wanted

INSTALL = "pip install 'dlcv-edge[openvino]'"
HINTS = {"fp32": "f32", "fp16": "f16", "bf16": "bf16"}
"""What float32 operators are computed in, by what is asked for; int8 and bf16 graphs bring their own types for the rest."""
NEEDS = {"fp16": ("FP16", "AVX512_FP16 or AMX-FP16"), "bf16": ("BF16", "AVX512_BF16 or AMX")}
"""What OpenVINO calls the ability of a CPU, and what it is on x86."""
PRECISIONS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16", "i8": "int8", "u8": "int8"}
_TRANSPOSED = "Deconvolution"
_CONVOLUTIONS = ("Convolution", _TRANSPOSED)
_PRODUCTS = ("FullyConnected", "MatMul")


class OpenVinoSession(Session):
    """A graph in OpenVINO; see `open_openvino`.

    Args:
        compiled: the same model, once for all lanes or once a lane.
        wanted: what was asked for.
        computes: what it computes in.
    """

    def __init__(self, compiled: Sequence[Any], wanted: Wanted, computes: str) -> None:
        # one caller more than streams, so that a stream has its next batch at hand and need not wait for a thread to wake
        self.card, self.parallel, self.computes = wanted.card, wanted.lanes + 1, computes
        self._by = f"OpenVINO {_openvino_version()} on CPU"
        self.description = f"{self._by}, in {computes}"
        self._compiled = list(compiled)
        self._free: SimpleQueue[Any] = SimpleQueue()  # a request serves one caller at a time
        for number in range(self.parallel):
            self._free.put(compiled[number % len(compiled)].create_infer_request())
        self._names = [_name(output, wanted.card) for output in compiled[0].outputs]

    def _run(self, images: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        request = self._free.get()
        try:
            found = request.infer({"image": np.ascontiguousarray(images)}, share_inputs=True, share_outputs=False)
            return {name: found[index] for index, name in enumerate(self._names)}
        except Exception as error:  # OpenVINO raises RuntimeError and what Python makes of C++'s exceptions
            raise EngineError(f"OpenVINO failed on a batch of {len(images)}: {_reason(error)}") from error
        finally:
            if not self._closed:
                self._free.put(request)

    def executed(self) -> Executed | None:
        """From the compiled model: what each operator was compiled to."""
        return Executed(self._by, operators_of(self._compiled[0])) if self._compiled else None

    def close(self) -> None:
        """Frees the model once no other thread is inside `run`."""
        super().close()
        self._compiled = []
        try:
            while True:
                self._free.get_nowait()
        except Empty:
            pass


def computed_in(wanted: Wanted) -> str:
    """What OpenVINO computes a graph in: a float16 graph in float32, as ONNX Runtime does on a CPU."""
    return "fp32" if wanted.precision == "fp16" and wanted.compute == "card" else wanted.precision


def check_openvino(wanted: Wanted) -> None:
    """Whether OpenVINO can run a graph here at the precision asked for.

    Raises:
        MissingPackageError: when it is not installed.
        EngineError, PrecisionError: when it does not load, or the CPU lacks what the precision needs.
    """
    if wanted.compute == "tf32":
        raise PrecisionError("TF32 is of NVIDIA GPUs; OpenVINO runs on the CPU")
    abilities = cpu_abilities()
    name, needed = NEEDS.get(computed_in(wanted), ("", ""))
    if name and name not in abilities:
        raise PrecisionError(
            f"{computed_in(wanted)} needs a CPU with {needed}, and {cpu_name()} has none of it; run the float32 graph without --compute"
        )


def open_openvino(wanted: Wanted) -> OpenVinoSession:
    """Opens a graph on the CPU.

    Raises:
        EngineError: when OpenVINO refuses the graph, or it is not what its card says.
        PrecisionError: when OpenVINO runs it in another precision than asked for.
        MissingPackageError: when OpenVINO is not installed.
    """
    check_openvino(wanted)
    openvino, computes = _openvino(), computed_in(wanted)
    try:
        core = openvino.Core()
        model = core.read_model(str(wanted.path) if wanted.data is None else wanted.data)
        if wanted.card.size_range is not None:  # one size a session, which OpenVINO compiles better than a varying one
            model.reshape({"image": [-1, *wanted.card.input_size_hw, 3]})
        if wanted.card.precision == "int8":
            quantise_before_joins(model, openvino.opset13)
        copies, options = _copies(wanted), _options(wanted)
        with ThreadPoolExecutor(copies, "dlcv-compile") as pool:  # each compiles on one core
            compiled = list(pool.map(lambda _: core.compile_model(model, "CPU", options), range(copies)))
    except Exception as error:  # as above
        raise EngineError(f"OpenVINO {_openvino_version()} refuses {wanted.path}: {_reason(error)}") from error
    _check_graph(compiled[0], wanted.card, str(wanted.path))
    session = OpenVinoSession(compiled, wanted, computes)
    executed = session.executed()
    assert executed is not None
    executed.require(computes, str(wanted.path))
    return session


def cpu_abilities() -> Sequence[str]:
    """What OpenVINO finds the CPU to compute natively, such as `FP32`, `BF16`, `INT8`.

    Raises:
        MissingPackageError, EngineError: when OpenVINO is not installed, or does not load.
    """
    return tuple(_openvino().Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))


def operators_of(compiled: Any) -> tuple[Operator, ...]:
    """The operators with multiply-adds of a compiled model, from its runtime model.

    The name of the primitive tells the precision: `runtimePrecision` says int8 of a transposed convolution whose weights alone are
    int8 and which runs in `brgconv_avx512_f32` (seen in 2026.4.1).
    """
    found = []
    for node in compiled.get_runtime_model().get_ops():
        facts = {name: str(value.value) for name, value in node.get_rt_info().items()}
        kind = facts.get("layerType", "")
        if kind in (*_CONVOLUTIONS, *_PRODUCTS):
            shapes = [_sides(value) for value in (*node.inputs(), node.output(0))]
            word = facts.get("primitiveType", "").rpartition("_")[2].lower()
            word = word if word in PRECISIONS else facts.get("runtimePrecision", "unknown")
            precision = PRECISIONS.get(word, word)
            found.append(Operator(node.get_friendly_name(), kind, precision, _multiply_adds(kind, shapes)))
    return tuple(found)


def _copies(wanted: Wanted) -> int:
    """How often a graph is compiled: see the module."""
    return wanted.lanes if wanted.precision == "int8" else 1


def _options(wanted: Wanted) -> dict[str, Any]:
    copies = _copies(wanted)
    return _precision_options(wanted) | {
        "NUM_STREAMS": wanted.lanes // copies,
        "INFERENCE_NUM_THREADS": max(1, cpu_count() // copies),  # of all streams together
        # Threads that are bound to cores wait for those that other programs use: 1.04 to 1.14 times the time on a shared machine.
        "ENABLE_CPU_PINNING": False,
    }


def _precision_options(wanted: Wanted) -> dict[str, Any]:
    """The hint: what float32 operators may be computed in, float32 itself where nothing less was asked for."""
    return {"INFERENCE_PRECISION_HINT": HINTS["fp32" if wanted.compute == "card" else wanted.compute]}


def _multiply_adds(kind: str, shapes: Sequence[Sequence[int]]) -> int:
    """For one image, from the shapes of the inputs (the second are the weights) and, last, of the output."""
    given, weights, out = shapes[0], shapes[1], shapes[-1]
    if kind in _PRODUCTS:
        return _product(out) * given[-1]
    kernel = weights[2 if len(weights) > len(given) else 1 :]  # of a grouped convolution the groups stand first
    return _product(given if kind == _TRANSPOSED else out) * _product(kernel)


def _sides(value: Any) -> list[int]:
    """A shape, with 1 for the batch."""
    return [side.get_length() if side.is_static else 1 for side in value.get_partial_shape()]


def _product(sides: Sequence[int]) -> int:
    total = 1
    for side in sides:
        total *= side
    return total


def _check_graph(compiled: Any, card: ModelCard, source: str) -> None:
    """The graph must be what its card says: image uint8 (N, H, W, 3), and the head's outputs."""
    found = {_name(port, card): _kind_and_sides(port) for port in compiled.inputs}
    if found != {"image": ("uint8", [*card.input_size_hw, 3])}:
        raise EngineError(
            f"{source}: expected one input, image uint8 (N, {card.input_size_hw[0]}, {card.input_size_hw[1]}, 3), got {found}; export it again"
        )
    check_head({_name(port, card): _kind_and_sides(port) for port in compiled.outputs}, card, source)


def _name(port: Any, card: ModelCard) -> str:
    """Of an input or output: a tensor has several names where OpenVINO took away a cast, and the head's is the one that counts."""
    names = sorted(port.get_names())
    return card.head if card.head in names else ", ".join(names)


def _kind_and_sides(port: Any) -> tuple[str, list[Any]]:
    """numpy's name of the type, and the shape without the batch; `?` for what varies."""
    sides = [side.get_length() if side.is_static else "?" for side in port.get_partial_shape()]
    return np.dtype(port.get_element_type().to_dtype()).name, sides[1:]


@contextmanager
def _unreported() -> Iterator[None]:
    """`import openvino` sends an event to its maker and writes into the home folder, unless its telemetry does not import."""
    name = "openvino_telemetry"
    if name in sys.modules:  # somebody else's choice
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


@cache
def _openvino() -> Any:
    try:
        with _unreported():
            import openvino
    except ModuleNotFoundError as error:
        if error.name != "openvino":
            raise EngineError(
                f"openvino is installed and does not load ({error}); install it again: {INSTALL}"
            ) from error
        raise MissingPackageError("openvino", "run a graph with OpenVINO", INSTALL) from error
    except Exception as error:  # missing parts of a library show in many ways
        raise EngineError(
            f"openvino is installed and does not load ({one_line(error)[:200]}); install it again: {INSTALL}"
        ) from error
    return openvino


def _openvino_version() -> str:
    """The release alone: `2026.4.1` of `2026.4.1-22982-...`."""
    return str(_openvino().__version__).partition("-")[0]


def _reason(error: Exception) -> str:
    """The last line of OpenVINO's, the others name its source files."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return one_line(lines[-1] if lines else type(error).__name__)[:400]
