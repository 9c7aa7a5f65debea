"""What the end of a run says, from times made up and from stand-in sessions both ways."""

from __future__ import annotations

import time
from typing import Any

import pytest

from dlcv.runtime.pipeline.pipeline import Pipeline
from dlcv.runtime.pipeline.settings import PipelineSettings
from dlcv.runtime.pipeline.times import StageTimes
from dlcv.runtime.pipeline.verdict import more_threads, verdict


def times(**given: Any) -> StageTimes:
    """10 s on 8 cores, one lane; `decode=(busy_s, cpu_s, threads)` and so on."""
    stages = {"decode": (1.0, 1.0, 1), "session": (1.0, 0.1, 1), "write": (1.0, 1.0, 1)} | given.pop("stages", {})
    cpu_s = {stage: values[1] for stage, values in stages.items()}
    rest = {"wall_s": 10.0, "cores": 8, "batches": 100, "process_cpu_s": sum(cpu_s.values())} | given
    return StageTimes(
        busy_s={stage: values[0] for stage, values in stages.items()},
        cpu_s=cpu_s,
        threads={stage: values[2] for stage, values in stages.items()},
        **rest,
    )


@pytest.mark.parametrize(
    ("given", "bound", "sentence"),
    [
        (
            {"stages": {"decode": (20.0, 20.0, 2), "session": (4.1, 0.5, 1)}},
            "decode",
            "decode-bound: the session was busy 41% of the time; 3 more decode threads (--decoders 5) would keep it busy",
        ),
        (
            {"stages": {"decode": (20.0, 20.0, 2), "session": (4.1, 0.5, 1)}, "cores": 4, "idle_s": 16.0},
            "decode",
            "decode-bound: the session was busy 41% of the time; 1 more decode thread (--decoders 3) would use the idle cores, 3 would keep the session busy",
        ),
        (  # threads that wait for a disk take no core
            {"stages": {"decode": (20.0, 0.1, 2), "session": (4.1, 0.5, 1)}, "cores": 2, "idle_s": 15.0},
            "decode",
            "decode-bound: the session was busy 41% of the time; 3 more decode threads (--decoders 5) would keep it busy",
        ),
        (
            {"stages": {"write": (19.0, 2.0, 2), "session": (5.0, 0.5, 1)}},
            "write",
            "write-bound: the session was busy 50% of the time; 2 more write threads (--writers 4) would keep it busy",
        ),
        (
            {"stages": {"session": (9.6, 0.5, 1)}},
            "session",
            "session-bound: the session was busy 96% of the time; a faster engine would help: int8, or a GPU",
        ),
        (
            {"stages": {"session": (6.0, 0.5, 1), "decode": (7.0, 7.0, 1)}},
            "balanced",
            "balanced: no stage was busy all the time (decode 70%, session 60%, write 10%)",
        ),
        (
            {"stages": {"session": (18.0, 12.0, 2), "decode": (10.0, 6.0, 2), "write": (2.0, 1.0, 2)}, "cores": 2},
            "CPU",
            "CPU-bound: all 2 cores were busy; of the CPU time decode took 32%, session took 63%, write took 5%; more threads would not help; a faster engine would help: int8, or a GPU",
        ),
        (  # other programs have half of the machine
            {"stages": {"session": (18.0, 5.0, 2), "decode": (18.0, 5.0, 2)}, "cores": 2, "idle_s": 0.5, "process_cpu_s": 10.0},
            "CPU",
            "CPU-bound: all 2 cores were busy, 48% of it with other programs; of the CPU time decode took 45%, session took 45%, write took 9%; more threads would not help; smaller or less compressed tiles would help",
        ),
        (  # other programs have most of it
            {"stages": {"session": (18.0, 1.0, 2), "decode": (18.0, 1.0, 2)}, "cores": 2, "idle_s": 0.5, "process_cpu_s": 2.5},
            "CPU",
            "CPU-bound: all 2 cores were busy, 85% of it with other programs; of the CPU time decode took 33%, session took 33%, write took 33%; end the other programs, or give this one a machine of its own",
        ),
        (  # 8 large tiles
            {"stages": {"session": (156.0, 2.0, 2)}, "batches": 8, "wall_s": 79.0},
            "session",
            "session-bound: the session was busy 99% of the time; a faster engine would help: int8, or a GPU",
        ),
        (
            {"stages": {"session": (9.0, 0.5, 4)}, "batches": 1},
            "tiles",
            "too few tiles: 1 batch for a session that runs 4 at a time; the rest of it waited",
        ),
        ({"wall_s": 0.5}, "unknown", ""),
        ({"batches": 9, "wall_s": 4.0}, "unknown", ""),
        ({"batches": 0}, "unknown", ""),
    ],
)  # fmt: skip
def test_the_sentence(given: dict[str, Any], bound: str, sentence: str) -> None:
    found = verdict(times(**given))
    assert (found.bound, found.sentence) == (bound, sentence)


@pytest.mark.parametrize(
    ("device", "computes", "advice"),
    [
        ("cpu", "bf16", "int8, or a GPU"),
        ("cpu", "int8", "a GPU, or a smaller model"),
        ("cuda", "fp16", "a lower precision, such as int8"),
        ("cuda", "int8", "a smaller model, or a faster GPU"),
    ],
)
def test_an_engine_is_not_advised_to_become_what_it_is(device: str, computes: str, advice: str) -> None:
    for given in ({}, {"cores": 1}):  # bound by the session, and by the CPU
        found = verdict(times(stages={"session": (9.6, 9.0, 1)}, **given), device=device, computes=computes)
        assert found.sentence.endswith(f"a faster engine would help: {advice}")


def test_threads_of_a_library_count_as_the_sessions() -> None:
    busy = times(stages={"session": (9.9, 0.2, 1)}, cores=2, process_cpu_s=19.0)
    assert "session took 89%" in verdict(busy).sentence


def test_how_many_threads() -> None:
    assert more_threads(times(stages={"decode": (40.0, 40.0, 4), "session": (10.0, 0.0, 1)}), "decode") == (1, 1)
    assert more_threads(times(stages={"decode": (10.0, 10.0, 1), "session": (5.0, 0.0, 2)}), "decode") == (3, 3)
    assert more_threads(times(stages={"decode": (10.0, 10.0, 1), "session": (0.0, 0.0, 1)}), "decode") == (0, 0)


def run(stand_in: Any, read_s: float, session_s: float, write_s: float, tiles: int = 40, **threads: int) -> StageTimes:
    """Stages that sleep: the cores stay idle however busy the machine is, which wakes them some milliseconds late then."""

    def read(tile: int) -> Any:
        time.sleep(read_s)
        return stand_in.tile_image(tile)

    session = stand_in.StandIn(before=lambda images: time.sleep(session_s))
    pipeline: Pipeline[int, None] = Pipeline(
        session, read, lambda tile, mask: time.sleep(write_s), PipelineSettings(**threads)
    )
    pipeline.run(range(tiles), lambda outcome: None)
    pipeline.times.idle_s = None  # other programs on the machine are not the test's
    return pipeline.times


@pytest.mark.parametrize(
    ("seconds", "bound"),
    [((0.06, 0.015, 0.002), "decode"), ((0.015, 0.06, 0.002), "session"), ((0.002, 0.015, 0.06), "write")],
)
def test_stand_ins_that_sleep(stand_in: Any, seconds: tuple[float, float, float], bound: str) -> None:
    measured = run(stand_in, *seconds)
    assert verdict(measured).bound == bound
    if bound != "session":
        needed, fed = more_threads(measured, bound)
        assert fed == needed >= 1, "threads that sleep need no core"


def test_the_threads_it_asks_for_help(stand_in: Any) -> None:
    before = run(stand_in, 0.16, 0.05, 0.004, tiles=20)
    needed, _ = more_threads(before, "decode")
    after = run(stand_in, 0.16, 0.05, 0.004, tiles=20, decoders=1 + needed)
    assert after.wall_s < 0.75 * before.wall_s
    assert after.share("session") > before.share("session")


def test_work_counts_as_cpu_time_and_sleep_does_not(stand_in: Any) -> None:
    def read(tile: int) -> Any:
        end = time.thread_time() + 0.005
        while time.thread_time() < end:
            pass
        return stand_in.tile_image(tile)

    pipeline: Pipeline[int, None] = Pipeline(
        stand_in.StandIn(), read, lambda tile, mask: time.sleep(0.005), PipelineSettings()
    )
    pipeline.run(range(20), lambda outcome: None)
    assert 0.1 <= pipeline.times.cpu_s["decode"] <= pipeline.times.busy_s["decode"] + 0.01
    assert pipeline.times.cpu_s["write"] < 0.5 * pipeline.times.busy_s["write"]
    assert pipeline.times.process_cpu_s >= pipeline.times.cpu_s["decode"]
