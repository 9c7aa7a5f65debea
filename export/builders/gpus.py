"""Which GPUs compute in which precision: told before a build, whose own refusal says nothing of what to do."""

from __future__ import annotations

from dlcv.export.builders.find import Builder
from dlcv.export.builders.options import BuildOptions
from dlcv.runtime.card.plan_header import RTX_GPUS
from dlcv.runtime.errors import ExportError, UsageError
from dlcv.runtime.sessions.cuda import gpu_name_and_capability

OLDEST = {"bf16": "8.0"}
"""The oldest compute capability with the precision. TensorRT-RTX 1.7 refuses bf16 for 7.5, and builds fp16 and int8 for it."""


def check_precision(builder: Builder, options: BuildOptions, precision: str) -> None:
    """Holds a precision to the GPUs that a plan is for.

    Raises:
        UsageError: when one that was named has none of it.
        ExportError: when the GPU of this machine has none of it, where a plan is for that one.
    """
    oldest = OLDEST.get(precision)
    if oldest is None or not builder.can.typed_by_graph:  # TensorRT 8.x has no bf16 on any GPU, and says so
        return
    if builder.can.chosen_gpus:
        for capability in options.compute_capabilities:
            if float(capability) < float(oldest):
                raise UsageError(
                    f"--compute-capability {capability} ({RTX_GPUS[capability]}) does not compute in {precision}, which begins with {oldest}; "
                    "leave it out, or export with --precision fp16"
                )
        return
    name, capability = gpu_name_and_capability()
    if float(capability) < float(oldest):
        raise ExportError(
            f"{name} of this machine has compute capability {capability} and does not compute in {precision}, which begins with {oldest}; "
            "export with --precision fp16"
        )


def impossible_precisions(builder: Builder, options: BuildOptions) -> dict[str, str]:
    """By precision, why the GPUs that a plan is for do not have it."""
    found = {}
    for precision in OLDEST:
        try:
            check_precision(builder, options, precision)
        except (UsageError, ExportError) as error:
            found[precision] = str(error)
    return found
