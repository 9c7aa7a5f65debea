"""One file a library behind one contract; `open_session` takes the fastest that can run a file and loads the library on use."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.plan_header import instead_of, read_plan_header
from dlcv.runtime.card.reader import kind_of, read_card
from dlcv.runtime.errors import EngineError
from dlcv.runtime.provenance import Trust, check_engine
from dlcv.runtime.sessions.base import Session
from dlcv.runtime.sessions.wanted import COMPUTES, DEVICES, SESSIONS, Wanted

if TYPE_CHECKING:
    from dlcv.runtime.sessions.candidates import Verdict

__all__ = ["COMPUTES", "DEVICES", "SESSIONS", "Session", "engine_card", "explain_session", "open_session"]


def open_session(
    engine: str | Path,
    *,
    device: str = "auto",
    session: str = "auto",
    compute: str = "card",
    lanes: int = 1,
    trust: Trust | None = None,
    window_hw: tuple[int, int] | None = None,
) -> Session:
    """Opens an engine file.

    Args:
        engine: an `.onnx` or a `.plan` with a model card.
        device: `cpu`, `cuda`, or `auto`. A plan needs CUDA.
        session: the library: `tensorrt`, `onnxruntime-tensorrt`, `onnxruntime`, `openvino`, or `auto`: the fastest that can run the file
            here at its precision.
        compute: `card`: at the precision that the file says. `tf32`, `fp16` or `bf16` let a float32 graph be computed in less.
        lanes: batches in flight on a CPU, each with its share of the cores: 1 answers a single batch soonest, one a core
            gets most out of a folder. A GPU has its own two.
        trust: the hash or the signature that the file must have before a library opens it; None: what the environment asks for.
        window_hw: height and width to run it at, in pixels, where the card says that they vary; None takes the card's.

    Raises:
        UsageError: when the engine does not run at that size.
        EngineError, CardError: when the file cannot be run, or is not the one that its sidecar lists or `trust` wants, in words.
        PrecisionError: when it would be computed in another precision than its card says or `compute` asks for.
        MissingPackageError: when the library that runs it is not installed.
    """
    from dlcv.runtime.sessions.candidates import choose

    opened, _ = choose(_wanted(engine, device, session, compute, lanes, trust, window_hw))
    assert opened is not None  # else it has raised
    return opened


def explain_session(
    engine: str | Path,
    *,
    device: str = "auto",
    session: str = "auto",
    compute: str = "card",
    trust: Trust | None = None,
) -> list[Verdict]:
    """What `open_session` would choose, and why not the others: opens the file and closes it again.

    Raises:
        EngineError, CardError: as `open_session`, for what is wrong with the file or the request; that no session can run it is no
            error, but stands in the verdicts.
    """
    from dlcv.runtime.sessions.candidates import choose

    opened, verdicts = choose(_wanted(engine, device, session, compute, 1, trust, None), explain=True)
    if opened is not None:
        opened.close()
    return verdicts


def engine_card(engine: str | Path, *, device: str = "auto") -> ModelCard:
    """The model card of an engine file, before any library is loaded.

    Raises:
        EngineError, CardError: when it is no engine, cannot run on the device, or carries no card.
    """
    path = Path(engine)
    _engine_kind(path, device)
    return read_card(path)


def _wanted(
    engine: str | Path,
    device: str,
    session: str,
    compute: str,
    lanes: int,
    trust: Trust | None,
    window_hw: tuple[int, int] | None,
) -> Wanted:
    for what, value, known in (("session", session, SESSIONS), ("compute", compute, COMPUTES)):
        if value not in known:
            raise EngineError(f"unknown {what} {value!r}; known: {', '.join(known)}")
    path = Path(engine)
    kind = _engine_kind(path, device)
    trust = trust or Trust()
    data = check_engine(path, kind, trust)
    card = read_card(path, data).at_size(window_hw, str(path))
    return Wanted(
        path, kind, card, device=device, session=session, compute=compute, lanes=lanes,
        data=data, host_code=trust.host_code,
    )  # fmt: skip


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
        raise EngineError(f"{path} is a TensorRT plan and runs on an NVIDIA GPU only; {instead_of(path)}")
    if kind == "plan":
        read_plan_header(path)  # a plan cut short is told as one, not as one without a card
    return kind
