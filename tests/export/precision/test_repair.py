"""The search among guilty layers: as few as suffice, no more than there is room for, and no more tries than are allowed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from dlcv.export.precision.guilty import Guilty
from dlcv.export.precision.repair import MAX_ROUNDS, Repair, Repairing
from dlcv.runtime.errors import VerdictError

FAILED = VerdictError("int8 is not what torch is")


def _layers(count: int, share: float = 0.01, *, overflowing: int = 0, clipped: float = 0.0) -> list[Guilty]:
    return [
        Guilty(f"l{k}", f"n{k}", "Conv", share, float(k), 1e5 if k < overflowing else 0, clipped, k < overflowing)
        for k in range(count)
    ]


def _run(layers: Sequence[Guilty], needed: int, room: float = 0.1) -> tuple[int, Repair, list[int]]:
    """Passes once the first `needed` layers are restored; returns how many were, the repair, and the tries."""
    tries: list[int] = []

    def attempt(names: tuple[str, ...]) -> int:
        tries.append(len(names))
        if len(names) < needed:
            raise VerdictError("still not")
        return len(names)

    result, repair = Repairing(attempt, layers, room, FAILED, lambda _: None).run()
    return result, repair, tries


@pytest.mark.parametrize(
    ("needed", "tries"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 4, 3]), (6, [1, 2, 4, 8, 6, 5]), (5, [1, 2, 4, 8, 6, 5])]
)
def test_as_few_as_suffice(needed: int, tries: list[int]) -> None:
    found, repair, tried = _run(_layers(20), needed)
    assert (found, tried) == (needed, tries)
    assert [layer.name for layer in repair.restored] == [f"l{k}" for k in range(needed)]
    assert [one.to_dict()["passed"] for one in repair.rounds] == [count >= needed for count in tries]
    assert repair.to_dict()["failed_without"] == str(FAILED)


def test_where_no_layer_loses_anything_none_is_put_back() -> None:
    """Such as a graph whose channels are swapped: its layers are as exact as their precision lets them be."""
    layers = [Guilty(f"l{k}", f"n{k}", "Conv", 0.01, 64.0 + k) for k in range(20)]

    def attempt(names: tuple[str, ...]) -> int:
        raise AssertionError("nothing is tried")

    with pytest.raises(
        VerdictError, match=r"no layer loses anything by itself \(the least signal to noise is 64\.0 dB\)"
    ):
        Repairing(attempt, layers, 0.1, FAILED, lambda _: None, blameless_db=60.0).run()
    tries: list[int] = []
    layers[3] = Guilty("l3", "n3", "Conv", 0.01, 20.0)
    assert (
        Repairing(lambda names: tries.append(len(names)) or 1, layers, 0.1, FAILED, lambda _: None, 60.0).run()[0] == 1
    )
    assert tries == [1], "one that does lose is tried"


def test_what_overflows_is_restored_together() -> None:
    assert _run(_layers(20, overflowing=3), 3)[2] == [3]


def test_the_last_try_takes_all_that_there_is_room_for() -> None:
    """Thirty fit; doubling would have stopped at sixteen."""
    tries: list[int] = []

    def attempt(names: tuple[str, ...]) -> int:
        tries.append(len(names))
        raise VerdictError("never")

    with pytest.raises(VerdictError, match="restoring 100 layers to fp32 did not suffice"):
        Repairing(attempt, _layers(100, 0.001), 1.0, FAILED, lambda _: None).run()
    assert len(tries) == MAX_ROUNDS and tries[-1] == 100


def test_a_layer_too_large_for_the_room_is_left_out() -> None:
    layers = [Guilty("large", "n", "Conv", 0.5, 0.0), *_layers(3)]
    found, repair, _ = _run(layers, 2)
    assert [layer.name for layer in repair.restored] == ["l0", "l1"] and found == 2


def test_the_refusal_names_the_layers_what_they_need_and_what_to_do() -> None:
    with pytest.raises(VerdictError) as caught:
        _run(_layers(4, 0.04, overflowing=3), 1)
    assert str(caught.value).startswith("int8 is not what torch is; guilty: l0 (Conv, 4.0% of the multiply-adds, values up to 1e+05 overflow), l1")  # fmt: skip
    assert "to restore these, 12.0% of the multiply-adds must leave the precision and 10.0% may" in str(caught.value)
    assert str(caught.value).endswith("allow more with --min-share or --max-drop, or take another --precision")
    with pytest.raises(VerdictError, match=r"3 of 3 layers are given values beyond their range: calibrate on images such as these"):  # fmt: skip
        _run(_layers(3, 0.5, clipped=0.2), 1)
