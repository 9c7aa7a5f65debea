"""Words for what libraries raise."""

from __future__ import annotations

import pytest

from dlcv.runtime.errors import reason_of


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (EOFError(), "it ends too early"),
        (EOFError("Ran out of input"), "Ran out of input"),
        (MemoryError("Unable to allocate 9 EiB"), "it asks for more memory than there is"),
        (ValueError("two\nlines"), r"two\nlines"),
        (RuntimeError(), "a RuntimeError, and no more is known"),
    ],
)
def test_a_reason_is_words_on_one_line(error: Exception, words: str) -> None:
    assert reason_of(error) == words
