"""Several pieces of work for one large image at the same time, as many as there are cores."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock, Thread
from typing import TypeVar

R = TypeVar("R")


def at_once(works: Sequence[Callable[[], R]], threads: int) -> list[R]:
    """What each returns, in the same order; begun in that order.

    In threads that do not keep the process from ending, as those of an executor would: a person who presses Ctrl-C does not wait
    minutes for an overlay.

    Args:
        works: what there is to do.
        threads: how many at most, of which the caller's is one.

    Raises:
        BaseException: of those that failed the first one's; the others that had begun have ended by then, and no more were begun.
    """
    waiting = list(enumerate(works))[::-1]
    lock, found, failed = Lock(), dict[int, R](), dict[int, BaseException]()

    def work() -> None:
        while True:
            with lock:
                if failed or not waiting:
                    return
                number, call = waiting.pop()
            try:
                found[number] = call()
            except BaseException as error:
                failed[number] = error

    others = [
        Thread(target=work, name=f"dlcv-write-{number}", daemon=True) for number in range(1, min(threads, len(works)))
    ]
    for thread in others:
        thread.start()
    work()
    for thread in others:
        thread.join()
    if failed:
        raise failed[min(failed)]
    return [found[number] for number in range(len(works))]
