"""`--precision auto`: each precision through the same gate, and of those that pass the one that is fastest where it would run."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from dlcv.export.precision.calibration import CalibrationTiles
from dlcv.export.precision.low_precision import Given, LowPrecision, PrecisionSettings, low_precision
from dlcv.export.precision.race import Ran, race
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import DlcvError, ExportError, VerdictError

CANDIDATES = {
    "onnx": ("int8", "fp16", "bf16", "fp32"),
    "tensorrt": ("int8 with fp16", "int8", "fp16", "bf16", "fp32"),
    "tensorrt-rtx": ("fp16", "bf16", "int8", "fp32"),
}
"""By what the export is for, a graph or the kind of a plan: what is tried, the fastest first where nothing can be measured.

Full TensorRT joins what follows an int8 convolution to it, in float16 where the rest is. TensorRT-RTX moves half as many bytes in
float16 as in int8, whose convolutions give float32 there (benchmarks/results/modelopt.md).
"""

LOW = tuple(name for name in CANDIDATES["tensorrt"] if name != "fp32")

Engine = Callable[[onnx.ModelProto, ModelCard, Path], Path]
"""(graph, its card, a folder) -> the engine file that the export is for, written into the folder."""


@dataclass(frozen=True)
class Candidate:
    """A precision, and what became of it.

    Attributes:
        precision: of the candidate.
        low: its graph; None where it failed, and for fp32.
        failed: why it did not pass; empty where it did.
        ran: its part in the race; None where there was none.
    """

    precision: str
    low: LowPrecision | None
    failed: str = ""
    ran: Ran | None = None

    @property
    def shown(self) -> bool:
        """Whether its drop is within the bound, not only let pass (`Comparison.not_shown`)."""
        return self.low is None or not self.low.not_shown

    @property
    def sentence(self) -> str:
        """What became of it, in a line."""
        if self.failed:
            return f"{self.precision}: failed: {self.failed}"
        text = f"{self.precision}: passed"
        if self.low is not None and self.low.repair is not None:
            text += f" with {len(self.low.repair.restored)} layers restored to fp32"
        if not self.shown:
            text += ", drop not shown"
        if self.ran is None:
            return text
        if self.ran.ratio is None:
            return f"{text}, left out of the race: {self.ran.why_not}"
        if self.precision == "fp32":
            return f"{text}, {self.ran.ratio.latency_ms:.3g} ms a batch of one in {self.ran.session}"
        return f"{text}, {self.ran.ratio} of fp32's time in {self.ran.session}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        facts: dict[str, Any] = {"passed": not self.failed, "reason": self.failed}
        if self.low is not None:
            facts |= {"onnx_bytes": self.low.proto.ByteSize(), "stage": self.low.stage.to_dict()} | self.low.to_dict()
        if self.ran is not None:
            ratio = None if self.ran.ratio is None else self.ran.ratio.to_dict()
            facts |= {"session": self.ran.session, "ratio_to_fp32": ratio, "not_measured": self.ran.why_not}
        return facts


@dataclass(frozen=True)
class Choice:
    """The precision taken, with its graph (None: float32), why, all candidates, and those to take should it fail after all."""

    precision: str
    low: LowPrecision | None
    why: str
    candidates: Mapping[str, Candidate]
    further: tuple[str, ...] = ()

    def without_it(self, failed: str) -> Choice | None:
        """The next choice, where what was made of this one failed; None where none is left."""
        if not self.further:
            return None
        candidates = dict(self.candidates)
        candidates[self.precision] = replace(candidates[self.precision], failed=failed)
        chosen, *further = self.further
        return Choice(
            chosen, candidates[chosen].low, f"the next, since {self.precision} failed", candidates, tuple(further)
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        candidates = {name: candidate.to_dict() for name, candidate in self.candidates.items()}
        return {"chosen": self.precision, "why": self.why, "candidates": candidates}


def choose(
    given: Given, settings: PrecisionSettings, tiles: CalibrationTiles, engine: Engine, not_measurable: str,
    say: Callable[[str], None], target: str = "onnx", impossible: Mapping[str, str] | None = None,
) -> Choice:  # fmt: skip
    """Makes and verifies each precision, races those that pass, and takes the fastest.

    Args:
        given: what the float32 export made, which passed.
        settings: bounds; its precision does not matter.
        tiles: what int8 is calibrated on.
        engine: writes a candidate's engine file.
        not_measurable: why engines cannot be run here; then they are in the order of `CANDIDATES`. Empty where they can.
        say: takes a line as each phase begins, and one for each candidate.
        target: a key of `CANDIDATES`.
        impossible: by precision, why the target's GPUs have none of it.

    Raises:
        EngineError: when not even float32 runs here.
    """
    order, never = CANDIDATES[target], impossible or {}
    found = {
        name: Candidate(name, None, never[name]) if name in never else _candidate(name, given, settings, tiles, say)
        for name in order
    }
    if not_measurable:
        chosen, *further = (name for name in order if not found[name].failed)
        why = f"by nominal speed ({' > '.join(order)}), since {not_measurable}"
    else:
        found = _raced(given, found, engine)
        chosen, *further = _fastest(found)
        why = "the fastest that passes" if chosen != "fp32" else "no other that passes is faster"
    for candidate in found.values():
        say(candidate.sentence)
    say(f"taking {chosen}: {why}")
    return Choice(chosen, found[chosen].low, why, found, tuple(further))


def _candidate(
    precision: str, given: Given, settings: PrecisionSettings, tiles: CalibrationTiles, say: Callable[[str], None]
) -> Candidate:
    if precision == "fp32":
        return Candidate(precision, None)
    kind, _, rest = precision.partition(" with ")
    data = settings.calibration_data if kind == "int8" else None
    own = replace(settings, precision=kind, rest=rest or "fp32", calibration_data=data)
    try:
        return Candidate(precision, low_precision(given, own, tiles if kind == "int8" else None, say))
    except (ExportError, VerdictError) as error:
        return Candidate(precision, None, str(error))


def _raced(given: Given, found: Mapping[str, Candidate], engine: Engine) -> dict[str, Candidate]:
    raced = dict(found)
    with tempfile.TemporaryDirectory(prefix="dlcv-race.") as folder:
        engines = {}
        for name, candidate in found.items():
            if candidate.failed:
                continue
            own = Path(folder) / name
            own.mkdir()
            proto, card = (given.proto, given.card) if candidate.low is None else (candidate.low.proto, candidate.low.card)  # fmt: skip
            try:
                engines[name] = engine(proto, card, own)
            except DlcvError as error:
                raced[name] = replace(candidate, ran=Ran("", None, str(error).replace(str(own), name)))
        for name, ran in race(engines, "fp32", given.windows[0]).items():
            raced[name] = replace(found[name], ran=replace(ran, why_not=ran.why_not.replace(f"{folder}/", "")))
    return raced


def _fastest(found: Mapping[str, Candidate]) -> list[str]:
    """Those that are faster than float32, by their median ratio, and float32 last; one whose rounds are not mostly below is not faster. Of those whose rounds
    overlap the fastest one's, one whose drop is shown comes first.
    """
    ratios = {name: c.ran.ratio for name, c in found.items() if c.ran is not None and c.ran.ratio is not None}
    faster = {name: ratio for name, ratio in ratios.items() if name != "fp32" and ratio.high < 1}
    limit = min(faster.values(), key=lambda ratio: ratio.median).high if faster else 0.0

    def place(name: str) -> tuple[bool, bool, float]:
        apart = faster[name].low > limit
        return apart, not apart and not found[name].shown, faster[name].median

    return [*sorted(faster, key=place), "fp32"]
