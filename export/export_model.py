"""One export: checkpoint, or several as an ensemble -> verified graph, plan, reference and sidecar, all under their final names or none.

Everything is made in a hidden folder beside the output and moved at the end, so that what fails leaves no file behind.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray

from dlcv.export.auto import Choice, choose
from dlcv.export.calibration import CalibrationTiles, calibration_tiles
from dlcv.export.graph import DEFAULT_HEAD, HEADS
from dlcv.export.low_precision import AUTO, Given, LowPrecision, PrecisionSettings, low_precision
from dlcv.export.onnx_from_checkpoint import onnx_from_model
from dlcv.export.plan_from_onnx import PlanReport, find_builder, plan_from_onnx
from dlcv.export.proof import prove
from dlcv.export.reference import reference_bytes
from dlcv.export.stages import RememberingSession, Stage, TwinSession, compare_stages, plan_stage, require_stage
from dlcv.export.verify import Verification, verify_graph
from dlcv.runtime.card import ModelCard
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.datasets.loading import labelled_for
from dlcv.runtime.datasets.masks.description import description_from_dict
from dlcv.runtime.datasets.masks.pairs import find_pairs, validation_pairs
from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.runtime.errors import (
    DatasetError,
    DlcvError,
    ExportError,
    MissingPackageError,
    OutputError,
    TileError,
    UsageError,
)
from dlcv.runtime.evaluation import NOUNS
from dlcv.runtime.files import make_folder, sha256_of, write_bytes
from dlcv.runtime.fitting import fit_to_card
from dlcv.runtime.sessions.base import Session
from dlcv.runtime.sessions.cuda import driver_problem
from dlcv.runtime.version import __version__
from dlcv.train.checkpoint import Checkpoint
from dlcv.train.ensemble import ensemble_of, load_members, sha256_of_members
from dlcv.train.kept import FOLDER as KEPT_FOLDER
from dlcv.train.models.registry import model_entry
from dlcv.train.probe import PROBE_COUNT, read_probe
from dlcv.train.session import TorchSession

FORMATS = ("auto", "onnx", "plan")
VERIFY_IMAGES = {"segmentation": 32, "classification": PROBE_COUNT["classification"]}
"""How many images verification takes at most, evenly spaced; a classifier's bounds count on all of its probe."""


@dataclass(frozen=True)
class ExportSettings:
    """What an export was asked to do.

    Attributes:
        model: name in the registry; the checkpoints must be of it.
        checkpoints: a `best.pt` or `last.pt`; several become one graph that averages their probabilities.
        output: folder of the files, which are named after the model.
        format: `onnx`; `plan` as well; or `auto`: a plan where a builder is importable.
        head: `mask` (segmentation alone), `probs` or `logits`; None takes the task's own: `mask`, `probs`.
        max_batch: the largest batch of a plan.
        data: labelled images to verify on; None takes the probe of the first checkpoint's run.
        size_hw: input size in pixels; None takes the checkpoint's. The short side of classification grows and shrinks with it.
        builder: see `plan_from_onnx.find_builder`.
        precision: of the graph, what it must hold, and what int8 is calibrated on.
    """

    model: str
    checkpoints: tuple[Path, ...]
    output: Path
    format: str = "auto"
    head: str | None = None
    max_batch: int = 16
    data: Path | None = None
    size_hw: tuple[int, int] | None = None
    builder: str = "auto"
    precision: PrecisionSettings = field(default_factory=PrecisionSettings)


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
    no_plan = _why_no_plan(settings)
    members = load_members(settings.checkpoints, model=settings.model)
    network, card = ensemble_of(members, settings.checkpoints)
    card = _card(card, settings)
    labelled = _labelled(settings, members[0], card, say)
    windows = _windows(labelled, card)
    session = TorchSession(network, card, torch.device("cpu"))
    say(
        f"exporting {', '.join(map(str, settings.checkpoints))} to ONNX: {card.model}, width {card.width:g}, {card.input_size_hw[0]} x {card.input_size_hw[1]}, head {card.head}"
        + (f", the mean of {card.members} checkpoints" if card.members > 1 else "")
    )
    proto = onnx_from_model(network, card)
    say(f"verifying on {len(labelled)} {NOUNS[card.task]}s")
    torch32 = RememberingSession(session)
    verification = verify_graph(proto, card, torch32, windows)
    verification.require()
    prove(proto, "fp32").require()
    stages: dict[str, Stage | str] = {**compare_stages(torch32, {"onnx fp32": TwinSession(proto, card)}, labelled)}
    tiles = _calibration(settings, members[0], card, labelled)
    low, choice = _low(settings, Given(network, proto, card, torch32, labelled, windows), tiles, bool(no_plan), say)
    if low is not None:
        proto, card, verification = low.proto, low.card, low.verification
        stages[f"onnx {card.precision}"] = low.stage
    with _staging(settings) as staging:
        _write_graph(settings, staging, proto, reference_bytes(session, card, labelled))
        plan = None if no_plan else _plan(settings, staging, card, lambda text: say(_final(text, staging)))
        if plan is not None:
            stages["plan"] = _plan_stage(settings, plan.path, torch32, card, labelled)
        _write_sidecar(settings, staging, card, verification, plan, low, choice, stages)
        files = _move_all(staging, settings.output)
    old_plan = settings.output / f"{settings.model}.plan"
    if plan is None and old_plan.exists():
        say(f"{old_plan} is of an earlier export and will be refused; build it anew with --format plan, or remove it")
    if plan is not None:
        plan = replace(plan, path=settings.output / plan.path.name)
    return ExportReport(files, verification, plan, no_plan, low, stages)


def _low(
    settings: ExportSettings, given: Given, tiles: CalibrationTiles | None, onnx_alone: bool, say: Callable[[str], None]
) -> tuple[LowPrecision | None, Choice | None]:
    """The graph in the precision asked for, None in float32; and with `auto` the choice."""
    asked = settings.precision
    if asked.precision == "fp32":
        return None, None
    if asked.precision != AUTO:
        return low_precision(given, asked, tiles, say), None
    assert tiles is not None
    problem = "" if onnx_alone else driver_problem()

    def engine(proto: onnx.ModelProto, card: ModelCard, folder: Path) -> Path:
        path = folder / f"{settings.model}.onnx"
        write_bytes(path, proto.SerializeToString(deterministic=True))
        return path if onnx_alone else _plan(settings, folder, card, say).path

    choice = choose(
        given, asked, tiles, engine, f"a plan runs on a GPU and this machine has {problem}" if problem else "", say
    )
    return choice.low, choice


def _plan_stage(
    settings: ExportSettings, plan: Path, reference: Session, card: ModelCard, labelled: LabelledSet[Any]
) -> Stage | str:
    """The plan against torch, held to the bounds of its precision; why it did not run where it did not."""
    stage = plan_stage(plan, reference, labelled)
    if isinstance(stage, str):
        return _final(stage, plan.parent)
    require_stage(stage.comparison, card.precision, settings.precision.max_drop)
    return stage


def _check(settings: ExportSettings) -> None:
    if settings.head not in (None, *HEADS) or settings.format not in FORMATS:
        raise UsageError(
            f"unknown head {settings.head!r} or format {settings.format!r}; heads: {', '.join(HEADS)}; formats: {', '.join(FORMATS)}"
        )
    settings.precision.check()
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


def _why_no_plan(settings: ExportSettings) -> str:
    """Why no plan will be made, in words; empty when one will."""
    if settings.format == "onnx":
        return "not asked for"
    try:
        find_builder(settings.builder)
    except (MissingPackageError, ExportError) as error:
        if settings.format == "plan" or settings.builder != "auto":
            raise
        return str(error)
    return ""


def _labelled(
    settings: ExportSettings, checkpoint: Checkpoint, card: ModelCard, say: Callable[[str], None]
) -> LabelledSet[Any]:
    """Images to verify on: from `data`, else the run's probe."""
    path = settings.checkpoints[0]
    if settings.data is None:
        run = path.parent.parent if path.parent.name == KEPT_FOLDER else path.parent
        labelled = read_probe(run / "probe", checkpoint.probe_sha256, card)
    elif card.task == "segmentation":  # what masks mean stands in the checkpoint, also where the dataset is one's own
        masks = description_from_dict(checkpoint.dataset, "of the checkpoint", source=str(path))
        labelled = SegmentationSet(validation_pairs(settings.data, masks), masks)
    else:
        labelled = labelled_for(card, settings.data, say=say)
    return labelled.evenly(VERIFY_IMAGES[labelled.task])


def _calibration(
    settings: ExportSettings, checkpoint: Checkpoint, card: ModelCard, verified: LabelledSet[Any]
) -> CalibrationTiles | None:
    """What int8 is calibrated on; None for another precision."""
    asked = settings.precision
    if asked.precision not in ("int8", AUTO):
        return None
    candidates: LabelledSet[Any] | None = None
    if asked.calibration_data is not None and card.task == "segmentation":  # a folder of pairs holds masks too
        masks = description_from_dict(checkpoint.dataset, "of the checkpoint", source=str(settings.checkpoints[0]))
        with suppress(DatasetError):
            candidates = SegmentationSet(find_pairs(asked.calibration_data, masks), masks)
    return calibration_tiles(asked.calibration_data, asked.calibration_tiles, card, verified, candidates)


def _windows(labelled: LabelledSet[Any], card: ModelCard) -> list[NDArray[np.uint8]]:
    """The first window of each image."""
    windows = []
    for example in labelled.examples:
        try:
            windows.append(fit_to_card(labelled.image(example), card).windows[0])
        except (DatasetError, TileError) as error:
            text = f"{example.name}: {error}" if isinstance(error, TileError) else str(error)
            raise DatasetError(f"{text}; verification needs {NOUNS[card.task]}s that can be read") from error
    return windows


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
    )


@contextmanager
def _staging(settings: ExportSettings) -> Iterator[Path]:
    """A hidden folder in the output folder, gone at the end; errors from inside speak of final names."""
    make_folder(settings.output)
    try:
        staging = Path(tempfile.mkdtemp(prefix=f".{settings.model}.", suffix=".partial", dir=settings.output))
    except OSError as error:
        raise OutputError(
            f"cannot write into {settings.output}: {error.strerror or error}; choose another folder with --output"
        ) from error
    try:
        yield staging
    except OSError as error:
        raise OutputError(f"cannot write into {settings.output}: {error.strerror or error}") from error
    except DlcvError as error:
        error.args = tuple(
            _final(argument, staging) if isinstance(argument, str) else argument for argument in error.args
        )
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _final(text: str, staging: Path) -> str:
    """`text` with final names in place of those in the staging folder."""
    return text.replace(str(staging / "x")[:-1], str(staging.parent / "x")[:-1])


def _write_graph(settings: ExportSettings, staging: Path, proto: onnx.ModelProto, reference: bytes) -> None:
    write_bytes(staging / f"{settings.model}.onnx", proto.SerializeToString(deterministic=True))
    write_bytes(staging / f"{settings.model}.reference.npz", reference)


def _plan(settings: ExportSettings, staging: Path, card: ModelCard, say: Callable[[str], None]) -> PlanReport:
    return plan_from_onnx(
        staging / f"{settings.model}.onnx",
        staging / f"{settings.model}.plan",
        card=card,
        max_batch=settings.max_batch,
        optimum_batch=min(8, settings.max_batch),
        builder=settings.builder,
        progress=say,
    )


def _write_sidecar(
    settings: ExportSettings, staging: Path, card: ModelCard, verification: Verification, plan: PlanReport | None,
    low: LowPrecision | None, choice: Choice | None, stages: Mapping[str, Stage | str],
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
        facts["plan"] = {"card": plan.card.to_dict(), "built": plan.sentence, "warnings": list(plan.warnings)}
    facts["files"] = {
        path.name: {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path in sorted(staging.iterdir())
    }
    write_bytes(staging / f"{settings.model}.json", (json.dumps(facts, indent=1) + "\n").encode())


def _move_all(staging: Path, output: Path) -> tuple[Path, ...]:
    """Moves the files to their final names, the sidecar last; when one cannot be moved, those before it are taken away again."""
    moved: list[Path] = []
    for path in sorted(staging.iterdir(), key=lambda path: (path.suffix == ".json", path.name)):
        target = output / path.name
        try:
            os.replace(path, target)
        except OSError as error:
            for done in moved:
                done.unlink(missing_ok=True)
            raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
        moved.append(target)
    return tuple(moved)
