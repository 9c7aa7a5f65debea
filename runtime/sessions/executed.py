"""What the operators of an opened session really run in, as its library tells, and whether that is what was asked for.

A hint that is left out, or one that a library ignores, shows here and nowhere else: the session works, and its answers are a
little worse.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from dlcv.runtime.errors import PrecisionError

BESIDE = {
    "fp32": ("fp32", "fp64"), "tf32": ("fp32", "tf32"), "fp16": ("fp32", "fp16"), "bf16": ("fp32", "bf16"),
    "int8": ("fp32", "fp16", "bf16", "int8"),
}  # fmt: skip
"""What an operator may run in, by what the session is asked to compute in: that, or what is more exact."""
MIN_SESSION_SHARE = 0.5
"""Of the multiply-adds, in what was asked for: which operators a library has in a low precision differs by version and CPU, but a
session with fewer than half of its work in it is not what its name says and is not opened. What an export must reach before it leaves a
file is more, and another number: `export/shares.py`.
"""
_NAMED = 3
"""How many operators a message names."""


@dataclass(frozen=True)
class Operator:
    """An operator with multiply-adds.

    Attributes:
        name: as in the graph, as far as the library keeps names.
        kind: the library's word, such as `Convolution`.
        precision: that it runs in: `fp32`, `tf32`, `fp16`, `bf16`, `int8`, or the library's word.
        multiply_adds: for one image.
    """

    name: str
    kind: str
    precision: str
    multiply_adds: int


@dataclass(frozen=True)
class Executed:
    """The operators of an opened session.

    Attributes:
        by: library, version and device, in words.
        operators: those with multiply-adds.
    """

    by: str
    operators: tuple[Operator, ...]

    @property
    def multiply_adds(self) -> dict[str, int]:
        """By precision, the most first; for one image."""
        total: Counter[str] = Counter()
        for operator in self.operators:
            total[operator.precision] += operator.multiply_adds
        return dict(total.most_common())

    def share(self, precision: str) -> float:
        """Of the multiply-adds that run in a precision, 0..1; 0 where there are none."""
        total = sum(self.multiply_adds.values())
        return self.multiply_adds.get(precision, 0) / total if total else 0.0

    def problems(self, computes: str) -> list[str]:
        """What speaks against `computes`, a key of `BESIDE`, in words; empty when nothing does."""
        if not self.operators:
            return []
        found = []
        others = [one for one in self.operators if one.precision not in BESIDE[computes]]
        if others:
            others.sort(key=lambda one: -one.multiply_adds)
            share = sum(self.share(precision) for precision in {one.precision for one in others})
            named = ", ".join(f"{one.name} in {one.precision}" for one in others[:_NAMED])
            more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
            found.append(f"{self.by} runs {share:.1%} of the multiply-adds in less than {computes}: {named}{more}")
        elif not self.share(computes) >= MIN_SESSION_SHARE and computes not in (
            "fp32",
            "tf32",
        ):  # allowed, never demanded
            found.append(
                f"{self.by} runs {self.share(computes):.1%} of the multiply-adds in {computes}, expected at least {MIN_SESSION_SHARE:.0%}"
            )
        return found

    def require(self, computes: str, source: str) -> None:
        """Raises PrecisionError, with all problems of the engine file `source`, when there are any."""
        if found := self.problems(computes):
            raise PrecisionError(f"{source} is to be computed in {computes}, and {'; '.join(found)}")

    def sentence(self) -> str:
        """In a line: it stands on the model card, behind what the graph proves."""
        shares = ", ".join(f"{self.share(precision):.1%} in {precision}" for precision in self.multiply_adds)
        return f"{self.by} runs {shares}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON values: multiply-adds for one image by precision and by operator."""
        by_operator: Counter[str] = Counter()
        for one in self.operators:
            by_operator[f"{one.kind} {one.precision}"] += one.multiply_adds
        return {
            "by": self.by,
            "multiply_adds": self.multiply_adds,
            "multiply_adds_by_operator": dict(by_operator.most_common()),
        }
