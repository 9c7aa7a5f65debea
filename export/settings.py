"""What an export is asked to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dlcv.export.builders.options import BuildOptions
from dlcv.export.precision.low_precision import PrecisionSettings

FORMATS = ("auto", "onnx", "plan")


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
        split: a `split.csv`: of `data` the images alone that it lists for validation; None takes that of the first checkpoint's run,
            where the data has all that it lists.
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
    split: Path | None = None
    size_hw: tuple[int, int] | None = None
    dynamic_size: tuple[int, int, int, int] | None = None
    build: BuildOptions = field(default_factory=BuildOptions)
    precision: PrecisionSettings = field(default_factory=PrecisionSettings)
