"""An export of each precision through the export's own gate, and what every stage of it makes of all validation images.

The export verifies on some images; the scores here are of all, with the files that it left.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
import torch

from dlcv.benchmarks.precision.subject import Subject
from dlcv.export.export_model import export_model
from dlcv.export.precision.low_precision import PrecisionSettings
from dlcv.export.settings import ExportSettings
from dlcv.export.stages import RememberingSession, Stage, TwinSession, compare_stages
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import DlcvError, ExportError, VerdictError
from dlcv.runtime.machine import cpu_count
from dlcv.runtime.sessions import open_session
from dlcv.runtime.sessions.base import Session
from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint
from dlcv.train.checkpoints.session import TorchSession

PRECISIONS = ("fp32", "fp16", "bf16", "int8", "int8 with fp16")
SESSIONS = ("onnxruntime", "openvino")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Row:
    """A precision of a run.

    Attributes:
        precision: one of `PRECISIONS`.
        failed: why there is no file; empty where there is one.
        stages: by name (`graph`: the twin that verification runs, `onnxruntime`, `openvino`, `plan`) what all validation images gave,
            or why it did not run.
        computes: by session, what it says that it computes in.
        executed: by session, what it ran its layers in, in a line.
        bytes: sizes of the graph and of the plan; 0 where there is none.
        proof: of the card of the graph.
        plan_proof: of the plan's card, and what was compiled.
        no_plan: why there is no plan.
        restored: layers that were put back to float32.
        graph: the file.
    """

    precision: str
    failed: str = ""
    stages: dict[str, Stage | str] = field(default_factory=dict)
    computes: dict[str, str] = field(default_factory=dict)
    executed: dict[str, str] = field(default_factory=dict)
    bytes: tuple[int, int] = (0, 0)
    proof: str = ""
    plan_proof: str = ""
    no_plan: str = ""
    restored: tuple[str, ...] = ()
    graph: Path | None = None


def torch_session(checkpoint: Path) -> RememberingSession:
    """A checkpoint in torch, in float32 on the CPU."""
    loaded = load_checkpoint(checkpoint)
    return RememberingSession(TorchSession(model_from_checkpoint(loaded), loaded.card, torch.device("cpu")))


def settings_of(subject: Subject, precision: str, output: Path, **changed: Any) -> ExportSettings:
    """Of an export as the table makes it: all that the command sets by itself, verified and calibrated on the subject's images."""
    kind, _, rest = precision.partition(" with ")
    calibration = subject.calibration if kind == "int8" else None
    asked = PrecisionSettings(kind, calibration_data=calibration, rest=rest or "fp32")
    settings = ExportSettings(subject.card.model, (subject.checkpoint,), output, data=subject.data, precision=asked)
    return replace(settings, **changed)


def row_of(subject: Subject, reference: Session, precision: str, folder: Path, say: Say = lambda _: None) -> Row:
    """Exports a precision and runs its stages over all validation images.

    Args:
        subject: the run.
        reference: `torch_session` of it.
        precision: one of `PRECISIONS`.
        folder: for the files.
        say: takes the export's lines.

    Raises:
        DatasetError: when an image or its label cannot be read.
    """
    try:
        no_plan = _exported(subject, precision, folder, say)
    except (ExportError, VerdictError) as error:
        return Row(precision, failed=str(error))
    name = subject.card.model
    graph, plan = folder / f"{name}.onnx", folder / f"{name}.plan"
    facts = json.loads((folder / f"{name}.json").read_text())
    stages, computes, executed = _stages(graph, plan if plan.exists() else None, reference, subject, no_plan)
    return Row(
        precision, stages=stages, computes=computes, executed=executed,
        bytes=(graph.stat().st_size, plan.stat().st_size if plan.exists() else 0),
        proof=read_card(graph).proof, plan_proof=_plan_proof(facts), no_plan=no_plan,
        restored=tuple(one["name"] for one in facts.get("repair", {}).get("restored", ())), graph=graph,
    )  # fmt: skip


def _exported(subject: Subject, precision: str, folder: Path, say: Say) -> str:
    """Exports; where the plan is what fails, the graph alone. Returns why there is no plan."""
    settings = settings_of(subject, precision, folder)
    try:
        return export_model(settings, say).no_plan
    except (ExportError, VerdictError) as error:
        why = str(error)
    export_model(replace(settings, format="onnx"), say)
    return why


def _stages(
    graph: Path, plan: Path | None, reference: Session, subject: Subject, no_plan: str
) -> tuple[dict[str, Stage | str], dict[str, str], dict[str, str]]:
    """By name: stages, what a session computes in, what it ran."""
    computes: dict[str, str] = {}
    executed: dict[str, str] = {}
    refused: dict[str, str] = {} if plan else {"plan": no_plan}
    with ExitStack() as stack:
        sessions: dict[str, Session] = {"graph": TwinSession(onnx.load(graph), read_card(graph))}
        files = dict.fromkeys(SESSIONS, graph) | ({"plan": plan} if plan else {})
        for name, path in files.items():
            try:
                opened = stack.enter_context(_opened(path, name))
            except DlcvError as error:
                refused[name] = str(error)
                continue
            sessions[name], computes[name] = opened, opened.computes
            ran = opened.executed()
            executed[name] = "not told" if ran is None else ran.sentence()
        found: dict[str, Stage | str] = {**compare_stages(reference, sessions, subject.validation)}
    return found | refused, computes, executed


def _opened(path: Path, session: str) -> Session:
    if session == "plan":
        return open_session(path)
    return open_session(path, device="cpu", session=session, lanes=cpu_count())


def _plan_proof(facts: dict[str, Any]) -> str:
    plan = facts.get("plan")
    return "" if plan is None else f"{plan['card']['proof']}; {plan['proof']['sentence']}"


def torch_scores(rows: Sequence[Row]) -> Any:
    """Torch's scores, from any stage that ran; None where none did."""
    ran = (stage for row in rows for stage in row.stages.values() if isinstance(stage, Stage))
    first = next(ran, None)
    return None if first is None else first.comparison.reference
