"""What a plan shall take, and how it is built."""

from __future__ import annotations

from dataclasses import dataclass

from dlcv.export.builders.capabilities import Capabilities
from dlcv.runtime.card.plan_header import RTX_TARGETS
from dlcv.runtime.errors import UsageError

DEFAULT_OPT_BATCH = 8
MAX_BATCH = 1024


@dataclass(frozen=True)
class BuildOptions:
    """What a plan shall take, and how it is built.

    Attributes:
        builder: see `find.find_builder`.
        min_batch: the smallest batch; smaller ones are filled up when they are run.
        opt_batch: the batch that it is tuned for; None: 8, or the nearest that the others allow.
        max_batch: the largest batch.
        workspace_mib: scratch memory that TensorRT may use, in MiB; None leaves it to TensorRT.
        version_compatible: newer releases of TensorRT run the plan too.
        hardware_compatible: every GPU of Ampere and later runs the plan, and not as fast as one built for it alone.
        compute_capabilities: targets of a TensorRT-RTX plan, such as `("8.6", "8.9")`; empty for its own choice.
        tf32: whether float32 convolutions may be computed in TF32 (10 bits of mantissa).
    """

    builder: str = "auto"
    min_batch: int = 1
    opt_batch: int | None = None
    max_batch: int = 16
    workspace_mib: int | None = None
    version_compatible: bool = False
    hardware_compatible: bool = False
    compute_capabilities: tuple[str, ...] = ()
    tf32: bool = False

    @property
    def batches(self) -> tuple[int, int, int]:
        """Smallest, tuned for, largest."""
        own = max(self.min_batch, min(DEFAULT_OPT_BATCH, self.max_batch))
        return self.min_batch, self.opt_batch or own, self.max_batch

    def check(self) -> None:
        """Raises UsageError for what no builder can do."""
        low, middle, high = self.batches
        if not 1 <= low <= middle <= high <= MAX_BATCH:
            raise UsageError(
                f"expected batches with 1 <= --min-batch <= --opt-batch <= --max-batch <= {MAX_BATCH}, got {low}, {middle} and {high}"
            )
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise UsageError(f"--workspace-mib {self.workspace_mib} is too little, expected 1 or more")
        unknown = [capability for capability in self.compute_capabilities if capability not in RTX_TARGETS]
        if unknown:
            raise UsageError(
                f"TensorRT-RTX builds for compute capability {', '.join(RTX_TARGETS)}, not for {', '.join(unknown)}"
            )

    def check_for(self, can: Capabilities, label: str) -> None:
        """Raises UsageError for what this builder cannot do; `label` names it."""
        self.check()
        if self.compute_capabilities and not can.chosen_gpus:
            raise UsageError(
                f"{label} builds for the GPU of this machine; --compute-capability goes with --builder tensorrt-rtx"
            )
        if self.version_compatible and not can.version_compatible:
            raise UsageError(
                f"{label} has no version-compatible plans; leave out --version-compatible, or build with TensorRT 8.6 or newer"
            )
        if self.hardware_compatible and not can.hardware_compatible:
            instead = (
                "name its GPUs with --compute-capability" if can.chosen_gpus else "build with TensorRT 8.6 or newer"
            )
            raise UsageError(f"{label} has no hardware-compatible plans; leave out --hardware-compatible, or {instead}")
