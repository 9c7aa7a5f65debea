"""One export: checkpoint, or several as an ensemble -> verified graph, plan, reference and sidecar, all under their final names or none.

Everything is made in a hidden folder beside the output and moved at the end, so that what fails leaves no file behind.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import onnx
import onnxruntime as ort
import torch

from dlcv.export.builders.build import PlanReport
from dlcv.export.builders.find import Builder, find_builder
from dlcv.export.builders.gpus import check_precision, impossible_precisions
from dlcv.export.builders.rebuild import plan_facts
from dlcv.export.export_plan import PlanDropsError, held_plan_stage, plan_of, repaired_for_plan
from dlcv.export.gate import nothing_to_lose
from dlcv.export.graph import DEFAULT_HEAD, HEADS
from dlcv.export.images import VERIFY_IMAGES, first_windows, images_to_calibrate_on, images_to_verify_on
from dlcv.export.onnx_from_checkpoint import onnx_from_model
from dlcv.export.openvino_stage import openvino_stage
from dlcv.export.precision.auto import LOW, Choice, choose
from dlcv.export.precision.calibration import CalibrationTiles
from dlcv.export.precision.low_precision import AUTO, Given, LowPrecision, low_precision
from dlcv.export.precision.proof import prove
from dlcv.export.reference import reference_bytes
from dlcv.export.settings import FORMATS, ExportSettings
from dlcv.export.sizes import range_for, verify_sizes
from dlcv.export.stages import RememberingSession, Stage, TwinSession, compare_stages
from dlcv.export.staging import final_names, move_all, staging_folder
from dlcv.export.verify import Verification, verify_graph
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import (
    ExportError,
    MissingPackageError,
    UsageError,
    VerdictError,
)
from dlcv.runtime.files import sha256_of, write_bytes
from dlcv.runtime.scoring.evaluation import NOUNS
from dlcv.runtime.sessions.cuda import driver_problem
from dlcv.runtime.version import __version__
from dlcv.train.checkpoints.ensemble import ensemble_of, load_members, sha256_of_members
from dlcv.train.checkpoints.session import TorchSession
from dlcv.train.models.registry import model_entry


@dataclass(frozen=True)
class ExportReport:
    """What an export gave: final paths, what was verified, the plan's report or why there is none, the low precision's, the stages.

    A text in place of a stage is why it did not run.
    """

    files: tuple[Path, ...]
    verification: Verification
    plan: PlanReport | None
    no_plan: str
    low: LowPrecision | None = None
    stages: Mapping[str, Stage | str] = field(default_factory=dict)


def export_model(settings: ExportSettings, say: Callable[[str], None] = lambda _: None) -> ExportReport:
    """Exports and verifies; see `ExportSettings`. `say` takes a line as each phase begins.

    Raises:
        UsageError: for an unknown model, head or format, or a head or an input size that the model cannot give or take.
        CheckpointError, DatasetError: when there is no checkpoint, or no images to verify on.
        MissingPackageError: when a plan is asked for and no builder is installed.
        ExportError: when the graph or the plan cannot be made.
        VerdictError: when the graph does not give what torch gives, or is not in the precision asked for.
        OutputError: when files cannot be written.
    """
    _check(settings)
    builder, no_plan = _builder(settings)
    newest_opset = None if builder is None else builder.opsets.newest
    members = load_members(settings.checkpoints, model=settings.model)
    network, card = ensemble_of(members, settings.checkpoints)
    card = _card(card, settings)
    origin = settings.checkpoints[0], members[0], card
    labelled = images_to_verify_on(settings.data, *origin, settings.precision, say, settings.split)
    tiles = images_to_calibrate_on(settings.precision, *origin, labelled)
    windows = first_windows(labelled.evenly(VERIFY_IMAGES[card.task]), card)
    session = TorchSession(network, card, torch.device("cpu"))
    say(
        f"exporting {', '.join(map(str, settings.checkpoints))} to ONNX: {card.model}, width {card.width:g}, {card.input_size_hw[0]} x {card.input_size_hw[1]}, head {card.head}"
        + (f", the mean of {card.members} checkpoints" if card.members > 1 else "")
    )
    proto = onnx_from_model(network, card, newest_opset=newest_opset)
    say(f"verifying on {len(windows)} {NOUNS[card.task]}s")
    torch32 = RememberingSession(session)
    verification = verify_graph(proto, card, torch32, windows)
    verification.require()
    prove(proto, "fp32").require()
    compared = compare_stages(torch32, {"onnx fp32": TwinSession(proto, card)}, labelled)
    stages: dict[str, Stage | str] = {**compared}
    unjudged = nothing_to_lose(compared["onnx fp32"].comparison, settings.precision.precision)
    given = Given(network, proto, card, torch32, labelled, windows, newest_opset)
    low, choice = _low(settings, given, tiles, builder, unjudged, say)
    base, repaired = _Base(settings, given, session, verification, stages, no_plan), False
    while True:
        try:
            return _finish(base, low, choice, say)
        except PlanDropsError as error:
            if choice is None and low is not None and settings.precision.repair and not repaired:
                say(f"{error}; building plans with layers restored")
                low, repaired = repaired_for_plan(settings, given, tiles, say), True
                continue
            failed: ExportError | VerdictError = error
        except (ExportError, VerdictError) as error:
            failed = error
        if choice is None or (choice := choice.without_it(str(failed))) is None:
            raise failed
        low = choice.low
        say(f"{failed}; taking {choice.precision}: {choice.why}")


@dataclass(frozen=True)
class _Base:
    """What is the same whichever precision is taken."""

    settings: ExportSettings
    given: Given
    session: TorchSession
    verification: Verification
    stages: Mapping[str, Stage | str]
    no_plan: str


def _finish(base: _Base, low: LowPrecision | None, choice: Choice | None, say: Callable[[str], None]) -> ExportReport:
    """Graph, plan, reference and sidecar of one precision under their final names; of what fails nothing is left."""
    settings, given, no_plan = base.settings, base.given, base.no_plan
    proto, card, verification, stages = given.proto, given.card, base.verification, dict(base.stages)
    if low is not None:
        proto, card, verification = low.proto, low.card, low.verification
        stages[f"onnx {card.precision}"] = low.stage
        if in_openvino := openvino_stage(low, given.session, given.labelled, settings.precision.max_drop, say):
            stages[f"onnx {card.precision} in OpenVINO"] = in_openvino
    sizes = verify_sizes(proto, card, given.network, given.labelled, say)
    with staging_folder(settings.output, settings.model) as staging:
        _write_graph(settings, staging, proto, reference_bytes(base.session, card, given.labelled))
        plan = None if no_plan else plan_of(settings, staging, card, lambda text: say(final_names(text, staging)))
        if plan is not None:
            stages["plan"] = held_plan_stage(settings, given, plan.path, proto, card, say)
        _write_sidecar(settings, staging, card, verification, plan, low, choice, stages, sizes)
        files = move_all(staging, settings.output)
    old_plan = settings.output / f"{settings.model}.plan"
    if plan is None and old_plan.exists():
        say(f"{old_plan} is of an earlier export and will be refused; build it anew with --format plan, or remove it")
    if plan is not None:
        plan = replace(plan, path=settings.output / plan.path.name)
    return ExportReport(files, verification, plan, no_plan, low, stages)


def _low(
    settings: ExportSettings,
    given: Given,
    tiles: CalibrationTiles | None,
    builder: Builder | None,
    unjudged: str,
    say: Callable[[str], None],
) -> tuple[LowPrecision | None, Choice | None]:
    """The graph in the precision asked for, None in float32; and with `auto` the choice. `unjudged`: why no low one can be judged."""
    asked = settings.precision
    if asked.precision == "fp32":
        return None, None
    if asked.precision != AUTO:
        return low_precision(given, asked, tiles, say), None
    assert tiles is not None
    onnx_alone = builder is None
    problem = "" if onnx_alone else driver_problem()
    never = {} if builder is None else impossible_precisions(builder, settings.build)
    never = dict.fromkeys(LOW, unjudged) if unjudged else never

    def engine(proto: onnx.ModelProto, card: ModelCard, folder: Path) -> Path:
        path = folder / f"{settings.model}.onnx"
        write_bytes(path, proto.SerializeToString(deterministic=True))
        return path if onnx_alone else plan_of(settings, folder, card, say).path

    choice = choose(
        given, asked, tiles, engine, f"a plan runs on a GPU and this machine has {problem}" if problem else "", say,
        target="onnx" if builder is None else builder.kind, impossible=never,
    )  # fmt: skip
    return choice.low, choice


def _check(settings: ExportSettings) -> None:
    if settings.head not in (None, *HEADS) or settings.format not in FORMATS:
        raise UsageError(
            f"unknown head {settings.head!r} or format {settings.format!r}; heads: {', '.join(HEADS)}; formats: {', '.join(FORMATS)}"
        )
    settings.precision.check()
    if settings.split is not None and settings.data is None:
        raise UsageError(
            "--split says which images of --data count; name the data as well, or leave it out: the run's probe/ did not train"
        )
    entry = model_entry(settings.model)
    if settings.head == "mask" and entry.task != "segmentation":
        raise UsageError(
            f"--head mask is for segmentation; {settings.model} classifies images: take probs, which is the default, or logits"
        )
    divisor = entry.size_divisor
    if settings.size_hw is not None and any(side % divisor for side in settings.size_hw):
        height, width = (-(-side // divisor) * divisor for side in settings.size_hw)
        raise UsageError(
            f"--size {settings.size_hw[0]} {settings.size_hw[1]} is not in multiples of {divisor}, which {settings.model} needs; use --size {height} {width}"
        )


def _builder(settings: ExportSettings) -> tuple[Builder | None, str]:
    """What builds the plan, or why none will be made, in words."""
    settings.build.check()
    if settings.format == "onnx":
        return None, "not asked for"
    try:
        builder = find_builder(settings.build.builder)
    except (MissingPackageError, ExportError) as error:
        if settings.format == "plan" or settings.build.builder != "auto":
            raise
        return None, str(error)
    settings.build.check_for(builder.can, builder.label)  # before the minutes of an export
    check_precision(builder, settings.build, settings.precision.precision)
    return builder, ""


def _card(card: ModelCard, settings: ExportSettings) -> ModelCard:
    versions = {
        "dlcv": __version__,
        "torch": str(torch.__version__),
        "onnx": onnx.__version__,
        "python": platform.python_version(),
    }
    size_hw = settings.size_hw or card.input_size_hw
    return card.changed(
        head=settings.head or DEFAULT_HEAD[card.task],
        input_size_hw=size_hw,
        short_side=round(card.short_side * max(size_hw) / max(card.input_size_hw)),
        checkpoint_sha256=sha256_of_members(settings.checkpoints),
        versions=versions,
        size_range=range_for(settings.model, card.task, size_hw, settings.dynamic_size),
    )


def _write_graph(settings: ExportSettings, staging: Path, proto: onnx.ModelProto, reference: bytes) -> None:
    write_bytes(staging / f"{settings.model}.onnx", proto.SerializeToString(deterministic=True))
    write_bytes(staging / f"{settings.model}.reference.npz", reference)


def _write_sidecar(
    settings: ExportSettings, staging: Path, card: ModelCard, verification: Verification, plan: PlanReport | None,
    low: LowPrecision | None, choice: Choice | None, stages: Mapping[str, Stage | str], sizes: Mapping[str, Verification],
) -> None:  # fmt: skip
    facts: dict[str, Any] = {
        "card": card.to_dict(),
        "verification": verification.to_dict() | {"onnxruntime": ort.__version__},
    }
    facts["stages"] = {
        name: {"ran": False, "why": stage} if isinstance(stage, str) else stage.to_dict()
        for name, stage in stages.items()
    }
    if low is not None:
        facts |= low.to_dict()
    if choice is not None:
        facts["auto"] = choice.to_dict()
    if plan is not None:
        facts["plan"] = plan_facts(plan)
    if sizes:
        facts["sizes"] = {size: found.to_dict() for size, found in sizes.items()}
    facts["files"] = {
        path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in sorted(staging.iterdir())
    }
    write_bytes(staging / f"{settings.model}.json", (json.dumps(facts, indent=1) + "\n").encode())
