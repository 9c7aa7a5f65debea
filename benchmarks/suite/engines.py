"""What the gates run: graphs, sessions, tiles, made when first asked for."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dlcv.benchmarks.pipeline.file_to_file import Round

TILES, TILE_SIDE, INPUT_SIDE = 64, 512, 224
WIDTH = 0.05
"""Of the tiles and the engine of whole runs."""


class Engines:
    """Made when first asked for, and removed at the end of `with`."""

    def __init__(self) -> None:
        self._stack = ExitStack()

    def __enter__(self) -> Engines:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self.rounds = cache(self._rounds)
        self.session = cache(self._session)
        self.graph = cache(self._graph)
        self.tiles = cache(self._tiles)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _rounds(self, rounds: int) -> dict[str, list[Round]]:
        """Two gates are ratios of the same rounds."""
        from dlcv.benchmarks.pipeline.file_to_file import EACH, measured_rounds, ways_of

        folder = self.folder / f"rounds-{rounds}"
        folder.mkdir()
        ways = ways_of(self.tiles(TILES, TILE_SIDE), self.graph("fp32", WIDTH), folder)
        return measured_rounds({name: way for name, way in ways.items() if name != EACH}, rounds)

    def _tiles(self, count: int, side: int) -> list[Path]:
        from dlcv.benchmarks.pipeline.scenes import tile_paths

        return tile_paths(None, self.folder / f"tiles-{count}-{side}", count, side)

    def _graph(self, precision: str, width: float) -> Path:
        from dlcv.benchmarks.untrained import untrained

        return untrained(self.folder / f"fcn8s-{width}-{precision}.onnx", width, INPUT_SIDE, int8=precision == "int8")

    def largest_channel(self, side: int) -> Path:
        """A graph of four operators, which costs next to nothing."""
        from dlcv.benchmarks.untrained import largest_channel

        return largest_channel(self.folder / f"largest-channel-{side}.onnx", side)

    def _session(self, precision: str, library: str, width: float) -> Any:
        """One call runs in one thread, which waits for no other."""
        from dlcv.runtime.machine import cpu_count
        from dlcv.runtime.sessions import open_session

        session = open_session(self.graph(precision, width), device="cpu", session=library, lanes=cpu_count())
        return self._stack.enter_context(session)

    def bare(self, width: float) -> Callable[[Any], object]:
        """ONNX Runtime's own call on the graph in float32, in one thread."""
        session = self.bare_session(self.graph("fp32", width))
        return lambda images: session.run(None, {"image": images})

    def bare_session(self, path: Path) -> Any:
        """ONNX Runtime's own, of one thread."""
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def image(self) -> Any:
        """uint8 (1, INPUT_SIDE, INPUT_SIDE, 3), RGB: a generated scene."""
        from dlcv.train.data.scenes import make_scene

        return make_scene(0, 0, INPUT_SIDE)[0][None]
