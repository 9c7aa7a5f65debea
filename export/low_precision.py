"""A verified float32 graph -> the graph in the precision asked for, proven and held against torch, or no graph at all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from dlcv.export.calibration import METHODS, CalibrationTiles, int8_from_onnx
from dlcv.export.int8_with_fp16 import for_tensorrt
from dlcv.export.onnx_from_checkpoint import onnx_from_model, with_card
from dlcv.export.precision import network_at
from dlcv.export.proof import Proof, prove
from dlcv.export.stages import TwinSession, compare_stages, require_stage
from dlcv.export.verify import Verification, verify_graph
from dlcv.runtime.card import PRECISIONS, RESTS, ModelCard
from dlcv.runtime.comparison import MAX_DROP, Comparison
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import UsageError
from dlcv.train.session import TorchSession

DEFAULT_METHOD = "percentile"
DEFAULT_TILES = 64


@dataclass(frozen=True)
class PrecisionSettings:
    """What precision was asked for, and what it must hold.

    Attributes:
        precision: `fp32`, `fp16`, `bf16` or `int8`.
        min_share: of the multiply-adds in that precision, 0..1; None takes the one of `proof.MIN_SHARE`.
        max_drop: how far mean IoU or accuracy may fall against torch in float32, 0..1.
        calibration: int8 alone: a key of `calibration.METHODS`.
        calibration_data: int8 alone: images to calibrate on; None takes those that are verified on.
        calibration_tiles: int8 alone: how many images at most, evenly spaced.
        rest: int8 alone: `fp32` or `fp16`, for what is not int8.
    """

    precision: str = "fp32"
    min_share: float | None = None
    max_drop: float = MAX_DROP
    calibration: str = DEFAULT_METHOD
    calibration_data: Path | None = None
    calibration_tiles: int = DEFAULT_TILES
    rest: str = "fp32"

    def check(self) -> None:
        """Raises UsageError for what is unknown or out of range."""
        if self.precision not in PRECISIONS or self.calibration not in METHODS:
            raise UsageError(
                f"unknown precision {self.precision!r} or calibration {self.calibration!r}; precisions: {', '.join(PRECISIONS)}; calibrations: {', '.join(METHODS)}"
            )
        if self.precision != "int8" and self.calibration_data is not None:
            raise UsageError(f"--calibration-data is for --precision int8; {self.precision} needs none")
        if self.rest not in RESTS or (self.rest != "fp32" and self.precision != "int8"):
            raise UsageError(
                f"--rest {self.rest} with --precision {self.precision}; --rest fp16 is for --precision int8"
            )
        if self.min_share is not None and not 0 <= self.min_share <= 1:
            raise UsageError(f"--min-share {self.min_share} is not a share from 0 to 1")


@dataclass(frozen=True)
class LowPrecision:
    """A graph in low precision, with what speaks for it.

    Attributes:
        proto: the graph, with its card.
        card: with precision and proof.
        verification: of the graph, against torch.
        proof: of its precision.
        stages: by name: the float32 graph and this one, each against torch on the labelled images.
        calibration: what it was calibrated on; empty but for int8.
    """

    proto: onnx.ModelProto
    card: ModelCard
    verification: Verification
    proof: Proof
    stages: dict[str, Comparison]
    calibration: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """What the sidecar holds of it, as JSON values."""
        stages = {name: comparison.to_dict() for name, comparison in self.stages.items()}
        facts = {"proof": self.proof.to_dict(), "stages": stages}
        return facts | ({"calibration": self.calibration} if self.calibration else {})


@dataclass(frozen=True)
class Given:
    """What a float32 export has at hand: network, its verified graph and card, torch, the labelled images and their windows."""

    network: nn.Module
    proto: onnx.ModelProto
    card: ModelCard
    session: TorchSession
    labelled: LabelledSet[Any]
    windows: Sequence[NDArray[np.uint8]]


def low_precision(
    given: Given, settings: PrecisionSettings, tiles: CalibrationTiles | None, say: Callable[[str], None]
) -> LowPrecision:
    """Makes the graph, proves its precision and compares it with torch.

    Args:
        given: what the float32 export made.
        settings: precision and bounds.
        tiles: what int8 is calibrated on; None elsewhere.
        say: takes a line as each phase begins.

    Raises:
        ExportError: when the graph cannot be made.
        VerdictError: when too little of it is in the precision, or it does not give what torch gives.
    """
    precision = settings.precision
    card = given.card.changed(precision=precision)
    if tiles is not None:
        say(f"calibrating int8 ({settings.calibration}) on {tiles.sentence}")
        proto = with_card(int8_from_onnx(given.proto, tiles.windows, settings.calibration), card)
    else:
        say(f"exporting again in {precision}")
        proto = onnx_from_model(network_at(given.network, precision, card.input_size_hw), card)
    proof = prove(proto, precision, settings.min_share)
    proof.require()
    said = proof.sentence()
    if settings.rest == "fp16":
        proto, proof, said = for_tensorrt(proto, proof)
    card = card.changed(rest=settings.rest, proof=said)
    proto = with_card(proto, card)
    say(f"verifying {precision}: {said}")
    verification = verify_graph(proto, card, given.session, given.windows)
    verification.require()
    sides = {"onnx fp32": TwinSession(given.proto, given.card), f"onnx {precision}": TwinSession(proto, card)}
    stages = compare_stages(given.session, sides, given.labelled)
    require_stage(stages[f"onnx {precision}"], precision, settings.max_drop)
    facts = {} if tiles is None else {"method": settings.calibration, **tiles.to_dict()}
    return LowPrecision(proto, card, verification, proof, stages, facts)
