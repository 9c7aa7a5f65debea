"""The loops that `file_to_file` and `scale` hold beside dlcv-infer, over the same tiles and with the same engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

from dlcv.runtime.answers import answers_of
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.fitting.fitting import FittedTile, fit_tile
from dlcv.runtime.machine import cpu_count
from dlcv.runtime.masks import write_mask
from dlcv.runtime.run.inference import InferSettings, infer
from dlcv.runtime.sessions import open_session
from dlcv.runtime.tiles.decode import decode_file
from dlcv.runtime.work.settings import pipeline_settings


class Loops:
    """Each method goes over all tiles once.

    Args:
        paths: the tiles; of another size than the engine's they are resized.
        graph: a segmenter, .onnx.
        folder: takes what is written, and has no folders `serial`, `codec` and `each` yet.
    """

    def __init__(self, paths: list[Path], graph: Path, folder: Path) -> None:
        self.paths, self.graph, self.folder = paths, graph, folder
        for name in ("serial", "codec", "each"):
            (folder / name).mkdir()
        self.card = read_card(graph)
        self.settings = InferSettings.of(
            sources=tuple(map(str, paths)), engine=graph, output=folder / "masks", overwrite=True, quiet=True, device="cpu",
            fit="resize",
        )  # fmt: skip
        self.plain = ort.InferenceSession(str(graph), providers=["CPUExecutionProvider"])
        self.session = open_session(graph, device="cpu", lanes=cpu_count())
        self.batch = pipeline_settings(self.settings, self.session, len(paths)).batch  # as dlcv-infer runs it
        windows = [np.ascontiguousarray(self._tile(path).windows[0]) for path in paths]
        self.batches = [np.stack(windows[begin : begin + self.batch]) for begin in range(0, len(windows), self.batch)]
        self.masks = [answers_of(self.session.run(window[None]), self.card.task)[0] for window in windows]

    def ours(self) -> None:
        """dlcv-infer: files to masks, with opening its session."""
        infer(self.settings)

    def opening(self) -> None:
        """What dlcv-infer opens, and no tile."""
        open_session(self.graph, device="cpu", lanes=cpu_count()).close()

    def serial(self) -> None:
        """As one would write it: cv2.imread, ONNX Runtime on all cores, cv2.imwrite."""
        height, width = self.card.input_size_hw
        for path in self.paths:
            image_bgr = cv2.imread(str(path))
            assert image_bgr is not None, path
            image = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)
            size = image.shape[1::-1]
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
            (mask,) = self.plain.run(None, {"image": image[None]})
            mask = cv2.resize(mask[0], size, interpolation=cv2.INTER_NEAREST)
            cv2.imwrite(str(self.folder / "serial" / (path.name + ".png")), mask)

    def session_alone(self) -> None:
        """dlcv-infer's session on tiles in memory, at its batch and with as many batches at a time."""

        def lane(number: int) -> None:
            for batch in self.batches[number :: self.session.parallel]:
                self.session.run(batch)

        with ThreadPoolExecutor(self.session.parallel) as pool:
            list(pool.map(lane, range(self.session.parallel)))

    def codec_alone(self) -> None:
        """dlcv-infer's reading, fitting and writing, in one thread."""
        for path, mask in zip(self.paths, self.masks, strict=True):
            self._write("codec", path, self._tile(path), mask)

    def each(self) -> None:
        """A thread a core: each reads, asks and writes a batch after the other, with nothing between."""

        def share(number: int) -> None:
            for begin in range(number * self.batch, len(self.paths), cpu_count() * self.batch):
                paths = self.paths[begin : begin + self.batch]
                tiles = [self._tile(path) for path in paths]
                masks = answers_of(self.session.run(np.stack([tile.windows[0] for tile in tiles])), self.card.task)
                for path, tile, mask in zip(paths, tiles, masks, strict=True):
                    self._write("each", path, tile, mask)

        with ThreadPoolExecutor(cpu_count()) as pool:
            list(pool.map(share, range(cpu_count())))

    def _tile(self, path: Path) -> FittedTile:
        return fit_tile(decode_file(path), self.card.input_size_hw, "resize")

    def _write(self, folder: str, path: Path, tile: FittedTile, mask: np.ndarray) -> None:
        name = self.folder / folder / f"{path.name}.png"
        write_mask(name, np.ascontiguousarray(tile.join([mask])), self.card.palette)
