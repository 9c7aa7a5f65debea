"""What a worker does: opens the engine once, and runs block after block of tiles through the pipeline that a run has anywhere."""

from __future__ import annotations

import os
import pickle
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import DlcvError, EngineError, OutputError
from dlcv.runtime.files import sha256_of
from dlcv.runtime.machine import limit_cores
from dlcv.runtime.outputs.chosen import chosen_output
from dlcv.runtime.pipeline.outcome import Outcome
from dlcv.runtime.sessions import Session, open_session
from dlcv.runtime.sessions.restarting import RestartingSession
from dlcv.runtime.tiles.earlier_runs import RUN
from dlcv.runtime.tiles.tile_list import Fingerprint, Tile
from dlcv.runtime.work.dispatch import tile_pipeline
from dlcv.runtime.work.settings import InferSettings
from dlcv.runtime.work.tile_work import TileHands, TileWork

ATTEMPTS = 2
"""How often a block is begun: a machine may go down for reasons of its own."""


@dataclass(frozen=True)
class Order:
    """What all workers of a run are told.

    Attributes:
        settings: of the run, its paths absolute.
        card: of the engine, as the driver read it.
        options: from `task_options`, and `gallery`.
        engine_sha256: of the engine's file.
        run: the bytes of `run.json`.
        cpus: cores of a worker.
        tiles: of the whole run, see `pipeline_settings`.
    """

    settings: InferSettings
    card: ModelCard
    options: dict[str, Any]
    engine_sha256: str
    run: bytes
    cpus: int
    tiles: int | None


@dataclass
class BlockReport:
    """What became of a block of tiles.

    Attributes:
        worker: machine and process.
        outcomes: key, what `Output.note` is to have, the reason where the tile failed, and what its file was; of each tile that ended.
        error: what ended the worker's run, and None when nothing did.
        notices: lines for people.
        busy_s, cpu_s, threads: by stage, see `StageTimes`.
        process_cpu_s, batches: likewise.
        facts: of the session: `session`, `computes`, `batch`.
        restarts: how often the session was opened anew.
        lost: the block was not begun, since it ended its worker each time before.
    """

    worker: str
    outcomes: list[tuple[str, Any, str, Fingerprint | None]] = field(default_factory=list)
    error: DlcvError | None = None
    notices: list[str] = field(default_factory=list)
    busy_s: dict[str, float] = field(default_factory=dict)
    cpu_s: dict[str, float] = field(default_factory=dict)
    threads: dict[str, int] = field(default_factory=dict)
    process_cpu_s: float = 0.0
    batches: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    restarts: int = 0
    lost: bool = False


class Attempts:
    """An actor that outlives the workers and counts how often each block was begun."""

    def __init__(self) -> None:
        self._begun: Counter[str] = Counter()

    def begin(self, block: str) -> int:
        """Counts one more; gives the number."""
        self._begun[block] += 1
        return self._begun[block]

    def blocks(self) -> int:
        """How many were begun so far."""
        return len(self._begun)


class BlockWorker:
    """An actor of Ray Data: a block of tiles in, one row with a pickled `BlockReport` out.

    What ends a run anywhere else, such as an engine that does not open, comes back as a report: an exception would come
    wrapped in Ray's words.

    Args:
        order: see `Order`.
        attempts: handle of an `Attempts`.
    """

    def __init__(self, order: Order, attempts: Any) -> None:
        self._order, self._settings, self._attempts = order, order.settings, attempts
        self._session: RestartingSession | None = None
        limit_cores(order.cpus)

    def __call__(self, block: Mapping[str, Any]) -> dict[str, list[bytes]]:
        import ray

        (tiles,) = map(pickle.loads, block["tiles"])
        report = BlockReport(f"{platform.node()}, process {os.getpid()}")
        begun = ray.get(self._attempts.begin.remote(f"{len(tiles)} {tiles[0].key!a}"))
        report.lost = begun > ATTEMPTS
        try:
            if not report.lost:
                self._run(tiles, report)
        except DlcvError as error:
            report.error = DlcvError(f"on {report.worker}: {error}")
        return {"report": [pickle.dumps(report)]}

    def _run(self, tiles: Sequence[Tile], report: BlockReport) -> None:
        session, settings = self._opened(), self._settings
        generation = session.generation
        output = chosen_output(settings.output, self._order.card, tiles, self._order.options, str(settings.engine.path))
        hands = TileHands(settings.decode, output)
        pipeline = tile_pipeline(settings, session, hands.read, hands.write, output, self._order.tiles)

        def note(outcome: Outcome[TileWork, Any]) -> None:
            work = outcome.tile
            report.outcomes.append(
                (work.tile.key, outcome.result, "" if outcome.error is None else str(outcome.error), work.was)
            )

        try:
            pipeline.run(map(TileWork.of, tiles), note)
        finally:
            times = pipeline.times
            report.restarts = session.generation - generation
            report.notices = [*pipeline.notices, *session.notices_since(generation)]
            report.batches = times.batches
            report.busy_s, report.cpu_s, report.threads = times.busy_s, times.cpu_s, times.threads
            report.process_cpu_s = times.process_cpu_s
            report.facts = {"session": session.description, "computes": session.computes, "batch": pipeline.batch}
        self._settings = replace(
            settings, batch=pipeline.batch
        )  # what was tried out, or fell, holds for the next block

    def _opened(self) -> RestartingSession:
        if self._session is None:
            self._session = RestartingSession(self._open(), self._open)
        return self._session

    def _open(self) -> Session:
        self._check_storage()
        settings = self._settings
        return open_session(
            settings.engine.path, **settings.engine.how(), lanes=self._order.cpus, window_hw=settings.fitting.window
        )

    def _check_storage(self) -> None:
        """The engine and the output folder must be those that the driver sees."""
        run, engine = self._settings.output / RUN, self._settings.engine.path
        try:
            same_run, same_engine = run.read_bytes() == self._order.run, sha256_of(engine) == self._order.engine_sha256
        except OSError as error:
            raise OutputError(
                f"{error.filename} cannot be read here; engine and output folder must be on storage that all machines share"
            ) from error
        if not same_run:
            raise OutputError(
                f"{run} is not the one of this run; the output folder must be on storage that all machines share"
            )
        if not same_engine:
            raise EngineError(f"{engine} is another file here; it must be on storage that all machines share")
