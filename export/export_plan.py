"""The plan of an export: built, held against torch where it runs, its logits told by a twin, and its graph repaired where the plan drops."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import onnx

from dlcv.export.builders.build import PlanReport, build_plan
from dlcv.export.builders.timing import SUFFIX as TIMING_SUFFIX
from dlcv.export.logits_graph import logits_graph
from dlcv.export.precision.calibration import CalibrationTiles
from dlcv.export.precision.low_precision import Given, LowPrecision, low_precision
from dlcv.export.stages import Stage, plan_stage
from dlcv.export.staging import final_names
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import VerdictError
from dlcv.runtime.files import write_bytes

if TYPE_CHECKING:
    from dlcv.export.settings import ExportSettings


def plan_of(settings: ExportSettings, staging: Path, card: ModelCard, say: Callable[[str], None]) -> PlanReport:
    """Builds `MODEL.plan` from `MODEL.onnx` in a folder; raises as `build_plan`."""
    return build_plan(
        staging / f"{settings.model}.onnx",
        staging / f"{settings.model}.plan",
        card=card,
        options=settings.build,
        timing_cache=settings.output / f"{settings.model}{TIMING_SUFFIX}",
        min_share=settings.precision.min_share,
        progress=say,
    )


class PlanDropsError(VerdictError):
    """The graph is what torch is, and the plan built of it is not."""


def held_plan_stage(
    settings: ExportSettings, given: Given, plan: Path, proto: onnx.ModelProto, card: ModelCard,
    say: Callable[[str], None],
) -> Stage | str:  # fmt: skip
    """The plan against torch, held to the bounds of its precision; why it did not run where it did not.

    Raises:
        PlanDropsError: when it is not within them.
    """
    with tempfile.TemporaryDirectory(prefix="dlcv-twin.") as folder:
        stage = plan_stage(
            plan, given.session, given.labelled, lambda: _twin_plan(settings, given, proto, card, Path(folder), say)
        )
    if isinstance(stage, str):
        return final_names(stage, plan.parent)
    if stage.no_logits:
        say(f"plan: NaN and Inf were not counted: {stage.no_logits}")
    try:
        note = stage.require(card.precision, settings.precision.max_drop)
    except VerdictError as error:
        raise PlanDropsError(
            f"the plan: {error}; its graph is within the bounds: take another --precision or --builder, or allow more with --max-drop"
        ) from error
    if note:
        say(f"plan: {note}")
    return stage


def _twin_plan(
    settings: ExportSettings, given: Given, proto: onnx.ModelProto, card: ModelCard, folder: Path,
    say: Callable[[str], None],
) -> Path:  # fmt: skip
    """A plan of the same graph with its logits as the output."""
    say("building the plan's twin, whose logits are its output, to count NaN and Inf")
    twin, twin_card = logits_graph(proto, card, newest_opset=given.newest_opset)
    write_bytes(folder / f"{settings.model}.onnx", twin.SerializeToString(deterministic=True))
    return plan_of(settings, folder, twin_card, lambda text: None).path


def repaired_for_plan(
    settings: ExportSettings, given: Given, tiles: CalibrationTiles | None, say: Callable[[str], None]
) -> LowPrecision:
    """A graph whose plan holds too: guilty layers of the graph are restored until it does.

    Raises:
        VerdictError, ExportError: as `low_precision`.
    """

    def holds(low: LowPrecision) -> None:
        with tempfile.TemporaryDirectory(prefix="dlcv-repair.") as name:
            folder = Path(name)
            write_bytes(folder / f"{settings.model}.onnx", low.proto.SerializeToString(deterministic=True))
            plan = plan_of(settings, folder, low.card, lambda text: None)
            held_plan_stage(settings, given, plan.path, low.proto, low.card, say)

    return low_precision(given, settings.precision, tiles, say, holds)
