"""A plan anew from an exported graph, with neither torch nor the checkpoint: `dlcv-export --onnx`.

The sidecar beside the graph is held to the graph before, and lists the new plan afterwards.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dlcv.export.builders.build import PlanReport, build_plan
from dlcv.export.builders.options import BuildOptions
from dlcv.export.builders.timing import SUFFIX as TIMING_SUFFIX
from dlcv.runtime.card.reader import kind_of, read_card
from dlcv.runtime.card.sidecar import check_sidecar, listed_files
from dlcv.runtime.errors import ExportError, UsageError
from dlcv.runtime.files import make_folder, sha256_of, write_bytes
from dlcv.runtime.provenance.graph import check_graph

RTX_CACHE_SUFFIX = ".rtxcache"


def plan_facts(report: PlanReport) -> dict[str, Any]:
    """What a sidecar holds of a plan, as JSON values."""
    facts = {"card": report.card.to_dict(), "built": report.sentence, "warnings": list(report.warnings), "proof": report.proof.to_dict()}  # fmt: skip
    return facts | ({"ran": report.ran} if report.ran else {})


def rebuild_plan(
    onnx_path: Path,
    output: Path | None,
    options: BuildOptions,
    say: Callable[[str], None],
    min_share: float | None = None,
) -> PlanReport:
    """Builds `NAME.plan` from `NAME.onnx`.

    Args:
        onnx_path: an exported graph.
        output: folder of the plan; None for the graph's own.
        options: of the build.
        say: takes a line as each phase begins.
        min_share: of the multiply-adds that must be in the graph's precision, 0..1; None takes what its export was held to.

    Raises:
        UsageError: when the file is no graph, or for an option that the builder does not have.
        EngineError: when the graph is not the one that its sidecar lists: it was changed after its export; or when it keeps weights in
            other files, or needs operators of a library.
        CardError: when the graph carries no card.
        ExportError, MissingPackageError, OutputError: as `build_plan`.
    """
    if not onnx_path.is_file():
        raise UsageError(f"{onnx_path} does not exist; expected a graph made with: dlcv-export --model NAME")
    if kind_of(onnx_path) != "onnx":
        raise UsageError(
            f"{onnx_path} is a {kind_of(onnx_path)}, not a graph; expected the .onnx that a plan is built from"
        )
    check_sidecar(onnx_path)
    check_graph(onnx_path, alone=True)
    card = read_card(onnx_path)
    if card.head == "none":
        raise ExportError(f"{onnx_path} has no head; export it again")
    folder = onnx_path.parent if output is None else output
    make_folder(folder)
    plan_path = folder / f"{onnx_path.stem}.plan"
    with_sidecar = folder / f"{onnx_path.stem}.json"
    if output is not None and listed_files(with_sidecar) and onnx_path.name not in listed_files(with_sidecar):
        raise UsageError(
            f"{with_sidecar} is of another export, and would no longer fit; choose another folder with --output"
        )
    report = build_plan(
        onnx_path,
        plan_path,
        card=card,
        options=options,
        timing_cache=folder / f"{onnx_path.stem}{TIMING_SUFFIX}",
        min_share=_exported_share(onnx_path) if min_share is None else min_share,
        progress=say,
    )
    plan_path.with_name(plan_path.name + RTX_CACHE_SUFFIX).unlink(missing_ok=True)  # of the plan before
    _list_plan(with_sidecar, report, onnx_path)
    return report


def _exported_share(onnx_path: Path) -> float | None:
    """The share that the graph's own export was held to, from its sidecar, which was checked; None where it does not say."""
    sidecar = onnx_path.with_suffix(".json")
    proof = json.loads(sidecar.read_bytes()).get("proof") if listed_files(sidecar) else None
    share = proof.get("min_share") if isinstance(proof, dict) else None
    return float(share) if isinstance(share, (int, float)) and 0 <= share <= 1 else None


def _list_plan(sidecar: Path, report: PlanReport, onnx_path: Path) -> None:
    """Writes the new plan into the sidecar, where there is one of an export; else a sidecar of the plan and a graph beside it."""
    facts: dict[str, Any] = {"card": report.card.to_dict(), "files": {}}
    if listed_files(sidecar):
        facts = json.loads(sidecar.read_bytes())
    files = facts.pop("files")
    facts["plan"] = plan_facts(report)
    if onnx_path.parent.samefile(sidecar.parent) and onnx_path.name not in files:
        files[onnx_path.name] = {"sha256": report.card.onnx_sha256, "bytes": onnx_path.stat().st_size}
    files[report.path.name] = {"sha256": sha256_of(report.path), "bytes": report.path.stat().st_size}
    facts["files"] = dict(sorted(files.items()))
    write_bytes(sidecar, (json.dumps(facts, indent=1) + "\n").encode())
