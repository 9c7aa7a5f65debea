"""Where the tiles of a run go through sessions: in this process, or in Ray's workers (`distributed/flow.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.machine import cpu_count
from dlcv.runtime.outputs.base import Output
from dlcv.runtime.pipeline.outcome import Outcome
from dlcv.runtime.pipeline.times import StageTimes
from dlcv.runtime.pipeline.verdict import verdict
from dlcv.runtime.sessions.restarting import RestartingSession
from dlcv.runtime.tiles.earlier_runs import RUN
from dlcv.runtime.work.dispatch import tile_pipeline
from dlcv.runtime.work.settings import InferSettings
from dlcv.runtime.work.tile_work import TileHands, TileWork

if TYPE_CHECKING:
    from dlcv.runtime.isolate.pool import IsolatedDecoder


class Flow(Protocol):
    """Where the tiles of a run go through sessions."""

    @property
    def times(self) -> StageTimes:
        """Where the time went."""

    @property
    def opened(self) -> str:
        """What the tiles are run in, for people; empty where that was said already."""

    @property
    def notices(self) -> list[str]:
        """Lines for people."""

    @property
    def facts(self) -> dict[str, Any]:
        """For `summary.json`: `session`, `computes`, `batch`, `verdict`."""

    def run(
        self,
        works: Iterable[TileWork],
        report: Callable[[Outcome[TileWork, Any]], None],
        progress: Callable[[str], None] = ...,
    ) -> None:
        """Runs all tiles; see `TilePipeline.run`."""


class Here:
    """A session and a pipeline in this process."""

    def __init__(
        self, settings: InferSettings, session: RestartingSession, output: Output[Any], decoder: IsolatedDecoder | None,
        tiles: int | None,
    ) -> None:  # fmt: skip
        self._session, self._decoder, self._engine = session, decoder, settings.engine.path.name
        hands = TileHands(settings.decode, output, decoder)
        self._pipeline = tile_pipeline(settings, session, hands.read, hands.write, output, tiles)
        self.run, self.times = self._pipeline.run, self._pipeline.times
        if decoder is not None:
            decoder.count_cpu = partial(self.times.add_cpu, "decode")

    @property
    def opened(self) -> str:
        """`fcn8s.onnx in OpenVINO 2026.4.1 on CPU, in int8; batch 1, 3 at a time`."""
        session = self._session
        return f"{self._engine} in {session.description}; batch {self._pipeline.batch}, {session.parallel} at a time"

    @property
    def notices(self) -> list[str]:
        """Of the pipeline, and that the session was restarted, or decoding processes replaced."""
        decoding = [] if self._decoder is None else self._decoder.notices
        return [*self._pipeline.notices, *self._session.notices, *decoding]

    @property
    def facts(self) -> dict[str, Any]:
        session = self._session
        return {
            "session": session.description,
            "computes": session.computes,
            "batch": self._pipeline.batch,
            "session_restarts": session.generation,
            "verdict": verdict(self.times, device=session.device, computes=session.computes).sentence,
        }


def decoder_of(settings: InferSettings) -> AbstractContextManager[IsolatedDecoder | None]:
    if not settings.isolate:
        return nullcontext()
    from dlcv.runtime.isolate.pool import IsolatedDecoder

    return IsolatedDecoder(settings.decode, settings.decoders or cpu_count(), settings.tile_timeout_s or None)


def on_ray(
    settings: InferSettings, card: ModelCard, options: dict[str, Any], sha256: str, tiles: int | None, say: Callable[[str], None],
) -> Flow:  # fmt: skip
    from dlcv.runtime.distributed.flow import RayFlow
    from dlcv.runtime.distributed.worker import Order

    run = (settings.output / RUN).read_bytes()
    return RayFlow(Order(settings, card, options, engine_sha256=sha256, run=run, cpus=1, tiles=tiles), say)
