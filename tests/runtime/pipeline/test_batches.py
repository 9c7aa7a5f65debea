"""Where decoding leaves its windows and the session finds them."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

from dlcv.runtime.channel import Aborted
from dlcv.runtime.errors import OutOfMemory
from dlcv.runtime.pipeline.batches import Batch, Batches

SIZE_HW = (4, 5)


def window(value: int) -> np.ndarray:
    """uint8 (H, W, 3)."""
    return np.full((*SIZE_HW, 3), value, np.uint8)


def in_thread(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_full_batches_and_the_last_short_one() -> None:
    batches: Batches[int] = Batches(3, 3, SIZE_HW, 1)
    for value in range(7):
        batches.put(window(value), value)
    batches.close()
    found = [batches.get() for _ in range(3)]
    assert [batch.tags for batch in found if batch] == [[0, 1, 2], [3, 4, 5], [6]]
    for batch in filter(None, found):
        assert batch.images.flags.c_contiguous
        assert [image.min() for image in batch.images] == [image.max() for image in batch.images] == batch.tags
    assert batches.get() is None


def test_a_batch_is_not_given_before_its_last_window_is_there() -> None:
    batches: Batches[int] = Batches(2, 2, SIZE_HW, 1)
    copying, go_on = threading.Event(), threading.Event()

    class Slow:
        def __enter__(self) -> None:
            copying.set()
            assert go_on.wait(20)

        def __exit__(self, *error: object) -> None:
            pass

    first = in_thread(lambda: batches.put(window(1), 1, Slow))
    assert copying.wait(20)
    batches.put(window(2), 2)  # the second place, and copied first
    got: list[Batch[int] | None] = []
    reader = in_thread(lambda: got.append(batches.get()))
    reader.join(0.05)
    assert got == []
    go_on.set()
    first.join(20)
    reader.join(20)
    assert got[0] is not None
    assert got[0].tags == [1, 2]
    assert got[0].images[:, 0, 0, 0].tolist() == [1, 2]


def test_put_waits_until_a_batch_is_released_and_takes_its_place() -> None:
    batches: Batches[int] = Batches(1, 2, SIZE_HW, 1)
    batches.put(window(0), 0)
    batches.put(window(1), 1)
    thread = in_thread(lambda: batches.put(window(2), 2))
    first = batches.get()
    assert first is not None
    thread.join(0.05)
    assert thread.is_alive(), "there is room for two, and the first is still at work"
    assert first.images[0, 0, 0, 0] == 0
    batches.release(first)
    thread.join(20)
    assert not thread.is_alive()
    assert first.images[0, 0, 0, 0] == 2, "the same place"


def test_the_places_used_last_are_used_again() -> None:
    batches: Batches[int] = Batches(2, 8, SIZE_HW, 1)
    groups = set()
    for value in range(40):
        batches.put(window(value), value)
        if value % 2:
            batch = batches.get()
            assert batch is not None
            groups.add(batch.group)
            batches.release(batch)
    assert len(groups) == 1, "of eight"


def test_what_is_left_out_of_a_batch() -> None:
    batch: Batch[str] = Batch(np.stack([window(k) for k in range(4)]), list("abcd"))
    batch.keep([1, 3])
    assert batch.tags == ["b", "d"]
    assert batch.images[:, 0, 0, 0].tolist() == [1, 3]


@pytest.mark.parametrize("waits_in", ["put", "get"])
def test_abort_wakes_those_who_wait(waits_in: str) -> None:
    batches: Batches[int] = Batches(1, 1, SIZE_HW, 1)
    if waits_in == "put":
        batches.put(window(0), 0)
    ended: list[str] = []

    def wait() -> None:
        try:
            batches.put(window(1), 1) if waits_in == "put" else batches.get()
        except Aborted:
            ended.append("aborted")

    thread = in_thread(wait)
    thread.join(0.02)
    assert ended == []
    batches.abort()
    thread.join(20)
    assert ended == ["aborted"]


def test_nothing_is_lost_or_doubled_among_many_threads() -> None:
    batches: Batches[int] = Batches(7, 3, SIZE_HW, 4)
    got: list[tuple[int, int]] = []
    sizes: list[int] = []

    def produce(first: int) -> None:
        for value in range(first, first + 60):
            batches.put(window(value), value)
        batches.close()

    def consume() -> None:
        while (batch := batches.get()) is not None:
            sizes.append(len(batch.tags))
            got.extend(zip(batch.tags, batch.images[:, 0, 0, 0].tolist()))
            batches.release(batch)

    threads = [in_thread(lambda k=k: produce(60 * k)) for k in range(4)] + [in_thread(consume) for _ in range(3)]
    for thread in threads:
        thread.join(30)
    assert sorted(got) == [(value, value) for value in range(240)]
    assert sorted(sizes) == [240 % 7, *[7] * (240 // 7)], "the last one alone is short"


def test_more_than_there_are_addresses_for() -> None:
    with pytest.raises(OutOfMemory, match="no memory for a batch of 1125899906842624; pass a smaller --batch"):
        Batches(1 << 50, 2, SIZE_HW, 1)
