"""The checkpoints with the lowest validation loss."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from dlcv.train.folder.kept import KeptCheckpoints, kept_files

LOSSES = (0.9, 0.5, 0.7, 0.6, 0.8)


def offer(kept: KeptCheckpoints, epoch: int, loss: float) -> bool:
    """Offers an epoch's checkpoint as a run does; whether it was written."""
    written: list[Path] = []

    def save(path: Path) -> None:
        path.write_text(str(loss))
        written.append(path)

    kept.offer(loss, epoch, save)
    kept.clear_up()
    return bool(written)


def names(run: Path) -> list[str]:
    return [path.name for path in kept_files(run)]


def test_the_lowest_stay_and_worse_ones_go(tmp_path: Path) -> None:
    kept, seen = KeptCheckpoints(tmp_path, 2), []
    for epoch, loss in enumerate(LOSSES, 1):
        offer(kept, epoch, loss)
        seen.append([int(name[6:10]) for name in names(tmp_path)])
    assert seen == [[1], [1, 2], [2, 3], [2, 4], [2, 4]]
    assert kept.paths == [tmp_path / "kept" / "epoch-0002.pt", tmp_path / "kept" / "epoch-0004.pt"]
    assert [float(path.read_text()) for path in kept.paths] == [0.5, 0.6]


def test_a_worse_one_goes_only_when_the_position_is_saved(tmp_path: Path) -> None:
    kept = KeptCheckpoints(tmp_path, 1)
    kept.offer(0.5, 1, Path.touch)
    kept.offer(0.4, 2, Path.touch)
    assert names(tmp_path) == ["epoch-0001.pt", "epoch-0002.pt"]  # a run killed here goes on from the first
    kept.clear_up()
    assert names(tmp_path) == ["epoch-0002.pt"]


def test_an_equal_loss_does_not_replace_an_older_one(tmp_path: Path) -> None:
    kept = KeptCheckpoints(tmp_path, 1)
    assert offer(kept, 1, 0.5) and not offer(kept, 2, 0.5)
    assert names(tmp_path) == ["epoch-0001.pt"]


@pytest.mark.parametrize("before", [(), (0.5,), (0.5, 0.4)])
def test_nan_is_never_kept(tmp_path: Path, before: tuple[float, ...]) -> None:
    kept = KeptCheckpoints(tmp_path, 2)
    for epoch, loss in enumerate(before, 1):
        offer(kept, epoch, loss)
    assert not offer(kept, 9, math.nan)
    assert len(names(tmp_path)) == len(kept.losses) == len(before)
    assert offer(kept, 10, 0.3) and kept.paths[0].name == "epoch-0010.pt"


def test_infinity_is_worse_than_any_number(tmp_path: Path) -> None:
    kept = KeptCheckpoints(tmp_path, 1)
    assert offer(kept, 1, math.inf) and offer(kept, 2, 7.0)
    assert names(tmp_path) == ["epoch-0002.pt"]


def test_none_are_kept_unless_asked_for(tmp_path: Path) -> None:
    kept = KeptCheckpoints(tmp_path, 0)
    assert not offer(kept, 1, 0.1) and kept.paths == [] and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stop", range(1, len(LOSSES)))
def test_a_resumed_run_keeps_the_same(tmp_path: Path, stop: int) -> None:
    kept = KeptCheckpoints(tmp_path, 2)
    for epoch, loss in enumerate(LOSSES, 1):
        if epoch == stop + 1:
            kept = KeptCheckpoints(tmp_path, 2, [[loss, epoch] for loss, epoch in kept.losses])  # as they come back
        offer(kept, epoch, loss)
    assert [path.name for path in kept.paths] == names(tmp_path) == ["epoch-0002.pt", "epoch-0004.pt"]


def test_fewer_may_be_asked_for_on_resume(tmp_path: Path) -> None:
    kept = KeptCheckpoints(tmp_path, 3)
    for epoch, loss in enumerate(LOSSES, 1):
        offer(kept, epoch, loss)
    fewer = KeptCheckpoints(tmp_path, 1, kept.losses)
    assert [path.name for path in fewer.paths] == ["epoch-0002.pt"] and len(names(tmp_path)) == 3
    offer(fewer, 6, math.nan)
    assert names(tmp_path) == ["epoch-0002.pt"]


def test_one_that_was_removed_meanwhile_no_longer_counts(tmp_path: Path) -> None:
    kept = KeptCheckpoints(tmp_path, 2)
    offer(kept, 1, 0.1)
    offer(kept, 2, 0.2)
    kept.paths[0].unlink()
    again = KeptCheckpoints(tmp_path, 2, kept.losses)
    assert [path.name for path in again.paths] == ["epoch-0002.pt"]
    assert offer(again, 3, 0.9) and names(tmp_path) == ["epoch-0002.pt", "epoch-0003.pt"]


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "notes.txt").write_text("mine")
    kept = KeptCheckpoints(tmp_path, 1)
    offer(kept, 1, 0.5)
    offer(kept, 2, 0.4)
    assert sorted(path.name for path in (tmp_path / "kept").iterdir()) == ["epoch-0002.pt", "notes.txt"]
