"""File to file: the pipeline of dlcv-infer, and the serial loop that one would write instead, over the same tiles."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlcv.benchmarks.bench.images import paths_of
from dlcv.benchmarks.bench.measure import Way, interleaved, timed
from dlcv.benchmarks.bench.request import Running, Shared
from dlcv.benchmarks.bench.result import AGAIN, FILES, OURS, Case
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.errors import EngineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from dlcv.runtime.run.inference import InferSettings

SERIAL = "serial loop"


def with_files(case: Case, running: Running, shared: Shared) -> Case:
    """The case with its time file to file, and that of the stages of our pipeline."""
    paths = paths_of(case, shared)
    ours, again = (_pipeline(case, running, shared, name, paths) for name in (OURS, AGAIN))
    serial, missing = _serial(running, shared, paths) if "serial" in shared.request.baselines else ({}, {})
    measured = interleaved({OURS: ours, AGAIN: again} | serial, shared.request.effort, must=OURS)
    return replace(case.with_timing(FILES, measured.lanes, missing | measured.missing), stages_ms=ours.stages_ms())


def _pipeline(case: Case, running: Running, shared: Shared, name: str, paths: Sequence[Path]) -> InferPipeline:
    folder = shared.scratch / name.replace(" ", "-")
    fresh_folder(folder)
    folder.rmdir()  # a run makes its own
    how = {"device": case.device, "session": case.session, "compute": running.group.compute, "trust": shared.request.trust}  # fmt: skip
    return InferPipeline(infer_settings(paths, running.group.path, folder, case.batch, **how), len(paths))


def _serial(running: Running, shared: Shared, paths: Sequence[Path]) -> tuple[dict[str, Way], dict[str, str]]:
    """The serial loop by its name, or why there is none."""
    if not running.opened.baselines:
        return {}, {SERIAL: "it runs the engine in the bare library: add bare to --baselines"}
    from dlcv.runtime.card.reader import read_card

    bare = running.opened.baselines[0]
    way = timed(serial_loop(paths, read_card(running.group.path), bare.run, fresh_folder(shared.scratch / "serial")))
    return {f"{SERIAL}, {bare.name}": lambda: way() / len(paths)}, {}


class InferPipeline:
    """`dlcv-infer` over a list of files, again and again into the same folder.

    A call gives the seconds of its pipeline for a tile. Opening the engine is not among them: the cold start shows that.
    """

    def __init__(self, settings: InferSettings, tiles: int) -> None:
        self._settings, self._tiles = settings, tiles
        self._stages: list[dict[str, float]] = []

    def __call__(self) -> float:
        from dlcv.runtime.run.inference import infer

        summary = infer(self._settings)
        if summary.failed:
            raise EngineError(f"{summary.failed} of {summary.tiles} tiles failed: {summary.first_failure}")
        facts = json.loads((self._settings.output / "summary.json").read_text())
        self._stages.append({stage: time["busy_s"] for stage, time in facts["time"].items()})
        return float(facts["seconds"]) / self._tiles

    def stages_ms(self) -> dict[str, float]:
        """Milliseconds a tile that the threads of each stage were at work: the median of the calls."""
        stages = self._stages[-1] if self._stages else {}
        return {stage: 1000 * statistics.median(one[stage] for one in self._stages) / self._tiles for stage in stages}


def infer_settings(paths: Sequence[Path], engine: Path, output: Path, batch: int, **how: Any) -> InferSettings:
    """What `dlcv-infer --batch N --overwrite` does with these files; `how`: device, session, compute, trust."""
    from dlcv.runtime.run.inference import InferSettings

    return InferSettings.of(
        sources=tuple(map(str, paths)), engine=engine, output=output, batch=batch, overwrite=True, quiet=True, **how
    )


def serial_loop(
    paths: Sequence[Path], card: ModelCard, run: Callable[[NDArray[np.uint8]], object], folder: Path
) -> Callable[[], None]:
    """The plain loop: read a file, run it, write its answer, and only then the next; a tile's windows go through together.

    Args:
        paths: image files.
        card: says how an image is fitted, and what comes out.
        run: a baseline's: images uint8 (n, H, W, 3) -> the head's output, alone in a list or a dict.
        folder: for the masks, or `predictions.csv`; exists.
    """
    import cv2
    import numpy as np

    from dlcv.runtime.answers import answers_of
    from dlcv.runtime.fitting.fitting import fit_to_card

    def answer_of(path: Path) -> NDArray[Any]:
        image_bgr = cv2.imread(str(path))
        if image_bgr is None:
            raise EngineError(f"OpenCV cannot read {path}")
        image_rgb: Any = cv2.cvtColor(image_bgr, cv2.COLOR_BGR2RGB)
        tile = fit_to_card(image_rgb, card)
        answers = answers_of({card.head: only_output(run(np.stack(tile.windows)))}, card.task)
        return tile.join(list(answers)) if card.task == "segmentation" else answers[0]

    def masks() -> None:
        for number, path in enumerate(paths):
            cv2.imwrite(str(folder / f"{number}.png"), answer_of(path))

    def rows() -> None:
        with open(folder / "predictions.csv", "w", newline="") as file:
            table = csv.writer(file)
            for path in paths:
                probabilities = answer_of(path)
                best = int(probabilities.argmax())
                table.writerow([path.name, card.classes[best], float(probabilities[best])])

    return masks if card.task == "segmentation" else rows


def only_output(found: Any) -> NDArray[Any]:
    """The one array in what a library returns."""
    import numpy as np

    if isinstance(found, np.ndarray):
        return found
    values = list(found.values()) if hasattr(found, "values") else list(found)
    first: NDArray[Any] = np.asarray(values[0])
    return first


def fresh_folder(folder: Path) -> Path:
    """The folder, empty."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
