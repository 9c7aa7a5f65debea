"""What is asked of a run, and what the measures of a case are given."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dlcv.benchmarks.bench.baselines import Opened, Work
from dlcv.benchmarks.bench.cases import Group
from dlcv.benchmarks.bench.measure import CRITERION, Effort
from dlcv.benchmarks.bench.nvml import Gpu
from dlcv.runtime.provenance import Trust
from dlcv.runtime.sessions import Session

MEASURES = ("host", "flight", "files", "cold", "roofline")
"""What can be asked for; device-only time comes with `host`, the first call and peak memory with `cold`."""


@dataclass(frozen=True)
class Request:
    """What is to be measured.

    Attributes:
        engines: files.
        devices, sessions, computes: see `open_session`; every combination.
        batches: images a call.
        in_flight: batches at once, for `flight`.
        measures: of `MEASURES`.
        baselines: of `baselines.BASELINES`.
        data: a folder of tiles; None: generated ones of the engine's size.
        tiles: how many of them, file to file.
        checkpoint: with the weights for torch.
        effort: see `measure.Effort`.
        processes: of their own, of each kind, for the cold start.
        trust: what the engines must prove.
        budget_s: no case begins that would probably end later, in seconds from the start; None: all are measured.
    """

    engines: tuple[Path, ...]
    devices: tuple[str, ...] = ("auto",)
    sessions: tuple[str, ...] = ("auto",)
    computes: tuple[str, ...] = ("card",)
    batches: tuple[int, ...] = (1,)
    in_flight: tuple[int, ...] = (1, 2, 4)
    measures: tuple[str, ...] = MEASURES
    baselines: tuple[str, ...] = ("bare", "torch", "serial")
    data: Path | None = None
    tiles: int = 16
    checkpoint: Path | None = None
    effort: Effort = field(default_factory=Effort)
    processes: int = 8
    trust: Trust = field(default_factory=Trust)
    budget_s: float | None = None

    def facts(self) -> dict[str, Any]:
        """As JSON values; files by name, since a result is sent around."""
        names = {"engines": [path.name for path in self.engines], "data": self.data.name if self.data else None}
        given = {
            name: list(getattr(self, name))
            for name in ("devices", "sessions", "computes", "batches", "in_flight", "measures", "baselines")
        }
        effort = {"effort": asdict(self.effort), "warm_up": CRITERION}
        return (
            names
            | given
            | effort
            | {"tiles": self.tiles, "processes": self.processes, "checkpoint": self.checkpoint is not None}
        )


@dataclass(frozen=True)
class Shared:
    """What the groups of a run share.

    Attributes:
        request: see there.
        scratch: a folder for the time of the run.
        gpu: to be watched; None where there is none.
        no_gpu: why not, in words.
    """

    request: Request
    scratch: Path
    gpu: Gpu | None
    no_gpu: str

    def gpu_of(self, device: str) -> Gpu | None:
        """The GPU, where a case runs on it."""
        return self.gpu if device == "cuda" else None

    def why_no_gpu(self, device: str) -> str:
        """Why nothing of a GPU is told of a case."""
        return self.no_gpu if device == "cuda" else "of a GPU only"


@dataclass(frozen=True)
class Running:
    """A group, opened; its batches share all of it.

    Attributes:
        group: as it was asked for.
        work: what our session does, for baselines.
        sessions: ours, twice.
        opened: the baselines.
        uncounted: why the engine's multiply-adds are not known; empty where they are.
    """

    group: Group
    work: Work
    sessions: tuple[Session, Session]
    opened: Opened
    uncounted: str
