"""What is being made of a large image, for whoever waits: when its last window is answered, minutes of writing may follow."""

from __future__ import annotations

from collections.abc import Callable


class Telling:
    """Says what is being made and how far it is, each whole percent once; for one thread at a time.

    Args:
        say: takes the text.
    """

    def __init__(self, say: Callable[[str], None] = lambda text: None) -> None:
        self._say, self._what, self._percent = say, "", 0

    def begin(self, what: str) -> None:
        """Something else is being made; of what has no name nothing is said."""
        self._what, self._percent = what, 0
        if what:
            self._say(f"writing {what}")

    def reached(self, done: int, of: int) -> None:
        """So much of it is made; of what nobody has begun nothing is said."""
        percent = done * 100 // of
        if self._what and percent > self._percent:
            self._percent = percent
            self._say(f"writing {self._what}, {percent} %")
