"""The gates of whole runs, file to file, by the clock: they see waiting, which no CPU time has in it, and only what is gross."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dlcv.benchmarks.bench.result import FILES
from dlcv.benchmarks.suite.gates import Gate, Pairs

if TYPE_CHECKING:
    from dlcv.benchmarks.suite.engines import Engines

BOUND_AT_MOST = 1.4
SERIAL_AT_MOST = 0.9


def whole_gates(engines: Engines) -> list[Gate]:
    """File to file beside its bound, and beside a plain loop."""
    from dlcv.benchmarks.pipeline.file_to_file import SERIAL

    ours = "dlcv-infer"
    return [
        Gate("file-to-file", ours, "the CPU work of codec and session on all cores", BOUND_AT_MOST, FILES, lambda n: _over_bound(engines, n)),
        Gate("serial", ours, f"a {SERIAL}", SERIAL_AT_MOST, FILES, lambda n: _over_serial(engines, n)),
    ]  # fmt: skip


def _over_bound(engines: Engines, pairs: int) -> Pairs:
    from dlcv.benchmarks.pipeline.file_to_file import bound_s, open_s

    rounds = engines.rounds(pairs)
    return Pairs(tuple(open_s(rounds)), tuple(bound_s(rounds)))


def _over_serial(engines: Engines, pairs: int) -> Pairs:
    from dlcv.benchmarks.pipeline.file_to_file import OPENING, OURS, SERIAL

    rounds = engines.rounds(pairs)
    once_open = (
        ours.wall_s - opening.wall_s for ours, opening in zip(rounds[OURS], rounds[OPENING])
    )  # as the loop's is
    return Pairs(tuple(once_open), tuple(one.wall_s for one in rounds[SERIAL]))
