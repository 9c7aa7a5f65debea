"""Many mutants of every kind, and what became of them in figures."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dlcv.benchmarks.fuzz.pool import Outcome, Pool
from dlcv.benchmarks.fuzz.seeds import Seeds, make_seeds
from dlcv.benchmarks.fuzz.targets import TARGETS

PEAK_BYTES = 256 << 20
"""What reading one mutant may take. Images here are of 4 million pixels at most (`targets.MAX_PIXELS`), 25 MB as 16-bit RGB; files of a few KB."""
GOOD = ("success", "refused")


@dataclass
class KindReport:
    """What became of the mutants of a kind.

    Attributes:
        inputs: tried.
        outcomes: how many ended in each way.
        errors: how many ended in each sentence of ours, numbers and names left out.
        peak: memory that one mutant took at most, in bytes.
        slowest_s: seconds that one took at most.
    """

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    peak: int = 0
    slowest_s: float = 0.0

    def add(self, found: Outcome) -> None:
        """Counts one."""
        self.inputs += 1
        self.outcomes[found.outcome] += 1
        if found.outcome == "refused":
            self.errors[found.error] += 1
        self.peak, self.slowest_s = max(self.peak, found.peak), max(self.slowest_s, found.seconds)


@dataclass
class CampaignReport:
    """Of all kinds; `bad` holds every mutant that ended in another way than success or a line of ours."""

    kinds: dict[str, KindReport] = field(default_factory=dict)
    bad: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """For a JSON file."""
        total: Counter[str] = Counter()
        for each in self.kinds.values():
            total += each.outcomes
        return {
            "inputs": sum(each.inputs for each in self.kinds.values()),
            "outcomes": dict(total),
            "error_kinds": sum(len(each.errors) for each in self.kinds.values()),
            "peak_bytes": max((each.peak for each in self.kinds.values()), default=0),
            "slowest_s": round(max((each.slowest_s for each in self.kinds.values()), default=0.0), 3),
            "seconds": round(self.seconds, 1),
            "kinds": {
                name: {
                    "inputs": each.inputs,
                    "outcomes": dict(each.outcomes),
                    "error_kinds": len(each.errors),
                    "peak_bytes": each.peak,
                    "slowest_s": round(each.slowest_s, 3),
                }
                for name, each in self.kinds.items()
            },
            "bad": [asdict(each) for each in self.bad],
        }


def write_seeds(folder: Path, kinds: list[str] | None = None) -> Seeds:
    """Writes the seeds of some kinds, or of all, as `Pool` reads them."""
    seeds = make_seeds(kinds)
    for kind, files in seeds.items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            (folder / kind / name).write_bytes(data)
    return seeds


def shares(kinds: list[str], inputs: int) -> dict[str, int]:
    """How many mutants of each kind: at least one."""
    whole = sum(TARGETS[kind].weight for kind in kinds)
    return {kind: max(1, round(inputs * TARGETS[kind].weight / whole)) for kind in kinds}


def mutants(seeds: Seeds, inputs: int, first: int = 0) -> Iterator[tuple[str, str, int]]:
    """Kind, seed and number of each mutant: of a kind first the valid files themselves, then mutants of all seeds in turn."""
    for kind, count in shares(list(seeds), inputs).items():
        names = sorted(seeds[kind])
        yield from ((kind, name, -1) for name in names)
        for k in range(count):
            yield kind, names[k % len(names)], first + k // len(names)


def run_campaign(
    pool: Pool,
    seeds: Seeds,
    inputs: int,
    first: int = 0,
    say: Callable[[str], None] = lambda _: None,
    seconds: float = float("inf"),
) -> CampaignReport:
    """Tries mutants.

    Args:
        pool: opened, over the same seeds.
        inputs: how many.
        first: the first number: another one gives other mutants.
        say: takes a line for each mutant that ended badly, and for each kind that is through.
        seconds: no mutant is begun later.
    """
    report, start, last = CampaignReport(), time.monotonic(), ""
    for kind, seed, number in mutants(seeds, inputs, first):
        if time.monotonic() - start > seconds:
            break
        if kind != last and last:
            say(_line(last, report.kinds[last]))
        last = kind
        found = pool.read(kind, seed, number)
        report.kinds.setdefault(kind, KindReport()).add(found)
        spoiled_none = number < 0 and found.outcome != "success"  # what is refused whole would prove nothing spoiled
        if found.outcome not in GOOD or spoiled_none or found.peak > PEAK_BYTES:
            report.bad.append(found)
            say(told(found))
    if last:
        say(_line(last, report.kinds[last]))
    report.seconds = time.monotonic() - start
    return report


def told(found: Outcome) -> str:
    """A line on a mutant with what makes it again."""
    return (
        f"{found.outcome}: --kind {found.kind} --seed {found.seed} --number {found.number} "
        f"({', '.join(found.by)}; {found.peak >> 20} MiB, {found.seconds:.2f} s): {found.error}"
    )


def _line(kind: str, report: KindReport) -> str:
    ends = ", ".join(f"{count} {name}" for name, count in sorted(report.outcomes.items()))
    return f"{kind}: {report.inputs} inputs: {ends}; {len(report.errors)} kinds of error, {report.peak >> 20} MiB, {report.slowest_s:.2f} s"
