"""Which proof a plan carries of its precision, and whether it suffices: of its network as parsed, and of what was compiled.

The network's types bind TensorRT 10, 11 and TensorRT-RTX, and are known before the build: they stand on the card. What was compiled is
told by the build log of TensorRT-RTX, without a GPU, and by the inspector of full TensorRT; that stands in the sidecar. What a CPU's
library makes of the graph proves nothing of a plan, so none of it is taken over.

Either may leave layers out, those that it fused above all. So what it tells is weighed by the whole network's multiply-adds: too little
of them proves nothing, and is not known rather than 100 %.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from dlcv.export.builders.plan_types import FUSED
from dlcv.export.shares import MIN_SHARE
from dlcv.runtime.errors import VerdictError
from dlcv.runtime.sessions.executed import Executed, Operator
from dlcv.runtime.sessions.trt_layers import UNKNOWN

HELD = "layers held to the graph's types; what TensorRT's inspector told of them stands in the sidecar"
"""On the card of a plan of TensorRT 8.x, which chooses types itself."""
PLAIN = "no type below fp32 was allowed to the builder"
"""Likewise, of float32."""
_RESTORED = "restored to "
_NAMED = 3
_EXACT = ("int4", "fp8", "int8", "bf16", "fp16", "tf32", "fp32")
"""The least exact first."""
_LEAST_TOLD, _MOST_ASKED = 0.5, 0.95
"""Bounds of how much of the network must be told, 0..1: of less than half nothing is known, however low a share was asked for; and an
inspector that leaves a small layer out is no reason to say that nothing is known of a plan whose share must be 100 %.
"""


@dataclass(frozen=True)
class PlanProof:
    """What is known of a plan's precision.

    Attributes:
        precision: that its card says.
        network: the types of its network as parsed; None of a TensorRT that chooses types itself.
        compiled: what the layers of the plan were told to run in; None where nobody told.
        why_not: why nobody did, in words; empty where one did.
        min_share: of the multiply-adds that must be in `precision`, 0..1.
        tf32: whether the builder was allowed to compute float32 in TF32: then that is what float32 means here, and no less than the network says.
    """

    precision: str
    network: Executed | None
    compiled: Executed | None
    why_not: str
    min_share: float
    tf32: bool = False

    @property
    def coverage(self) -> float:
        """Of the network's multiply-adds, those of the layers that were told, 0..1; 1 where there is no network to compare with."""
        if self.compiled is None:
            return 0.0
        return 1.0 if self.network is None else self._of_network(self.compiled.operators)

    @property
    def is_known(self) -> bool:
        """Whether enough was told to say what was compiled."""
        return self.compiled is not None and self.coverage >= self._least_told

    @property
    def _least_told(self) -> float:
        return min(max(self.min_share, _LEAST_TOLD), _MOST_ASKED)

    def _of_network(self, operators: Sequence[Operator]) -> float:
        """Of the network's multiply-adds, those of some compiled layers, 0..1: its own where names tell which they are."""
        assert self.network is not None
        work = {one.name: one.multiply_adds for one in self.network.operators}
        by_number = all(each == 1 for each in work.values())  # see `network_types.executed_of`
        found, unnamed = set[str](), 0
        for one in operators:
            parts = {name for name in (one.name, *FUSED.split(one.name)) if name in work}
            found |= parts
            unnamed += 0 if parts else 1 if by_number else one.multiply_adds
        total = sum(work.values())
        return min(1.0, (sum(work[name] for name in found) + unnamed) / total) if total else 0.0

    def problems(self) -> list[str]:
        """What speaks against the card, in words; empty when nothing does."""
        if self.tf32 and self.compiled is not None:
            return replace(self, compiled=as_float32(self.compiled), tf32=False).problems()
        found = []
        for told in (self.network, self.compiled if self.is_known else None):
            if told is None or not told.operators:
                continue
            share = told.share(self.precision)
            if not share >= self.min_share:
                found.append(
                    f"{shares(told)}, expected at least {self.min_share:.1%} in {self.precision}; not so: {self._others(told)}"
                )
        if self.compiled is not None and not self.is_known and self._at_most(self.compiled) < self.min_share:
            found.append(
                f"{self.compiled.by}: at most {self._at_most(self.compiled):.1%} in {self.precision}, expected at least "
                f"{self.min_share:.1%}; not so: {self._others(self.compiled)}"
            )
        if lowered := self.lowered(allowed=self.precision == "bf16"):
            assert self.compiled is not None
            found.append(f"{self.compiled.by}: {self._named(lowered)}, which the graph keeps in more")
        return found

    def _at_most(self, compiled: Executed) -> float:
        """The share that what is told leaves possible, 0..1: little may already be too much of another type."""
        if self.is_known:
            return compiled.share(self.precision)
        return 1 - self._of_network([one for one in compiled.operators if one.precision != self.precision])

    def lowered(self, *, allowed: bool = False) -> tuple[Operator, ...]:
        """The layers that were compiled in less than the network says.

        TensorRT-RTX 1.7 joins a convolution in float32 that stands alone between two Casts to them, and computes it in float16: a layer
        that was restored because it overflows would overflow again.

        Args:
            allowed: leaves out transposed convolutions, which a bf16 graph has in float32 only because no parser takes them in bfloat16.
        """
        if self.network is None or self.compiled is None:
            return ()
        if self.tf32:
            return replace(self, compiled=as_float32(self.compiled), tf32=False).lowered(allowed=allowed)
        said = {one.name: one.precision for one in self.network.operators}
        return tuple(
            one for one in self.compiled.operators
            if said.get(one.name) in _EXACT and one.precision in _EXACT
            and _EXACT.index(one.precision) < _EXACT.index(said[one.name])
            and not (allowed and one.kind == "deconvolution")
        )  # fmt: skip

    def require(self) -> None:
        """Raises VerdictError, with all problems, when there are any."""
        if found := self.problems():
            raise VerdictError(
                f"the plan is not in {self.precision}, no file was written: {'; '.join(found)}; {self._remedy()}"
            )

    def _remedy(self) -> str:
        if self.lowered(allowed=self.precision == "bf16"):
            return "export with another --precision, or build with full TensorRT"
        found = [] if self.network is None or not self.network.operators else [self.network.share(self.precision)]
        compiled = as_float32(self.compiled) if self.compiled is not None and self.tf32 else self.compiled
        found += [] if compiled is None else [self._at_most(compiled)]
        reached = math.floor(100 * min(found)) / 100
        return f"export with another --precision, or accept it with --min-share {reached:.2f}"

    def sentence(self) -> str:
        """What was compiled, in a line."""
        if self.compiled is None:
            return f"what was compiled was not asked: {self.why_not}"
        of = len(self.compiled.operators) if self.network is None else len(self.network.operators)
        layers = f"{len(self.compiled.operators)} of {of} layers"
        if not self.is_known:
            return (
                f"what was compiled is not known: {self.compiled.by}: {self.coverage:.1%} of the multiply-adds are told ({layers}), "
                f"expected at least {self._least_told:.1%}"
            )
        part = "" if self.coverage == 1 else f", {self.coverage:.1%} of the multiply-adds"
        told = f"{shares(self.compiled)} ({layers} are told{part})"
        lowered = self.lowered()
        return f"{told}; in less than the graph says: {self._named(lowered)}" if lowered else told

    def to_dict(self) -> dict[str, Any]:
        """As JSON values."""
        return {
            "precision": self.precision,
            "min_share": self.min_share,
            "network": None if self.network is None else self.network.to_dict(),
            "compiled": self.compiled.to_dict() if self.compiled is not None and self.is_known else None,
            "told": self.coverage,
            "sentence": self.sentence(),
        }

    def _others(self, told: Executed) -> str:
        others = sorted(
            (one for one in told.operators if one.precision != self.precision), key=lambda one: -one.multiply_adds
        )
        return self._named(others)

    @staticmethod
    def _named(operators: Sequence[Operator]) -> str:
        named = [f"{one.name} ({one.kind}) in {one.precision}" for one in operators[:_NAMED]]
        return ", ".join(named) + (f" and {len(operators) - _NAMED} more" if len(operators) > _NAMED else "")


def as_float32(ran: Executed) -> Executed:
    """What ran, with TF32 told as the float32 that it was asked for as."""
    return replace(
        ran,
        operators=tuple(replace(one, precision="fp32") if one.precision == "tf32" else one for one in ran.operators),
    )


def shares(told: Executed) -> str:
    """Who tells, and the shares of the multiply-adds: `kernels in the build log: 99.1% in int8, 0.9% in fp32`."""
    parts = ", ".join(f"{told.share(precision):.1%} in {precision}" for precision in told.multiply_adds)
    return f"{told.by}: {parts or 'no products'}"


def card_sentence(network: Executed | None, precision: str, graph_proof: str) -> str:
    """The line of proof on a plan's card, which is known before it is compiled.

    Args:
        network: as of `PlanProof`.
        precision: of the card.
        graph_proof: the line on the graph's card; of it stays which layers were restored, nothing that a CPU's library did.
    """
    own = shares(network) if network is not None else (PLAIN if precision == "fp32" else HELD)
    return "; ".join([own, *(part for part in graph_proof.split("; ") if part.startswith(_RESTORED))])


def least_share(precision: str, asked: float | None) -> float:
    """What a plan is held to: what was asked for, else the share of `MIN_SHARE`."""
    return MIN_SHARE[precision] if asked is None else asked


def known(operators: Sequence[Operator]) -> tuple[Operator, ...]:
    """Without those whose type the library did not put in words that are known: they prove nothing either way."""
    return tuple(one for one in operators if one.precision != UNKNOWN)
