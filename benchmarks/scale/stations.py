"""The bound of machines that are not there, on paper.

A bound, by the operational laws (Denning and Buzen, "The Operational Analysis of Queueing Network Models", ACM Computing
Surveys 1978): a station that works D seconds a tile with m servers passes at most m / D tiles a second, and the whole no more
than its slowest station. With N tiles in flight it is no more than N / (sum of D), either. A link or a disk is a station too:
bytes a tile over its bytes a second (as in the roofline model of Williams, Waterman and Patterson, CACM 2009). Queues that run
empty by chance, memory bandwidth that stages share, and a disk that slows down under many readers are not in it: a machine
reaches less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Station:
    """What a tile passes: `demand_s` seconds of one of `servers`."""

    name: str
    demand_s: float
    servers: float

    @property
    def per_second(self) -> float:
        """Tiles a second when it is never idle (the utilisation law at a utilisation of 1)."""
        return float("inf") if self.demand_s == 0 else self.servers / self.demand_s


@dataclass(frozen=True)
class Bound:
    """Tiles a second at most, and the station that sets it."""

    per_second: float
    by: str


def bound_of(stations: Sequence[Station], in_flight: int | None = None) -> Bound:
    """The asymptotic bounds of Denning and Buzen: the slowest station, and `in_flight` tiles over the time of a lone one."""
    slowest = min(stations, key=lambda one: one.per_second)
    alone_s = sum(one.demand_s for one in stations)
    if in_flight is not None and alone_s > 0 and in_flight / alone_s < slowest.per_second:
        return Bound(in_flight / alone_s, f"{in_flight} tiles in flight")
    return Bound(slowest.per_second, slowest.name)


@dataclass(frozen=True)
class Measured:
    """What was measured here, a tile.

    Attributes:
        cpu_s: seconds of CPU by stage: `codec`, `session`, `pipeline`.
        read_bytes, written_bytes: of a tile's file and its answer.
        session_s: seconds on the clock of a batch on the device, over its images; None: the session runs on the CPU's cores.
    """

    cpu_s: Mapping[str, float]
    read_bytes: float
    written_bytes: float
    session_s: float | None = None


def stations_of(
    measured: Measured,
    *,
    cores: float,
    gpus: float = 0,
    disk_mb_s: float = float("inf"),
    link_mb_s: float = float("inf"),
) -> list[Station]:
    """The stations of a machine.

    Args:
        measured: on one machine; another's cores are taken to be as quick.
        cores: of the CPU, which all stages share.
        gpus: that run the session, where `session_s` is known.
        disk_mb_s: what is read and written, together, in MB (1e6 bytes) a second.
        link_mb_s: likewise of the network that tiles come in and answers go out by.
    """
    on_cpu = (
        measured.cpu_s if measured.session_s is None else {k: v for k, v in measured.cpu_s.items() if k != "session"}
    )
    moved = (measured.read_bytes + measured.written_bytes) / 1e6
    stations = [
        Station("cores", sum(on_cpu.values()), cores),
        Station("disk", moved / disk_mb_s, 1),
        Station("link", moved / link_mb_s, 1),
    ]
    if measured.session_s is not None:
        stations.append(Station("GPUs", measured.session_s, gpus))
    return stations


def stations_on_paper(measured: Measured, number: int, cores: int, disk: float, link: float) -> list[Station]:
    """Of one machine with `number` GPUs where the session runs on these, else of so many machines, each with its own disk and link."""
    if measured.session_s is not None:
        return stations_of(measured, cores=cores, gpus=number, disk_mb_s=disk, link_mb_s=link)
    return stations_of(measured, cores=cores * number, disk_mb_s=disk * number, link_mb_s=link * number)
