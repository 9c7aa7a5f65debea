"""The same work without dlcv, in the same process: the bare library, ONNX Runtime, torch, torch.compile.

Each takes the batch that our session takes, in host memory, and leaves the answers there. A library's own defaults stand, but for
what decides the precision: in another one it would not be the same work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import EngineError, reason_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Images = NDArray[np.uint8]

BASELINES = {
    "bare": "the session's own library",
    "onnxruntime": "ONNX Runtime on the graph",
    "torch": "torch eager",
    "compile": "torch.compile",
    "serial": "a serial loop over the files",
}
"""What can be asked for; `serial` stands in `files.py`, and the bare library's loop for the TensorRT plan in `bare_tensorrt.py`."""
BARE = {"onnxruntime": "bare ONNX Runtime", "openvino": "bare OpenVINO", "tensorrt": "bare TensorRT"}
EAGER, COMPILED = "torch eager", "torch.compile"


@dataclass(frozen=True)
class Baseline:
    """Another way to do a session's work.

    Attributes:
        name: for the tables.
        run: images uint8 (n, H, W, 3) in host memory -> the answers there.
        device_s: images -> seconds on the device alone; None where that cannot be told.
        no_device_s: why not, in words; empty where that is clear.
    """

    name: str
    run: Callable[[Images], object]
    device_s: Callable[[Images], float] | None = None
    no_device_s: str = ""


@dataclass(frozen=True)
class Work:
    """What our session does, as a baseline must know it in order to do the same.

    Attributes:
        path: of the engine.
        data: its bytes, where they were checked: these are run then.
        card: of the engine, at the size that is run.
        session, device, compute, computes: library, `cpu` or `cuda`, what was asked for and what is computed in.
        checkpoint: with the weights for torch; None: fresh ones, whose arithmetic costs the same.
    """

    path: Path
    data: bytes | None
    card: ModelCard
    session: str
    device: str
    compute: str
    computes: str
    checkpoint: Path | None = None


@dataclass
class Opened:
    """Baselines, and for those that could not be opened the reason, by name."""

    baselines: list[Baseline] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)

    def runs(self) -> Mapping[str, Callable[[Images], object]]:
        """By name."""
        return {one.name: one.run for one in self.baselines}


def open_baselines(asked: Sequence[str], work: Work, stack: ExitStack) -> Opened:
    """Opens what is asked for of `BASELINES`; what they hold is freed with the stack."""
    opened = Opened()
    library = "onnxruntime" if work.session.startswith("onnxruntime") else work.session
    ways: dict[str, Callable[[], Baseline]] = {}
    if "bare" in asked and library in BARE:
        ways[BARE[library]] = lambda: _BARE[library](work, stack)
    if "onnxruntime" in asked:
        ways[BARE["onnxruntime"]] = lambda: bare_onnxruntime(work, stack)
    if "torch" in asked:
        ways[EAGER] = lambda: _torch(work, stack, compiled=False)
    if "compile" in asked:
        ways[COMPILED] = lambda: _torch(work, stack, compiled=True)
    for name, way in ways.items():
        try:
            opened.baselines.append(way())
        except Exception as error:  # another project's code, which may fail in any way; ours is measured all the same
            opened.missing[name] = reason_of(error)[:300]
    return opened


def bare_onnxruntime(work: Work, stack: ExitStack) -> Baseline:
    """The graph in ONNX Runtime, with the provider of our session."""
    import onnxruntime as ort

    source = _graph_of(work)
    providers: list[Any] = ["CPUExecutionProvider"]
    if work.session == "onnxruntime-tensorrt":
        from dlcv.runtime.sessions.onnxrt import CACHE_FOLDER

        cache = {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(work.path.absolute().parent / CACHE_FOLDER),
        }
        providers = [("TensorrtExecutionProvider", cache), "CUDAExecutionProvider", *providers]
    elif work.device == "cuda":
        providers = [("CUDAExecutionProvider", {"use_tf32": "1" if work.computes == "tf32" else "0"}), *providers]
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(source, options, providers=providers)
    device_s, why = None, ""
    if work.device == "cuda" and work.session == "onnxruntime":
        from dlcv.benchmarks.bench.cuda_events import OnnxOnDevice

        try:
            device_s = stack.enter_context(OnnxOnDevice(source, providers[0][1])).seconds
        except Exception as error:  # without pycuda, say, the rest is measured all the same
            why = reason_of(error)[:300]
    return Baseline(BARE["onnxruntime"], lambda images: session.run(None, {"image": images}), device_s, why)


def bare_openvino(work: Work, stack: ExitStack) -> Baseline:
    """The graph in OpenVINO, at our precision."""
    import openvino

    from dlcv.runtime.sessions.openvino import HINTS

    core = openvino.Core()
    hint = {"INFERENCE_PRECISION_HINT": HINTS["fp32" if work.compute == "card" else work.compute]}
    compiled = core.compile_model(core.read_model(_graph_of(work)), "CPU", hint)
    request = compiled.create_infer_request()
    return Baseline(BARE["openvino"], lambda images: request.infer({"image": images}))


def bare_tensorrt(work: Work, stack: ExitStack) -> Baseline:
    """The plan in a loop as NVIDIA's samples have it."""
    from dlcv.benchmarks.bench.bare_tensorrt import TensorrtLoop

    loop = stack.enter_context(TensorrtLoop(work.path, work.data))
    return Baseline(BARE["tensorrt"], loop.run, loop.device_seconds)


_BARE = {"onnxruntime": bare_onnxruntime, "openvino": bare_openvino, "tensorrt": bare_tensorrt}


def _graph_of(work: Work) -> str | bytes:
    """The graph's bytes or path; of a plan the one beside it."""
    if work.path.suffix != ".plan" and work.session != "tensorrt":
        return work.data if work.data is not None else str(work.path)
    graph = work.path.with_suffix(".onnx")
    if not graph.exists():
        raise EngineError(f"there is no {graph.name} beside the plan")
    if work.data is not None:
        raise EngineError(f"what was checked is the plan, not the {graph.name} beside it")
    return str(graph)


def _torch(work: Work, stack: ExitStack, *, compiled: bool) -> Baseline:
    """The network in torch, from uint8 images to the head's output; an int8 engine's in float32, as it was trained."""
    import torch

    from dlcv.export.graph import ExportGraph

    card, precision = work.card, work.computes if work.computes in ("fp16", "bf16") else "fp32"
    device = torch.device(work.device)
    network = _network(work, precision)
    graph: Any = ExportGraph(network, card.mean_rgb, card.std_rgb, card.head).eval().to(device)
    _allow_tf32(work.computes == "tf32", stack)
    call = torch.compile(graph) if compiled else graph

    def run(images: Images) -> object:
        with torch.inference_mode():
            return call(torch.from_numpy(images).to(device)).cpu().numpy()

    note = "" if work.computes in (precision, "tf32") else f" ({precision})"
    return Baseline((COMPILED if compiled else EAGER) + note, run)


def _network(work: Work, precision: str) -> Any:
    import torch

    from dlcv.export.precision.cast import network_at
    from dlcv.train.models import create_model

    card = work.card
    if work.checkpoint is not None:
        from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint

        network = model_from_checkpoint(load_checkpoint(work.checkpoint, model=card.model)).eval()
    elif card.members > 1:
        raise EngineError(f"{work.path.name} is the mean of {card.members} networks, which torch is not measured on")
    else:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            options = dict(card.options)
            network = create_model(card.model, classes=len(card.classes), width=card.width, options=options).eval()
    return network if precision == "fp32" else network_at(network, precision, card.input_size_hw)


def _allow_tf32(allowed: bool, stack: ExitStack) -> None:
    """For torch on CUDA, whose convolutions take TF32 unless told otherwise."""
    import torch

    places: tuple[Any, ...] = (torch.backends.cudnn, torch.backends.cuda.matmul)
    for place in places:
        stack.callback(setattr, place, "allow_tf32", place.allow_tf32)
        place.allow_tf32 = allowed
