"""What is being made of a large image, for whoever waits: when its last window is answered, minutes of writing may follow."""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock


class Telling:
    """Says what is being made and how far it is, each whole percent once. One thread uses it; `another` is for another thread.

    Args:
        say: takes the text; with what the others are at, where others are.
    """

    def __init__(self, say: Callable[[str], None] = lambda text: None) -> None:
        self._say = say
        self._what, self._percent, self._text = "", 0, ""
        self._lock, self._all = Lock(), [self]

    def another(self) -> Telling:
        """For what is made at the same time."""
        telling = Telling(self._say)
        telling._lock, telling._all = self._lock, self._all
        with self._lock:
            self._all.append(telling)
        return telling

    def begin(self, what: str) -> None:
        """Something else is being made; of what has no name, or has ended, nothing is said."""
        self._what, self._percent = what, 0
        self._tell(what)

    def reached(self, done: int, of: int) -> None:
        """So much of it is made; of what nobody has begun nothing is said."""
        percent = done * 100 // of
        if self._what and percent > self._percent:
            self._percent = percent
            self._tell(f"{self._what}, {percent} %")

    def _tell(self, text: str) -> None:
        with self._lock:
            self._text = text
            texts = [telling._text for telling in self._all if telling._text]
            if text:
                self._say("writing " + "; ".join(texts))
