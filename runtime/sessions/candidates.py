"""Every session that there is, the fastest first: which one opens a file, and why the others are passed over.

`open_session` and `--explain` walk the same list. The order is measured (benchmarks/results/sessions.md) where there was a machine to
measure on, a CPU of x86-64; on another architecture ONNX Runtime stands before OpenVINO. That a GPU comes first is not measured.
"""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from dlcv.runtime.errors import DlcvError, EngineError, PrecisionError
from dlcv.runtime.graphs.onnx_graph import read_onnx_graph
from dlcv.runtime.sessions.base import Session
from dlcv.runtime.sessions.cuda import driver_library_missing
from dlcv.runtime.sessions.executed import MIN_SESSION_SHARE
from dlcv.runtime.sessions.wanted import Wanted

_WEIGHTS = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16", "int8": "int8"}
_MAKE = {"plan": "build one with: dlcv-export --format plan", "onnx": "run the .onnx beside it"}


@dataclass(frozen=True)
class Candidate:
    """A library on a device.

    Attributes:
        session: one of `wanted.SESSIONS`.
        device: `cpu` or `cuda`.
        kind: of the files that it runs: `onnx` or `plan`.
        home: the module beside this one that opens them, imported on use.
        suffix: of its functions `check_SUFFIX`, which raises DlcvError for what cannot be run as far as that is known before, and
            `open_SUFFIX`; both take a `Wanted`.
    """

    session: str
    device: str
    kind: str
    home: str
    suffix: str

    @property
    def name(self) -> str:
        """For people, such as `openvino on cpu`."""
        return f"{self.session} on {self.device}"

    def check(self, wanted: Wanted) -> None:
        """Raises DlcvError when it cannot run the file at the precision asked for, as far as that is known before it is opened."""
        if self.kind != wanted.kind:
            raise EngineError(
                f"{self.session} runs .{self.kind} files, and {wanted.path} is a .{wanted.kind}; {_MAKE[self.kind]}"
            )
        if self.kind == "onnx" and self.device == "cuda" and (missing := driver_library_missing()):
            raise EngineError(f"this machine has {missing}")  # before a library is imported for nothing
        self._function("check")(wanted)

    def open(self, wanted: Wanted) -> Session:
        """Opens the file."""
        session = self._function("open")(wanted)
        assert isinstance(session, Session)
        return session

    def _function(self, verb: str) -> Callable[[Wanted], object]:
        module = import_module(f"dlcv.runtime.sessions.{self.home}")
        function: Callable[[Wanted], object] = getattr(module, f"{verb}_{self.suffix}")
        return function


TENSORRT = Candidate("tensorrt", "cuda", "plan", "trt", "wanted_plan")
ORT_TENSORRT = Candidate("onnxruntime-tensorrt", "cuda", "onnx", "onnxrt", "tensorrt")
ORT_CUDA = Candidate("onnxruntime", "cuda", "onnx", "onnxrt", "cuda")
OPENVINO = Candidate("openvino", "cpu", "onnx", "openvino", "openvino")
ORT_CPU = Candidate("onnxruntime", "cpu", "onnx", "onnxrt", "cpu")


@dataclass(frozen=True)
class Verdict:
    """What became of a candidate.

    Attributes:
        candidate: the candidate.
        chosen: whether it runs the file.
        reason: why not, or library, device and precision; a sentence without its full stop.
    """

    candidate: Candidate
    chosen: bool
    reason: str

    def __str__(self) -> str:
        return f"{'chosen' if self.chosen else 'passed over'}: {self.candidate.name}: {self.reason}"


def candidates(machine: str = "") -> tuple[Candidate, ...]:
    """All of them, the fastest first.

    Args:
        machine: the architecture; empty: this one's.
    """
    x86 = (machine or platform.machine()) in ("x86_64", "AMD64")
    return (TENSORRT, ORT_TENSORRT, ORT_CUDA, *((OPENVINO, ORT_CPU) if x86 else (ORT_CPU, OPENVINO)))


def choose(wanted: Wanted, *, explain: bool = False) -> tuple[Session | None, list[Verdict]]:
    """Opens a file in the fastest session that runs it as asked.

    Args:
        wanted: file, device, session, precision.
        explain: look at every candidate, and raise nothing where none can; else those behind the chosen one are not looked at.

    Returns:
        The session, and what became of the candidates, in their order.

    Raises:
        EngineError, PrecisionError, MissingPackageError: when none can; where one alone comes into question, its own.
    """
    _check_wanted(wanted)
    opened: Session | None = None
    refused: dict[Candidate, DlcvError] = {}
    failed: DlcvError | None = None
    verdicts = []
    for one in candidates():
        if reason := _not_asked_for(one, wanted):
            verdicts.append(Verdict(one, False, reason))
            continue
        try:
            one.check(wanted)
        except DlcvError as error:
            refused[one] = error
            verdicts.append(Verdict(one, False, str(error)))
            continue
        if opened is not None:
            verdicts.append(Verdict(one, False, "it would run the file too; the fastest comes first"))
            continue
        try:
            opened = one.open(wanted)
        except DlcvError as error:  # the next one may know an operator that this one does not, or keep the precision
            refused[one] = failed = error
            verdicts.append(Verdict(one, False, str(error)))
            continue
        verdicts.append(Verdict(one, True, opened.description))
        if not explain:
            break
    if opened is None and not explain:
        raise failed or _nothing_left(wanted, refused)
    return opened, verdicts


def _check_wanted(wanted: Wanted) -> None:
    """Refuses what no session could do."""
    if not any(not _not_asked_for(one, wanted) for one in candidates()):
        where = " or ".join(sorted({one.device for one in candidates() if one.session == wanted.session}))
        raise EngineError(f"--session {wanted.session} runs on {where}, not on {wanted.device}; leave --device out")
    if wanted.compute != "card" and wanted.kind == "plan":
        raise EngineError(
            f"--compute {wanted.compute} is for a graph: what {wanted.path} computes in was decided when it was built; leave it out"
        )
    if wanted.compute != "card" and wanted.card.precision != "fp32":
        raise EngineError(
            f"--compute {wanted.compute} is for a graph in fp32, and {wanted.path} is in {wanted.card.precision}; leave it out"
        )
    if wanted.kind == "onnx":
        _check_label(wanted)


def _check_label(wanted: Wanted) -> None:
    """The weights of most convolutions and matrix products must be of the type that the card names: libraries run what is there."""
    kernels, kind = read_onnx_graph(wanted.path, wanted.data).kernels, _WEIGHTS[wanted.card.precision]
    known = sum(count for name, count in kernels.items() if name != "computed")
    if known and not kernels[kind] >= MIN_SESSION_SHARE * known:
        raise PrecisionError(
            f"{wanted.path} says {wanted.card.precision}, and {kernels[kind]} of its {known} convolutions and matrix products are in {kind}; export it again"
        )


def _not_asked_for(one: Candidate, wanted: Wanted) -> str:
    if wanted.session not in ("auto", one.session):
        return f"--session {wanted.session} was given"
    if wanted.device not in ("auto", one.device):
        return f"--device {wanted.device} was given"
    return ""


def _nothing_left(wanted: Wanted, refused: dict[Candidate, DlcvError]) -> DlcvError:
    fitting = {one: error for one, error in refused.items() if one.kind == wanted.kind} or refused
    if len(fitting) == 1:
        return next(iter(fitting.values()))
    if wanted.device == "cuda":
        return EngineError(f"--device cuda: {fitting[ORT_CUDA]}; run with --device cpu")
    fitting.pop(ORT_TENSORRT, None)  # only where it alone is asked for
    reasons = "; ".join(f"{one.name}: {error}" for one, error in fitting.items())
    return EngineError(f"{wanted.path} ({wanted.precision}) runs in no session here: {reasons}")
