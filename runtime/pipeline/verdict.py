"""What held a run up, in a sentence, and what would help: decode, session, write, or the cores themselves."""

from __future__ import annotations

import math
from dataclasses import dataclass

from dlcv.runtime.pipeline.times import STAGES, StageTimes

BUSY = 0.85
"""The share of a run's time from which a stage's threads, or the cores, count as always at work: filling and emptying the
pipeline takes the rest."""
SHORTEST_S, FEWEST_BATCHES = 1.0, 10
"""A run of less, of batches for each lane, is mostly start and end, and is not judged."""
LONG_S = 5.0
"""... unless it took so long: its shares of time are what a user waited for, however few batches they were."""
ADVICE = {
    "decode": "smaller or less compressed tiles, or a faster disk, would help",
    "session": "a faster engine would help",
    "write": "a faster disk, or fewer outputs a tile, would help",
}
LIGHTER = {"decode": "smaller or less compressed tiles would help", "write": "fewer outputs a tile would help"}
"""What helps where the cores are the limit, and no disk."""
OTHERS = 0.5
"""The share of the cores from which other programs are what to look at first."""
END_THEM = "end the other programs, or give this one a machine of its own"
FASTER = {("cpu", "int8"): "a GPU, or a smaller model", ("cuda", "int8"): "a smaller model, or a faster GPU"}
"""What is faster than a session of this device and precision; `FASTER_THAN_OTHERS` where it is in none of these."""
FASTER_THAN_OTHERS = {"cpu": "int8, or a GPU", "cuda": "a lower precision, such as int8"}
FLAG = {"decode": "--decoders", "write": "--writers"}


@dataclass(frozen=True)
class Verdict:
    """The slowest part of a run.

    Attributes:
        bound: `decode`, `session`, `write`, `CPU`, `balanced` where nothing was at work all the time, `tiles` where there were
            too few of them, or `unknown`.
        sentence: for people: what was busy, and what would help; empty for `unknown`.
    """

    bound: str
    sentence: str


def verdict(times: StageTimes, *, device: str = "cpu", computes: str = "fp32") -> Verdict:
    """Judges a run that has ended, from its measured times.

    Args:
        times: of the run.
        device, computes: the session's, so that it is not advised to become what it is.
    """
    advice = ADVICE | {"session": f"{ADVICE['session']}: {_faster(device, computes)}"}
    lanes = times.threads.get("session", 1)
    if times.wall_s < SHORTEST_S or not times.batches:
        return Verdict("unknown", "")
    if times.wall_s < LONG_S and times.batches < FEWEST_BATCHES * lanes:
        return Verdict("unknown", "")
    cores_s = times.wall_s * times.cores
    if times.process_cpu_s >= BUSY * cores_s:
        return Verdict("CPU", f"CPU-bound: all {_cores(times.cores)} busy; {_shares(times)}; {_lighter(times, advice)}")
    if times.idle_s is not None and times.idle_s <= (1 - BUSY) * cores_s:
        others = 1 - (times.process_cpu_s + times.idle_s) / cores_s
        return Verdict(
            "CPU",
            f"CPU-bound: all {_cores(times.cores)} busy, {others:.0%} of it with other programs; {_shares(times)}; "
            + (END_THEM if others >= OTHERS else _lighter(times, advice)),
        )
    if times.batches < lanes:
        batches = f"{times.batches} batch{'es' if times.batches > 1 else ''}"
        return Verdict(
            "tiles", f"too few tiles: {batches} for a session that runs {lanes} at a time; the rest of it waited"
        )
    slowest = max(STAGES, key=times.share)
    if times.share(slowest) < BUSY:
        busy = ", ".join(f"{stage} {times.share(stage):.0%}" for stage in STAGES)
        return Verdict("balanced", f"balanced: no stage was busy all the time ({busy})")
    if slowest == "session":
        return Verdict(
            "session",
            f"session-bound: the session was busy {times.share('session'):.0%} of the time; {advice['session']}",
        )
    return Verdict(
        slowest,
        f"{slowest}-bound: the session was busy {times.share('session'):.0%} of the time; {_more_threads(times, slowest)}",
    )


def _faster(device: str, computes: str) -> str:
    return FASTER.get((device, computes), FASTER_THAN_OTHERS[device])


def more_threads(times: StageTimes, stage: str) -> tuple[int, int]:
    """How many more threads a stage needs to keep up with the session, and how many of them the idle cores can feed.

    A session that never waits works through the run in the seconds that it was busy, so a stage needs as many threads as
    make its own seconds fit into these. What a thread takes of a core is its CPU time over its time at work: a thread that
    waits for a disk takes less than one.
    """
    session_s = times.busy_s["session"] / times.threads.get("session", 1)
    if not session_s or not times.busy_s[stage]:
        return 0, 0
    needed = max(1, math.ceil(times.busy_s[stage] / session_s) - times.threads.get(stage, 1))
    core_a_thread = times.cpu_s[stage] / times.busy_s[stage]
    idle = times.cores - times.process_cpu_s / times.wall_s
    if times.idle_s is not None:  # what others use is not to be had
        idle = min(idle, times.idle_s / times.wall_s)
    fed = (
        needed if core_a_thread < 0.01 else int(idle / core_a_thread + 0.25)
    )  # a quarter of a core too few is no matter
    return needed, max(0, min(needed, fed))


def _more_threads(times: StageTimes, stage: str) -> str:
    needed, fed = more_threads(times, stage)
    if not needed:
        return ADVICE[stage]
    if not fed:
        return f"more {stage} threads would not help, since no core is idle; {ADVICE[stage]}"
    threads = f"{fed} more {stage} thread{'s' if fed > 1 else ''}"
    flag = f"({FLAG[stage]} {times.threads.get(stage, 1) + fed})"
    if fed < needed:
        return f"{threads} {flag} would use the idle cores, {needed} would keep the session busy"
    return f"{threads} {flag} would keep it busy"


def _cores(count: int) -> str:
    return "of its 1 core was" if count == 1 else f"{count} cores were"


def _session_cpu_s(times: StageTimes) -> float:
    """What the codec did not use: a session's library may have threads of its own."""
    return max(times.cpu_s["session"], times.process_cpu_s - times.cpu_s["decode"] - times.cpu_s["write"])


def _cpu_by_stage(times: StageTimes) -> dict[str, float]:
    return times.cpu_s | {"session": _session_cpu_s(times)}


def _shares(times: StageTimes) -> str:
    by_stage = _cpu_by_stage(times)
    total = sum(by_stage.values()) or 1.0
    return "of the CPU time " + ", ".join(f"{stage} took {by_stage[stage] / total:.0%}" for stage in STAGES)


def _lighter(times: StageTimes, advice: dict[str, str]) -> str:
    by_stage = _cpu_by_stage(times)
    return f"more threads would not help; {(advice | LIGHTER)[max(STAGES, key=lambda stage: by_stage[stage])]}"
