"""The suite: each model is trained, exported in each precision and run in each session, beside torch in float32."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcv.benchmarks.parity_suite.graphs import MAX_DROP, PRECISIONS, Way, file_for, write_graph
from dlcv.benchmarks.parity_suite.trained import Trained, from_run, train
from dlcv.export.stages import RememberingSession, Stage, compare_stages
from dlcv.runtime.errors import DlcvError, MissingPackageError, PrecisionError
from dlcv.runtime.machine import cpu_count
from dlcv.runtime.scoring.comparison import MIN_AGREEMENT, bound_precision
from dlcv.runtime.sessions import Session, open_session

Say = Callable[[str], None]
Keep = Callable[[Sequence["Cell"]], None]


@dataclass(frozen=True)
class Cell:
    """A model in a precision in a session, against torch.

    Attributes:
        model, precision, way: which.
        stage: scores of both, agreement, NaN; None where it did not run.
        computes: what the session computes in.
        reason: why it did not run.
        problems: what fails, in words; empty when it holds, and when it may be missing.
        images: that it was judged on.
    """

    model: str
    precision: str
    way: Way
    stage: Stage | None = None
    computes: str = ""
    reason: str = ""
    problems: tuple[str, ...] = ()
    images: int = 0

    @property
    def verdict(self) -> str:
        """`holds`, `FAILS` or `did not run`."""
        return "FAILS" if self.problems else "did not run" if self.stage is None else "holds"


def run_suite(
    models: Sequence[str], ways: Sequence[Way], precisions: Sequence[str] = PRECISIONS, *, width: float = 0.1,
    say: Say = lambda _: None, keep: Keep = lambda _: None,
) -> list[Cell]:  # fmt: skip
    """Runs the suite.

    Args:
        models: names in the registry.
        ways: sessions.
        precisions: of the graphs.
        width: of the models.
        say: takes a line a model.
        keep: takes all cells there are after each model, so that what ends the suite takes one model alone.

    Raises:
        UsageError: for an unknown model.
    """
    cells: list[Cell] = []
    with tempfile.TemporaryDirectory() as scratch:
        for name in models:
            say(f"{name}: training at width {width:g}")
            cells += _told(cells_of(train(name, Path(scratch), width), ways, precisions, Path(scratch)), say)
            keep(cells)
    return cells


def run_on_runs(
    runs: Sequence[tuple[Path, Path]], ways: Sequence[Way], precisions: Sequence[str] = PRECISIONS, *, images: int,
    say: Say = lambda _: None, keep: Keep = lambda _: None,
) -> list[Cell]:  # fmt: skip
    """The suite on trained weights and real images.

    Args:
        runs: of each the folder that dlcv-train wrote, and the data that it was trained on.
        ways, precisions, say, keep: as in `run_suite`.
        images: of a run's validation, at most.

    Raises:
        DlcvError: when a run or its data cannot be used.
    """
    cells: list[Cell] = []
    for run, data in runs:
        with tempfile.TemporaryDirectory() as scratch:
            trained = from_run(run, data, images)
            say(f"{trained.called}: {len(trained.labelled)} images, {len(trained.calibration)} for calibration")
            cells += _told(cells_of(trained, ways, precisions, Path(scratch)), say)
            keep(cells)
    return cells


def _told(cells: list[Cell], say: Say) -> list[Cell]:
    words = ", ".join(f"{one.precision} in {one.way.label} {one.verdict}" for one in cells)
    say(f"{cells[0].model}: {words}")
    if failed := [one for one in cells if one.problems]:
        say(f"{failed[0].model} {failed[0].precision} in {failed[0].way.label} fails: {'; '.join(failed[0].problems)}")
    return cells


def cells_of(trained: Trained, ways: Sequence[Way], precisions: Sequence[str], folder: Path) -> list[Cell]:
    """A trained model's row of the matrix, in one pass over its images."""
    import torch

    from dlcv.train.checkpoints.session import TorchSession

    model, cells = trained.called, []
    places = [(precision, way) for precision in precisions for way in ways if way.takes(precision)]
    with ExitStack() as stack:
        opened: dict[tuple[str, Way], Session] = {}
        refused: dict[tuple[str, Way], DlcvError] = {}
        for precision in precisions:
            graph: Path | DlcvError
            try:
                graph = write_graph(trained, precision, folder)
            except DlcvError as error:
                graph = error
            for way in (one for asked, one in places if asked == precision):
                try:
                    opened[precision, way] = _opened(way, graph, stack)
                except DlcvError as error:
                    refused[precision, way] = error
        reference = RememberingSession(TorchSession(trained.network, trained.card, torch.device("cpu")))
        named = {f"{precision} {way.label}": session for (precision, way), session in opened.items()}
        stages = compare_stages(reference, named, trained.labelled)
        for precision, way in places:
            session = opened.get((precision, way))
            if session is None:
                cells.append(_not_run(model, precision, way, refused[precision, way]))
                continue
            stage = stages[f"{precision} {way.label}"]
            problems = _problems(stage, precision, session.computes)
            cells.append(
                Cell(model, precision, way, stage, session.computes, problems=problems, images=len(trained.labelled))
            )
    return cells


def _not_run(model: str, precision: str, way: Way, error: DlcvError) -> Cell:
    """On a CPU a session may lack a precision or its package; whatever else stops it there is a problem."""
    excused = way.device != "cpu" or isinstance(error, (PrecisionError, MissingPackageError))
    return Cell(model, precision, way, reason=str(error), problems=() if excused else (f"did not run: {error}",))


def _opened(way: Way, graph: Path | DlcvError, stack: ExitStack) -> Session:
    if isinstance(graph, DlcvError):
        raise graph
    session: Any = open_session(
        file_for(way, graph), device=way.device, session=way.session, compute=way.compute,
        lanes=cpu_count(),  # as dlcv-infer runs it: several lanes are what a library may get wrong
    )  # fmt: skip
    opened: Session = stack.enter_context(session)
    return opened


def _problems(stage: Stage, precision: str, computes: str) -> tuple[str, ...]:
    held_as = bound_precision(precision, computes)
    comparison = stage.comparison
    least = MIN_AGREEMENT[comparison.task][held_as]
    return tuple(comparison.problems(max_drop=MAX_DROP[held_as], min_agreement=least))
