"""A build that tells time and phase while it runs, and that Ctrl-C ends.

TensorRT builds in a thread of its own, in which Python is not held up; the main thread waits, prints a line now and then and hears
Ctrl-C. From TensorRT 10 on, a progress monitor tells the phase and takes the word to stop; before, only the time is told.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from dlcv.runtime.errors import ExportError

INTERVAL_S = 5.0
"""Between two lines."""
_TICK_S = 0.1


class BuildWatch:
    """Runs one build.

    Args:
        module: the TensorRT library.
        monitored: whether it tells its progress.
        say: takes the lines.
        interval_s: between two lines.
        clock: gives seconds.
    """

    def __init__(
        self, module: Any, *, monitored: bool, say: Callable[[str], None], interval_s: float = INTERVAL_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self.phases = Phases(monitored)
        self.monitor = _monitor_of(module, self.phases) if monitored else None
        self._say, self._interval_s, self._clock = say, interval_s, clock
        self._result: Any = None
        self._error: BaseException | None = None
        self._pressed = 0

    def run(self, build: Callable[[], Any], label: str) -> Any:
        """What `build` gives.

        Raises:
            KeyboardInterrupt: after Ctrl-C, once the build has ended; at once after a second one.
            ExportError: when the memory of this machine ran out.
        """

        def work() -> None:
            try:
                self._result = build()
            except BaseException as error:  # raised again in the thread that waits
                self._error = error

        worker = threading.Thread(target=work, name="build", daemon=True)
        with self._heeding_ctrl_c():
            worker.start()
            self._wait(worker, label)
        if self.phases.stopped:
            raise KeyboardInterrupt
        if isinstance(self._error, MemoryError):
            raise ExportError(
                "this machine's memory ran out during the build; close other programs or pass a smaller --max-batch"
            )
        if self._error is not None:
            raise self._error
        return self._result

    def _wait(self, worker: threading.Thread, label: str) -> None:
        begun = told = self._clock()
        while worker.is_alive():
            worker.join(min(_TICK_S, self._interval_s))
            if self._pressed > 1 and worker.is_alive():
                raise KeyboardInterrupt
            if self._pressed and not self.phases.stopped:
                self.phases.stopped = True
                self._say(
                    "stopping the build"
                    if self.monitor is not None
                    else f"{label} cannot be stopped in a build; press Ctrl-C again to leave it"
                )
            if worker.is_alive() and self._clock() - told >= self._interval_s:
                told = self._clock()
                self._say(f"compiling for {told - begun:.0f} s: {self.phases}")
        self._say(f"compiled in {self._clock() - begun:.1f} s")

    @contextmanager
    def _heeding_ctrl_c(self) -> Iterator[None]:
        """Counts Ctrl-C instead of raising at any place; only the main thread may."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def pressed(*_: object) -> None:
            self._pressed += 1

        before = signal.signal(signal.SIGINT, pressed)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)


class Phases:
    """The phases that a build is in, the outermost first. TensorRT may call from several threads."""

    def __init__(self, told: bool = True) -> None:
        self._told = told
        self.stopped = False
        self.seen: list[str] = []
        self._open: dict[str, tuple[int, int]] = {}  # name -> steps done, steps
        self._lock = threading.Lock()

    def start(self, name: str, steps: int) -> None:
        with self._lock:
            self.seen.append(name)
            self._open[name] = (0, steps)

    def step(self, name: str, step: int) -> None:
        with self._lock:
            if name in self._open:
                self._open[name] = (step + 1, self._open[name][1])

    def finish(self, name: str) -> None:
        with self._lock:
            self._open.pop(name, None)

    def __str__(self) -> str:
        with self._lock:
            phases = list(self._open.items())
        if not phases:
            between = "finishing" if self.seen else "starting"
            return between if self._told else "this builder does not say what it does"
        name, (done, steps) = phases[-1]
        return f"{name}, {done} of {steps}"


def _monitor_of(module: Any, phases: Phases) -> Any:
    class Monitor(module.IProgressMonitor):  # type: ignore[misc]
        """Nothing may be raised from here: it would cross TensorRT."""

        def __init__(self) -> None:
            module.IProgressMonitor.__init__(self)

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            phases.step(phase_name, step)
            return not phases.stopped

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Monitor()
