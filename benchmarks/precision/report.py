"""The table of precisions and stages, and what became of planted faults: Markdown and JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dlcv.benchmarks.precision.plants import Planted
from dlcv.benchmarks.precision.speed import BASE, Speed
from dlcv.benchmarks.precision.stages import SESSIONS, Row, torch_scores
from dlcv.benchmarks.timing import PairedRatio
from dlcv.export.stages import Stage
from dlcv.runtime.tables import markdown_table

SCHEMA = 1
LABELS = {"onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
Speeds = Mapping[tuple[str, str], Speed]


def stage_table(rows: Sequence[Row]) -> str:
    """A row a precision, a column a stage: the score, and in which type a session computed it."""
    torch32, first = torch_scores(rows), next((row for row in rows if row.precision == BASE), None)
    header = ["precision", "torch fp32", "graph fp32", "graph", *(LABELS[name] for name in SESSIONS), "plan"]
    cells = []
    for row in rows:
        base = "-" if first is None else _score(first.stages.get("graph"))
        reference = "-" if torch32 is None else f"{torch32.headline:.4f}"
        if row.failed:
            cells.append([row.precision, reference, base, "refused", *["-"] * (len(SESSIONS) + 1)])
            continue
        ran = [_ran(row, name) for name in SESSIONS]
        cells.append([row.precision, reference, base, _score(row.stages.get("graph")), *ran, _plan(row)])
    return markdown_table(header, cells)


def _score(stage: Stage | str | None) -> str:
    return f"{stage.comparison.candidate.headline:.4f}" if isinstance(stage, Stage) else "-"


def _ran(row: Row, session: str) -> str:
    stage = row.stages.get(session)
    return f"{_score(stage)} in {row.computes[session]}" if isinstance(stage, Stage) else "not run"


def _plan(row: Row) -> str:
    stage = row.stages.get("plan")
    if isinstance(stage, Stage):
        return _score(stage)
    return "built, not run" if row.bytes[1] else "refused" if row.no_plan else "-"


def figure_table(rows: Sequence[Row]) -> str:
    """Agreement, logits, NaN and Inf of the graph's twin; agreement of the sessions; the class that falls furthest; sizes; repair."""
    header = ["precision", "agreement", *(f"in {LABELS[name]}" for name in SESSIONS), "logits by", "NaN, Inf", "furthest class",
              "ONNX bytes", "plan bytes", "restored"]  # fmt: skip
    cells = []
    for row in rows:
        stage = row.stages.get("graph")
        if not isinstance(stage, Stage):
            continue
        worst, apart = stage.worst_class(), stage.comparison.logit_difference
        cells.append([
            row.precision, _agreement(stage), *(_agreement(row.stages.get(name)) for name in SESSIONS),
            "-" if apart is None else f"{apart:.3g}", f"{_count(stage.nan)}, {_count(stage.infinite)}",
            "-" if worst is None or not worst[1] < 0 else f"{worst[0]} {worst[1]:+.4f}",
            f"{row.bytes[0]:,}", f"{row.bytes[1]:,}" if row.bytes[1] else "-", ", ".join(row.restored) or "-",
        ])  # fmt: skip
    return markdown_table(header, cells)


def _agreement(stage: Stage | str | None) -> str:
    return f"{stage.comparison.agreement:.5f}" if isinstance(stage, Stage) else "-"


def _count(value: int | None) -> str:
    return "-" if value is None else str(value)


def speed_table(found: Speeds) -> str:
    """Ratios to float32 in the same library: wall-clock, and CPU time."""
    header = ["precision", "session", "time by fp32's", "CPU time by fp32's"]
    cells = [[precision, LABELS[session], str(one.wall), str(one.cpu)] for (precision, session), one in found.items()]
    return markdown_table(header, cells)


def proof_lines(rows: Sequence[Row]) -> list[str]:
    """What proof each file carries, what each session ran, and why something was not run or not left."""
    lines = []
    for row in rows:
        if row.failed:
            lines.append(f"{row.precision}: refused: {row.failed}")
            continue
        lines.append(f"{row.precision}, graph: {row.proof or 'no proof on the card'}")
        lines += [f"{row.precision}, {LABELS[name]}: {text}" for name, text in row.executed.items() if name in LABELS]
        if row.plan_proof:
            lines.append(f"{row.precision}, plan: {row.plan_proof}")
        why = {name: stage for name, stage in row.stages.items() if isinstance(stage, str)}
        lines += [f"{row.precision}, {LABELS.get(name, name)} did not run: {text}" for name, text in why.items()]
    return lines


def plant_table(planted: Sequence[Planted]) -> str:
    """A row a fault: caught, repaired, and what it would have cost."""
    header = ["fault", "precision", "caught", "repaired by restoring", "torch fp32", "without the gate", "left by the export"]  # fmt: skip
    cells = [
        [
            one.fault, one.precision, one.verdict, ", ".join(one.repaired) or "-",
            f"{one.torch:.4f}", f"{one.unguarded:.4f}",
            f"{one.after:.4f}" if one.after is not None else f"{one.files} files",
        ]
        for one in planted
    ]  # fmt: skip
    return markdown_table(header, cells)


def as_markdown(name: str, images: str, rows: Sequence[Row], speed: Speeds, planted: Sequence[Planted]) -> str:
    """All of it.

    Args:
        name: of the model.
        images: how many and which, in words.
        rows, speed, planted: empty where they were not asked for.
    """
    parts = [f"## `{name}`, {images}"]
    if rows:
        parts += [stage_table(rows), figure_table(rows)]
    if speed:
        parts.append(speed_table(speed))
    if rows:
        parts.append("\n".join(f"- {line}" for line in proof_lines(rows)))
    if planted:
        parts.append(plant_table(planted))
        by = [f"{one.fault} ({one.precision}): {one.by}" for one in planted if one.by]
        by += [f"{one.fault} ({one.precision}), told: {line}" for one in planted for line in one.told]
        parts.append("\n".join(f"- {line}" for line in by))
    return "\n\n".join(parts) + "\n"


def to_dict(
    name: str,
    images: str,
    rows: Sequence[Row],
    speed: Speeds,
    planted: Sequence[Planted],
    environment: Mapping[str, Any],
) -> dict[str, Any]:
    """As JSON values."""
    return {
        "kind": "dlcv-precision", "schema": SCHEMA, "environment": dict(environment), "model": name, "images": images,
        "rows": [_row(row) for row in rows],
        "speed": [{"precision": key[0], "session": key[1], "wall": _ratio(one.wall), "cpu": _ratio(one.cpu)} for key, one in speed.items()],
        "planted": [asdict(one) | {"harmless": one.harmless, "verdict": one.verdict} for one in planted],
    }  # fmt: skip


def _row(row: Row) -> dict[str, Any]:
    stages = {
        name: {"ran": False, "why": stage} if isinstance(stage, str) else stage.to_dict()
        for name, stage in row.stages.items()
    }
    return {
        "precision": row.precision, "failed": row.failed, "stages": stages, "computes": row.computes, "executed": row.executed,
        "onnx_bytes": row.bytes[0], "plan_bytes": row.bytes[1], "proof": row.proof, "plan_proof": row.plan_proof,
        "no_plan": row.no_plan, "restored": list(row.restored),
    }  # fmt: skip


def _ratio(ratio: PairedRatio) -> dict[str, Any]:
    return asdict(ratio)
