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

from dlcv.export.builders.build import PlanReport, build_plan
from dlcv.export.builders.find import Builder, find_builder
from dlcv.export.builders.options import BuildOptions
from dlcv.export.builders.rebuild import plan_facts
from dlcv.export.builders.timing import SUFFIX as TIMING_SUFFIX
from dlcv.export.calibration import CalibrationTiles, calibration_tiles
from dlcv.export.graph import DEFAULT_HEAD, HEADS
from dlcv.export.low_precision import Given, LowPrecision, PrecisionSettings, low_precision
from dlcv.export.onnx_from_checkpoint import onnx_from_model
from dlcv.export.proof import prove
from dlcv.export.reference import reference_bytes
from dlcv.export.sizes import range_for, verify_sizes
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
        data: labelled images to verify on; None takes the probe of the first checkpoint's run.
        size_hw: input size in pixels; None takes the checkpoint's. The short side of classification grows and shrinks with it.
        dynamic_size: smallest height and width and largest height and width, in pixels, where both shall vary; segmentation alone.
        build: of the plan.
        precision: of the graph, what it must hold, and what int8 is calibrated on.
    """

    model: str
    checkpoints: tuple[Path, ...]
    output: Path
    format: str = "auto"
    head: str | None = None
    data: Path | None = None
    size_hw: tuple[int, int] | None = None
    dynamic_size: tuple[int, int, int, int] | None = None
    build: BuildOptions = field(default_factory=BuildOptions)
    precision: PrecisionSettings = field(default_factory=PrecisionSettings)


@dataclass(frozen=True)
class ExportReport:
    """What an export gave: final paths, what was verified, the plan's report or why there is none, and the low precision's."""

    files: tuple[Path, ...]
    verification: Verification
    plan: PlanReport | None
    no_plan: str
    low: LowPrecision | None = None


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
    labelled = _labelled(settings, members[0], card, say)
    windows = _windows(labelled, card)
    session = TorchSession(network, card, torch.device("cpu"))
    say(
        f"exporting {', '.join(map(str, settings.checkpoints))} to ONNX: {card.model}, width {card.width:g}, {card.input_size_hw[0]} x {card.input_size_hw[1]}, head {card.head}"
        + (f", the mean of {card.members} checkpoints" if card.members > 1 else "")
    )
    proto = onnx_from_model(network, card, newest_opset=newest_opset)
    say(f"verifying on {len(labelled)} {NOUNS[card.task]}s")
    verification = verify_graph(proto, card, session, windows)
    verification.require()
    prove(proto, "fp32").require()
    low = None
    if settings.precision.precision != "fp32":
        tiles = _calibration(settings, members[0], card, labelled)
        low = low_precision(Given(network, proto, card, session, labelled, windows), settings.precision, tiles, say)
        proto, card, verification = low.proto, low.card, low.verification
    sizes = verify_sizes(proto, card, network, labelled, say)
    with _staging(settings) as staging:
        _write_graph(settings, staging, proto, reference_bytes(session, card, labelled))
        plan = None if no_plan else _plan(settings, staging, card, lambda text: say(_final(text, staging)))
        _write_sidecar(settings, staging, card, verification, plan, low, sizes)
        files = _move_all(staging, settings.output)
    old_plan = settings.output / f"{settings.model}.plan"
    if plan is None and old_plan.exists():
        say(f"{old_plan} is of an earlier export and will be refused; build it anew with --format plan, or remove it")
    if plan is not None:
        plan = replace(plan, path=settings.output / plan.path.name)
    return ExportReport(files, verification, plan, no_plan, low)


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
    return builder, ""


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
    if asked.precision != "int8":
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
        size_range=range_for(settings.model, card.task, size_hw, settings.dynamic_size),
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
    return build_plan(
        staging / f"{settings.model}.onnx",
        staging / f"{settings.model}.plan",
        card=card,
        options=settings.build,
        timing_cache=settings.output / f"{settings.model}{TIMING_SUFFIX}",
        progress=say,
    )


def _write_sidecar(
    settings: ExportSettings, staging: Path, card: ModelCard, verification: Verification, plan: PlanReport | None,
    low: LowPrecision | None, sizes: Mapping[str, Verification],
) -> None:  # fmt: skip
    facts: dict[str, Any] = {
        "card": card.to_dict(),
        "verification": verification.to_dict() | {"onnxruntime": ort.__version__},
    }
    if low is not None:
        facts |= low.to_dict()
    if plan is not None:
        facts["plan"] = plan_facts(plan)
    if sizes:
        facts["sizes"] = {size: found.to_dict() for size, found in sizes.items()}
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
