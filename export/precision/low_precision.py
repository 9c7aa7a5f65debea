"""A verified float32 graph -> the graph in the precision asked for, proven and held against torch, or no graph at all.

Where it is not what torch is, the layers that lose it are found (`guilty.py`) and put back to float32 (`repair.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from torch import nn

from dlcv.export.gate import not_shown_proof
from dlcv.export.onnx_from_checkpoint import onnx_from_model, with_card
from dlcv.export.precision.calibration import METHODS, CalibrationTiles, int8_by_ranges, ranges_of
from dlcv.export.precision.cast import network_at
from dlcv.export.precision.guilty import BLAMELESS_DB, guilty_layers
from dlcv.export.precision.int8_with_fp16 import for_tensorrt
from dlcv.export.precision.layer_names import layer_name, makers_of
from dlcv.export.precision.pairs import LAYERS
from dlcv.export.precision.proof import Proof, prove
from dlcv.export.precision.proof_openvino import executed_in_openvino, require_alike, with_executed
from dlcv.export.precision.repair import Repair, Repairing
from dlcv.export.stages import Stage, TwinSession, compare_stages
from dlcv.export.verify import Verification, verify_graph
from dlcv.runtime.card.card import PRECISIONS, RESTS, ModelCard
from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import UsageError, VerdictError
from dlcv.runtime.scoring.comparison import MAX_DROP
from dlcv.runtime.sessions.base import Session
from dlcv.runtime.sessions.executed import Executed

AUTO = "auto"
"""Asks for the fastest precision that passes; see `auto.py`."""
DEFAULT_METHOD = "percentile"
DEFAULT_TILES = 64


@dataclass(frozen=True)
class PrecisionSettings:
    """What precision was asked for, and what it must hold.

    Attributes:
        precision: `fp32`, `fp16`, `bf16`, `int8` or `auto`.
        min_share: of the multiply-adds in that precision, 0..1; None takes the one of `shares.MIN_SHARE`.
        max_drop: how far mean IoU or accuracy may fall against torch in float32, 0..1.
        calibration: int8 alone: a key of `calibration.METHODS`.
        calibration_data: int8 alone: images to calibrate on; None takes those that are verified on.
        calibration_tiles: int8 alone: how many images at most, evenly spaced.
        repair: whether layers that lose too much are put back to float32.
        rest: int8 alone: `fp32` or `fp16`, for what is not int8.
    """

    precision: str = "fp32"
    min_share: float | None = None
    max_drop: float = MAX_DROP
    calibration: str = DEFAULT_METHOD
    calibration_data: Path | None = None
    calibration_tiles: int = DEFAULT_TILES
    repair: bool = True
    rest: str = "fp32"

    def check(self) -> None:
        """Raises UsageError for what is unknown or out of range."""
        known = (*PRECISIONS, AUTO)
        if self.precision not in known or self.calibration not in METHODS:
            raise UsageError(
                f"unknown precision {self.precision!r} or calibration {self.calibration!r}; precisions: {', '.join(known)}; calibrations: {', '.join(METHODS)}"
            )
        if self.precision not in ("int8", AUTO) and self.calibration_data is not None:
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
        stage: the graph against torch on the labelled images.
        calibration: what it was calibrated on; empty but for int8.
        repair: what was put back to float32; None where it passed as it was.
        executed: what OpenVINO runs in which precision; None where it was not asked, see `executed_in_openvino`.
        not_shown: why the drop was let pass though it is beyond the bound (`gate.require_held`); empty where it is within.
    """

    proto: onnx.ModelProto
    card: ModelCard
    verification: Verification
    proof: Proof
    stage: Stage
    calibration: dict[str, Any]
    repair: Repair | None = None
    executed: Executed | None = None
    not_shown: str = ""

    def to_dict(self) -> dict[str, Any]:
        """What the sidecar holds of it, as JSON values; the stages stand beside it."""
        proof = self.proof.to_dict() | {"sentence": self.card.proof}
        if self.executed is not None:
            proof["executed"] = self.executed.to_dict()
        facts: dict[str, Any] = {"proof": proof}
        if self.not_shown:
            facts["drop_not_shown"] = self.not_shown
        if self.calibration:
            facts["calibration"] = self.calibration
        return facts if self.repair is None else facts | {"repair": self.repair.to_dict()}


@dataclass(frozen=True)
class Given:
    """What a float32 export has at hand: network, its verified graph and card, torch, the labelled images and their windows, and the
    newest opset that the reader of the graph knows (None: any).
    """

    network: nn.Module
    proto: onnx.ModelProto
    card: ModelCard
    session: Session
    labelled: LabelledSet[Any]
    windows: Sequence[NDArray[np.uint8]]
    newest_opset: int | None = None


def low_precision(
    given: Given, settings: PrecisionSettings, tiles: CalibrationTiles | None, say: Callable[[str], None],
    holds: Callable[[LowPrecision], None] | None = None,
) -> LowPrecision:  # fmt: skip
    """Makes the graph, proves its precision, compares it with torch, and repairs it where it fails.

    Args:
        given: what the float32 export made.
        settings: precision and bounds.
        tiles: what int8 is calibrated on; None elsewhere.
        say: takes a line as each phase begins.
        holds: of a graph that passed: raises VerdictError where what is made of it, such as a plan, does not hold. Then it is repaired too.

    Raises:
        ExportError: when the graph cannot be made.
        VerdictError: when too little of it is in the precision, or it does not give what torch gives and cannot be repaired.
    """
    made = _Made(given, settings, tiles, say, holds)
    try:
        return made.attempt()
    except VerdictError as error:
        failed = error
    if not settings.repair or not made.may_be_repaired:
        raise failed
    assert made.layered is not None
    proto, proof = made.layered
    say(f"{failed}; looking for the layers that lose it")
    guilty = guilty_layers(given.proto, proto, settings.precision, proof.layers, given.windows, rest=settings.rest)
    room = proof.share - proof.min_share
    blameless_db = BLAMELESS_DB.get(settings.precision, math.inf)
    result, repair = Repairing(made.attempt, guilty, room, failed, say, blameless_db).run()
    return replace(result, repair=repair)


@dataclass
class _Made:
    """Graphs of one precision from one float32 graph.

    Attributes:
        proto, proof: of the last attempt, where they could be made.
        layered: the same before what is not int8 went to float16: there each layer stands between its own pairs.
        may_be_repaired: whether the last attempt's failure is one of numbers, not of share or of images that show nothing.
    """

    given: Given
    settings: PrecisionSettings
    tiles: CalibrationTiles | None
    say: Callable[[str], None]
    holds: Callable[[LowPrecision], None] | None = None
    proto: onnx.ModelProto | None = field(default=None, init=False)
    proof: Proof | None = field(default=None, init=False)
    layered: tuple[onnx.ModelProto, Proof] | None = field(default=None, init=False)
    may_be_repaired: bool = field(default=False, init=False)

    def attempt(self, restored: tuple[str, ...] = ()) -> LowPrecision:
        """The graph with these layers in float32, through the gate; see `low_precision`."""
        given, settings, precision = self.given, self.settings, self.settings.precision
        self.may_be_repaired = False
        card = given.card.changed(precision=precision)
        self.proto, self.proof = self._proven(card, restored)
        self.layered = self.proto, self.proof
        if settings.rest == "fp32":  # else what ONNX Runtime makes of it says nothing of the graph that is left
            self.proof.require()
        executed, sentence = None, self.proof.sentence()
        if settings.rest == "fp16":
            self.proto, self.proof, sentence = for_tensorrt(self.proto, self.proof)
            with suppress(
                VerdictError
            ):  # it is for TensorRT: what a CPU's library makes of it is told, and holds nothing
                executed = executed_in_openvino(self.proto, card)
        else:
            executed = executed_in_openvino(self.proto, card)
            if executed is not None and not executed.share(precision) >= self.proof.min_share:
                self.say(
                    f"less than the {self.proof.min_share:.0%} that the graph holds is computed so here: {executed.sentence()}"
                )
        card = card.changed(rest=settings.rest, proof=with_executed(sentence, executed))
        self.proto = with_card(self.proto, card, newest_opset=given.newest_opset)
        self.say(f"verifying {precision}: {card.proof}")
        verification = verify_graph(self.proto, card, given.session, given.windows)
        self.may_be_repaired = verification.predicted_classes > 1
        verification.require()
        name = f"onnx {precision}"
        stage = compare_stages(given.session, {name: TwinSession(self.proto, card)}, given.labelled)[name]
        self.may_be_repaired = stage.comparison.nothing_to_compare() is None
        if note := stage.require(precision, settings.max_drop):
            self.say(f"{precision}: {note}")
            card = card.changed(proof=f"{card.proof}; {not_shown_proof(stage.comparison)}")
            self.proto = with_card(self.proto, card, newest_opset=given.newest_opset)
        if settings.rest == "fp32":
            self.may_be_repaired = False  # what is wrong here is no layer's precision
            require_alike(self.proto, card, given.windows)
            self.may_be_repaired = True  # the stage has something to compare
        facts = {} if self.tiles is None else {"method": settings.calibration, **self.tiles.to_dict()}
        made = LowPrecision(self.proto, card, verification, self.proof, stage, facts, executed=executed, not_shown=note)
        if self.holds is not None:
            self.holds(made)
        return made

    def _proven(self, card: ModelCard, restored: tuple[str, ...]) -> tuple[onnx.ModelProto, Proof]:
        """The graph with its proof; `_graph` takes pairs from other layers only where ONNX Runtime computes enough in int8 all the same."""
        for take_from_layers in (True, False):
            proto = self._graph(card, restored, take_from_layers=take_from_layers)
            proof = replace(prove(proto, card.precision, self.settings.min_share), restored=restored)
            if self.settings.rest == "fp16" or not (restored and proof.session_problems()):
                break
        return proto, proof

    def _graph(self, card: ModelCard, restored: tuple[str, ...], *, take_from_layers: bool) -> onnx.ModelProto:
        if self.tiles is None:
            self.say(f"exporting again in {card.precision}")
            network = network_at(self.given.network, card.precision, card.input_size_hw, restored)
            return onnx_from_model(network, card, newest_opset=self.given.newest_opset)
        makers = makers_of(self.given.proto.graph)
        layers = [node for node in self.given.proto.graph.node if node.op_type in LAYERS]
        nodes = [node.name for node in layers if layer_name(node, makers) in restored]
        made = int8_by_ranges(self.given.proto, self._ranges, nodes, take_from_layers=take_from_layers)
        return with_card(made, card, newest_opset=self.given.newest_opset)

    @cached_property
    def _ranges(self) -> Any:
        assert self.tiles is not None
        self.say(f"calibrating int8 ({self.settings.calibration}) on {self.tiles.sentence}")
        return ranges_of(self.given.proto, self.tiles.windows, self.settings.calibration)
