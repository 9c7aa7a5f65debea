"""What stands in a plan's bytes, held against what was asked for."""

from __future__ import annotations

from pathlib import Path

from dlcv.export.builders.find import Builder
from dlcv.export.builders.options import BuildOptions
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.plan_header import RTX_GPUS, PlanHeader, read_plan_header
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import DlcvError, ExportError
from dlcv.runtime.sessions.cuda import gpu_name_and_capability


def read_back(
    temporary: Path, plan_path: Path, builder: Builder, card: ModelCard, options: BuildOptions
) -> tuple[PlanHeader, ModelCard]:
    """Header and card from the plan's bytes.

    Args:
        temporary: where the plan is.
        plan_path: where it will be, for the error's sentence.
        builder: that made it.
        card: that it was given.
        options: of the build.

    Raises:
        ExportError: when they cannot be read, or say something else than was asked for.
    """
    try:
        header, found = read_plan_header(temporary), read_card(temporary)
    except DlcvError as error:
        raise ExportError(f"{plan_path}: what {builder.label} built cannot be read back: {error}") from error
    wrong = []
    if header.kind != builder.kind:
        wrong.append(f"kind {header.kind}, expected {builder.kind}")
    if header.version.split(".")[:3] != builder.library.version.split(".")[:3]:
        wrong.append(f"version {header.version}, expected {builder.library.version}")
    wanted = options.compute_capabilities
    if wanted and set(header.compute_capabilities) != set(wanted):
        wrong.append(f"compute capabilities {', '.join(header.compute_capabilities)}, expected {', '.join(wanted)}")
    if found != card:
        wrong.append("another model card")
    if wrong:
        raise ExportError(
            f"{plan_path}: read back from the plan's bytes: {'; '.join(wrong)}; "
            "this is a fault of dlcv or of the builder: report it"
        )
    return header, found


def sentence(header: PlanHeader, options: BuildOptions) -> str:
    """What was built, for which GPUs, and which ones it does not cover."""
    if header.kind == "tensorrt":
        name, capability = gpu_name_and_capability()
        newer = ", and newer releases run it too" if options.version_compatible else ""
        if options.hardware_compatible:
            return f"built by {header.builder} on {name} for every GPU of Ampere and later{newer}"
        return f"built by {header.builder} for {name} (compute capability {capability}){newer}; it runs on no other kind of GPU"
    missing = {target: gpus for target, gpus in RTX_GPUS.items() if target not in header.compute_capabilities}
    listed = ", ".join(f"{target} ({gpus})" for target, gpus in missing.items())
    covered = ", ".join(header.compute_capabilities)
    return f"built by {header.builder} for GPUs of compute capability {covered}; it does not run on {listed}"
