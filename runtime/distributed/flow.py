"""The driver's side: tiles out to the workers in blocks, their reports back as they come.

A row of the manifest is written when a report is there; until then a tile counts as not done, whatever became of its worker, and
`--resume` runs it again. Ray starts a worker that ended anew and gives it its block again, without end: so the attempts are counted, and a
block that was begun twice is not begun again. Tiles that are without an answer after all blocks go out once more, each alone, so that
one that ends its worker takes no other with it.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dlcv.runtime.distributed.cluster import Layout, joined, layout_of, waiting, without_lines
from dlcv.runtime.distributed.worker import ATTEMPTS, Attempts, BlockReport, BlockWorker, Order
from dlcv.runtime.errors import EngineError, TileError, UsageError
from dlcv.runtime.pipeline.outcome import Outcome
from dlcv.runtime.pipeline.times import StageTimes
from dlcv.runtime.tiles.tile_list import Tile
from dlcv.runtime.tiles.urls import is_url
from dlcv.runtime.work.settings import InferSettings
from dlcv.runtime.work.tile_work import TileWork

BLOCK = 64
"""Tiles that a worker takes at a time, and the most that are run again when it ends."""
ASK_S = 5.0
"""Seconds that a question to the cluster may take which is asked only to tell people."""
MOST_LOST = 32
"""Blocks that ended their worker each time before the run is given up."""


def absolute(settings: InferSettings) -> InferSettings:
    """The settings with paths that mean the same in a process that started elsewhere, and the trust that this environment asks for.

    Raises:
        UsageError: when an option cannot be had on a cluster.
    """
    if settings.engine.rebuild:
        raise UsageError(
            "--rebuild builds for the GPU of this machine; build the plan where the workers run, or leave it out"
        )
    engine = replace(
        settings.engine,
        path=Path(os.path.abspath(settings.engine.path)),
        trust=settings.engine.trust.with_environment(),
    )
    return replace(settings, engine=engine, output=Path(os.path.abspath(settings.output)))


class RayFlow:
    """Runs tiles in workers; see `Flow` in `runtime/run/flow.py`.

    Args:
        order: what the workers are told; its `cpus` are set here.
        say: takes a line about the workers.

    Attributes:
        times: sums over the workers; `wall_s` is the driver's.
        notices: of the workers.
        facts: of their sessions.
        opened: nothing, see `Flow`: how many workers there are is said when they are known.
    """

    opened = ""

    def __init__(self, order: Order, say: Callable[[str], None]) -> None:
        self._order, self._say = order, say
        self.times, self.notices, self.facts = StageTimes(), [], {}  # type: StageTimes, list[str], dict[str, Any]
        self._threads: dict[str, dict[str, int]] = {}
        self._lost = self._restarts = 0

    def run(
        self,
        works: Iterable[TileWork],
        report: Callable[[Outcome[TileWork, Any]], None],
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        """Runs all tiles.

        Raises:
            EngineError: when there is no cluster, or workers keep ending.
            DlcvError: what ended a worker's run.
        """
        settings = self._order.settings
        left = {work.tile.key: work for work in works}
        with joined(settings.ray or "auto") as ray, without_lines(b"core_worker.cc"), self.times.running():
            nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
            layout = layout_of(nodes, settings.engine.device, settings.ray_workers)
            self._say(f"Ray: {layout}")
            spread = max(1, -(-len(left) // (2 * layout.workers)))  # a short run is shared, too
            for size in (min(BLOCK, spread), 1):
                for block in self._reports(ray, layout, list(left.values()), size):
                    self._hear(block, left, report)
                if not left:
                    break
                self._lost = 0
        for work in left.values():
            words = f"it ended its worker without a word, {ATTEMPTS} times while it was alone; look at it without --ray"
            report(Outcome(work, error=TileError(words)))

    def _hear(
        self, block: BlockReport, left: dict[str, TileWork], report: Callable[[Outcome[TileWork, Any]], None]
    ) -> None:
        for key, result, reason, was in block.outcomes:
            work = left.pop(key, None)
            if work is not None:
                work.was = was
                report(Outcome(work, result, TileError(reason) if reason else None))
        self._count(block)
        self._lost += block.lost
        if self._lost > MOST_LOST:
            raise EngineError(
                f"{self._lost} blocks of tiles ended their workers; look at one without --ray, and go on with --resume"
            )
        if block.error is not None:
            raise block.error

    def _count(self, block: BlockReport) -> None:
        times = self.times
        for stage in block.busy_s:
            times.busy_s[stage] += block.busy_s[stage]
            times.cpu_s[stage] += block.cpu_s[stage]
        self._threads[block.worker] = block.threads
        for stage in block.threads:
            times.threads[stage] = sum(threads.get(stage, 0) for threads in self._threads.values())
        times.batches += block.batches
        self.notices += [f"{line} ({block.worker})" for line in block.notices]
        self._restarts += block.restarts
        self.facts = (block.facts or self.facts) | {"session_restarts": self._restarts}

    def _reports(self, ray: Any, layout: Layout, works: Sequence[TileWork], size: int) -> Iterator[BlockReport]:
        tiles = [_anywhere(work.tile) for work in works]
        blocks = [{"tiles": pickle.dumps(tiles[start : start + size])} for start in range(0, len(tiles), size)]
        context = ray.data.DataContext.get_current()
        bars, context.enable_progress_bars = context.enable_progress_bars, False
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        try:
            attempts = ray.remote(num_cpus=0)(Attempts).remote()
            reports = ray.data.from_items(blocks, override_num_blocks=len(blocks)).map_batches(
                BlockWorker,
                fn_constructor_args=(replace(self._order, cpus=layout.cpus), attempts),
                batch_size=1,
                # one block at a time in each: what waits in a worker that ends would count as tried, too
                compute=ray.data.ActorPoolStrategy(
                    size=min(layout.workers, len(blocks)), max_tasks_in_flight_per_actor=1
                ),
                num_cpus=layout.cpus,
                num_gpus=layout.gpus or None,
            )
            with waiting(self._say, partial(_what_is_waited_for, ray, attempts)) as answered:
                for row in reports.iter_rows():
                    answered.set()
                    yield pickle.loads(row["report"])
        except ray.exceptions.RayError as error:
            words = str(error).strip().splitlines()[-1][:300]
            raise EngineError(f"Ray gave up: {words}; go on with --resume") from error
        finally:
            context.enable_progress_bars = bars


def _what_is_waited_for(ray: Any, attempts: Any, seconds: float) -> str:
    """Whether the workers have begun, and what keeps them where they have not: a cluster whose cores others hold says nothing itself."""
    free, cores = (int(found.get("CPU", 0)) for found in (ray.available_resources(), ray.cluster_resources()))
    try:
        begun = ray.get(attempts.blocks.remote(), timeout=ASK_S)
    except ray.exceptions.GetTimeoutError:
        begun = 0
    doing = f"{begun} block{'s' if begun > 1 else ''} of tiles begun, none done" if begun else "none has begun"
    return f"waiting for Ray's workers, {seconds:.0f} s: {doing}; {free} of {cores} cores of the cluster are free"


def _anywhere(tile: Tile) -> Tile:
    where = tile.where if is_url(tile.where) else os.path.abspath(tile.where)
    return Tile(where, tile.key, large=tile.large)
