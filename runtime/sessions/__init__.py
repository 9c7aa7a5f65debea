"""One file a library behind one contract; `open_session` chooses by the engine's file and loads the library on use."""

from __future__ import annotations

from pathlib import Path

from dlcv.runtime.card import ModelCard
from dlcv.runtime.card_reader import kind_of, read_card
from dlcv.runtime.errors import EngineError
from dlcv.runtime.provenance import Trust, check_engine
from dlcv.runtime.sessions.base import Session

DEVICES = ("auto", "cpu", "cuda")

__all__ = ["DEVICES", "Session", "engine_card", "open_session"]


def open_session(engine: str | Path, *, device: str = "auto", lanes: int = 1, trust: Trust | None = None) -> Session:
    """Opens an engine file.

    Args:
        engine: an `.onnx` or a `.plan` with a model card.
        device: `cpu`, `cuda`, or `auto`: CUDA where a driver and a provider are there, else the CPU. A plan needs CUDA.
        lanes: batches in flight on a CPU, each with its share of the cores: 1 answers a single batch soonest, one a core
            gets most out of a folder. A GPU has its own two.
        trust: the hash or the signature that the file must have before a library opens it; None: what the environment asks for.

    Raises:
        EngineError, CardError: when the file cannot be run, or is not the one that its sidecar lists or `trust` wants, in words.
        MissingPackageError: when the library that runs it is not installed.
    """
    path = Path(engine)
    kind = _engine_kind(path, device)
    trust = trust or Trust()
    data = check_engine(path, kind, trust)
    if kind == "plan":
        from dlcv.runtime.sessions.trt import open_plan

        return open_plan(path, data, host_code=trust.host_code)
    from dlcv.runtime.sessions.onnxrt import open_onnx

    return open_onnx(path, data, device=device, lanes=lanes)


def engine_card(engine: str | Path, *, device: str = "auto") -> ModelCard:
    """The model card of an engine file, before any library is loaded.

    Raises:
        EngineError, CardError: when it is no engine, cannot run on the device, or carries no card.
    """
    path = Path(engine)
    _engine_kind(path, device)
    return read_card(path)


def _engine_kind(path: Path, device: str) -> str:
    """`onnx` or `plan`; refuses what is no engine, and a plan on a CPU."""
    if device not in DEVICES:
        raise EngineError(f"unknown device {device!r}; known: {', '.join(DEVICES)}")
    kind = kind_of(path)
    if kind not in ("onnx", "plan"):
        raise EngineError(
            f"{path} is a {kind}, not an engine; expected an .onnx or a .plan made with: dlcv-export --model NAME"
        )
    if kind == "plan" and device == "cpu":
        raise EngineError(
            f"{path} is a TensorRT plan and runs on an NVIDIA GPU only; on a CPU run the graph: --engine {path.with_suffix('.onnx')}"
        )
    return kind
