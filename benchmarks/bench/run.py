"""A run of `dlcv-bench`: every group is opened once, and each of its batches measured in every way that is asked for."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from dlcv.benchmarks.bench.baselines import Work, open_baselines
from dlcv.benchmarks.bench.cases import Group, groups_of
from dlcv.benchmarks.bench.cold import with_cold
from dlcv.benchmarks.bench.environment import environment, load
from dlcv.benchmarks.bench.files import with_files
from dlcv.benchmarks.bench.host import with_host
from dlcv.benchmarks.bench.in_flight import with_in_flight
from dlcv.benchmarks.bench.measure import WINDOW
from dlcv.benchmarks.bench.nvml import find_gpu
from dlcv.benchmarks.bench.request import Request, Running, Shared
from dlcv.benchmarks.bench.result import HOST, OURS, Case, Engine, Result
from dlcv.benchmarks.bench.roofline import engine_multiply_adds, with_roofline
from dlcv.runtime.card.reader import kind_of
from dlcv.runtime.errors import DlcvError, EngineError, reason_of
from dlcv.runtime.files import sha256_of
from dlcv.runtime.provenance import check_engine
from dlcv.runtime.sessions import Session, open_session

_MEASURES = {
    "host": with_host,
    "flight": with_in_flight,
    "files": with_files,
    "cold": with_cold,
    "roofline": with_roofline,
}
Say = Callable[[str], None]
Keep = Callable[[Result], None]


def run_bench(
    request: Request, command: Sequence[str] = (), say: Say = lambda _: None, keep: Keep = lambda _: None
) -> Result:
    """Measures; see `Request`.

    Args:
        request: what.
        command: that was typed, for the result.
        say: takes lines for people.
        keep: takes what is measured so far, after each case.

    Raises:
        DlcvError: when no case at all could be measured: the first one's reason.
    """
    gpu, no_gpu = find_gpu()
    facts = environment(command, gpu)
    errors: dict[str, DlcvError] = {}
    cases: dict[tuple[Any, ...], Case] = {}
    with tempfile.TemporaryDirectory() as scratch:
        bench = _Bench(Shared(request, Path(scratch), gpu, no_gpu), say)
        for group in groups_of(request.engines, request.devices, request.sessions, request.computes):
            try:
                for case in bench.measure(group):
                    cases.setdefault(case.key, case)  # `auto` may be what was named as well
                    keep(
                        Result(
                            facts | {"load_after": load()}, request.facts(), tuple(cases.values()), dict(bench.left_out)
                        )
                    )
            except DlcvError as error:
                errors[group.label] = error
                say(f"{group.label} is left out: {error}")
    if gpu:
        gpu.close()
    left_out = {label: str(error) for label, error in errors.items()} | bench.left_out
    if not cases:
        raise next(iter(errors.values()), None) or EngineError("nothing was measured: " + "; ".join(left_out.values()))
    return Result(facts | {"load_after": load()}, request.facts(), tuple(cases.values()), left_out)


class _Bench:
    """Measures the groups of a run, one after the other."""

    def __init__(self, shared: Shared, say: Say) -> None:
        self._shared, self._request, self._say = shared, shared.request, say
        self.left_out: dict[str, str] = {}
        self._start = time.perf_counter()

    def measure(self, group: Group) -> Iterator[Case]:
        """The cases of a group; raises DlcvError when its engine cannot be opened."""
        with ExitStack() as stack:
            running, case = self._opened(group, stack)
            took_s, expected_s = 0.0, 0.0
            last: Case | None = None
            for batch in self._request.batches:
                label = f"{group.label}, batch {batch}"
                if last is not None:
                    expected_s = max(took_s, self._least_s(last, batch))
                if why := self._why_not(batch, running.sessions[0].max_batch, expected_s):
                    self.left_out[label] = why
                    continue
                self._say(f"measuring {label}")
                start = time.perf_counter()
                last = self._filled(replace(case, batch=batch), running)
                took_s = time.perf_counter() - start
                yield last

    def _opened(self, group: Group, stack: ExitStack) -> tuple[Running, Case]:
        """The group with its sessions and baselines, which the stack closes; and its case, with nothing measured."""
        request = self._request
        data = check_engine(group.path, kind_of(group.path), request.trust)
        how = {"device": group.device, "session": group.session, "compute": group.compute, "trust": request.trust}
        ours, again = (stack.enter_context(open_session(group.path, **how)) for _ in range(2))  # type: ignore[arg-type]
        library = library_of(ours)
        work = Work(group.path, data, ours.card, library, ours.device, group.compute, ours.computes, request.checkpoint)
        engine, uncounted = _engine(group, ours)
        opened = open_baselines(request.baselines, work, stack)
        case = Case(engine, ours.device, library, ours.computes, 0, ours.description)
        return Running(group, work, (ours, again), opened, uncounted), case

    def _why_not(self, batch: int, max_batch: int | None, expected_s: float) -> str:
        """Why a batch is not measured; empty when it is."""
        if max_batch is not None and batch > max_batch:
            return f"the engine takes batches of at most {max_batch}"
        budget = self._request.budget_s
        if budget is not None and time.perf_counter() - self._start + expected_s > budget:
            return f"it would not end within the {budget:.0f} s that are allowed"
        return ""

    def _least_s(self, last: Case, batch: int) -> float:
        """What a batch takes at least, by the images of the batch before: the fewest rounds and the shortest warm-up of each way."""
        if HOST not in last.timings or OURS not in (lanes := last.timings[HOST].lanes):
            return 0.0
        call_s = median(lanes[OURS].samples_ms) / 1000 * batch / last.batch
        return call_s * len(lanes) * (self._request.effort.pairs + 2 * WINDOW)

    def _filled(self, case: Case, running: Running) -> Case:
        """With what is asked for; what fails is told as missing, and raises where nothing else is there."""
        failed: list[DlcvError] = []
        asked = [name for name in _MEASURES if name in self._request.measures]
        for name in asked:
            try:
                case = _MEASURES[name](case, running, self._shared)
            except DlcvError as error:
                failed.append(error)
                case = case.without(name, str(error))
                self._say(f"{name} is left out: {error}")
        if failed and len(failed) == len(asked):
            raise failed[0]
        return case


def library_of(session: Session) -> str:
    """Which of `SESSIONS` opened it."""
    home = type(session).__module__.rpartition(".")[2]
    if home == "onnxrt":
        return "onnxruntime-tensorrt" if "TensorRT" in session.description else "onnxruntime"
    return {"trt": "tensorrt"}.get(home, home)


def _engine(group: Group, session: Session) -> tuple[Engine, str]:
    """The engine's facts, and why its multiply-adds are not known, empty where they are."""
    card, why = session.card, ""
    engine = Engine(
        group.name, card.model, card.task, card.precision, card.head, card.input_size_hw, sha256_of(group.path)
    )
    try:
        engine = replace(engine, multiply_adds=engine_multiply_adds(card, group.path))
    except (DlcvError, ModuleNotFoundError) as error:
        why = f"its operations are not known: {reason_of(error)}"
    return engine, why
