"""Masks kept while a run trains: at the epochs asked for, as the model says them, through interruptions, and at no cost to the run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.runtime.errors import Interrupted, UsageError
from dlcv.runtime.masks import read_mask
from dlcv.runtime.scoring.evaluation import answer_images
from dlcv.train import run
from dlcv.train.checkpoints.checkpoint import load_checkpoint
from dlcv.train.checkpoints.session import open_checkpoint
from dlcv.train.folder.snapshots import snapshot_epochs, snapshot_files, snapshot_tiles
from dlcv.train.loop import Trainer

Start = Callable[..., Trainer]


@pytest.fixture(scope="module")
def watched(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that keeps masks of its first and last epoch; nobody changes it."""
    folder = tmp_path_factory.mktemp("runs") / "watched"
    start(folder, snapshot_epochs="1,last").train()
    return folder


def kept(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted((folder / "snapshots").rglob("*.png"))
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [("", set()), ("1,10,last", {1, 10, 20}), ("middle", {10}), (" 3 , last", {3, 20}), ("99", set())],
)
def test_epochs_in_words(text: str, found: set[int]) -> None:
    assert snapshot_epochs(text, 20) == found


def test_the_middle_of_one_epoch_is_it() -> None:
    assert snapshot_epochs("1,middle,last", 1) == {1}


@pytest.mark.parametrize("text", ["0", "-1", "1;2", "final", "1,2.5"])
def test_what_is_no_epoch_is_told(text: str) -> None:
    with pytest.raises(UsageError, match=r"--snapshot-epochs .* is no epoch; expected such as 1,middle,last"):
        snapshot_epochs(text, 20)


def test_tiles_by_name(validation: SegmentationSet) -> None:
    first, last = validation.examples[0].name, validation.examples[-1].name
    assert [tile.name for tile in snapshot_tiles(validation, [last, first, last]).examples] == [last, first]
    assert len(snapshot_tiles(validation, ())) == 3, "four are taken, and there are three"
    with pytest.raises(
        UsageError, match=f"--snapshot-tiles: no validation tile is called 'gone'; there is '{first}', and split.csv"
    ):
        snapshot_tiles(validation, [first, "gone"])


def test_masks_are_those_of_the_model_at_that_epoch(watched: Path, validation: SegmentationSet) -> None:
    files = snapshot_files(watched)
    assert list(files) == [1, 3]
    assert list(files[3]) == sorted(tile.name for tile in validation.examples)
    session = open_checkpoint(watched / "last.pt", device="cpu")
    for tile in validation.examples:
        expected = answer_images(session, [validation.image(tile)], batch=1)[0].answer
        # weights lie otherwise in memory, sums round differently, and a pixel at a tie may turn
        assert np.mean(read_mask(files[3][tile.name]) != expected) < 1e-3
    assert any(files[1][name].read_bytes() != files[3][name].read_bytes() for name in files[1])


def test_the_run_itself_is_the_same(watched: Path, start: Start, tmp_path: Path) -> None:
    start(tmp_path / "plain").train()
    assert not (tmp_path / "plain/snapshots").exists(), "off unless asked for"
    one, other = (load_checkpoint(folder / "last.pt") for folder in (watched, tmp_path / "plain"))
    assert all(torch.equal(tensor, other.weights[name]) for name, tensor in one.weights.items())


@pytest.mark.parametrize("place", ["_finish_epoch", "save_last"])
def test_an_interrupted_run_has_kept_the_same_masks_in_the_end(
    watched: Path, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    trainer = start(tmp_path / "run", snapshot_epochs="1,last")
    trainer.save_last()
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, place, killed)
        with pytest.raises((KeyboardInterrupt, Interrupted)):
            trainer.train()
    assert set(snapshot_files(tmp_path / "run")) == {1}
    run.resume(tmp_path / "run", {"model": "fcn8s"}, say=lambda _: None).train()
    assert kept(tmp_path / "run") == kept(watched)


def test_the_last_epoch_of_a_run_that_stops_early_is_kept(
    start: Start, tmp_path: Path, validation: SegmentationSet
) -> None:
    name = validation.examples[1].name
    trainer = start(tmp_path / "run", snapshot_tiles=(name,), snapshot_epochs="40, last", patience=1, epochs=50)
    trainer.best = 2.0  # no epoch is better
    trainer.train()
    assert {epoch: list(tiles) for epoch, tiles in snapshot_files(tmp_path / "run").items()} == {1: [name]}


def test_masks_of_a_finished_run_can_be_asked_for_later(watched: Path, start: Start, tmp_path: Path) -> None:
    start(tmp_path / "run").train()
    run.resume(tmp_path / "run", {"model": "fcn8s", "snapshot_epochs": "last"}, say=lambda _: None).train()
    assert kept(tmp_path / "run") == {name: data for name, data in kept(watched).items() if "0003" in name}


def test_a_new_run_in_the_folder_forgets_them(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "run", epochs=1, snapshot_epochs="1").train()
    assert kept(tmp_path / "run")
    start(tmp_path / "run", epochs=1, overwrite=True)
    assert not (tmp_path / "run/snapshots").exists()


def test_a_new_run_leaves_what_is_not_a_runs(start: Start, tmp_path: Path) -> None:
    """Also in a folder that no run has been in."""
    folder = tmp_path / "run/snapshots"
    (folder / "epoch-0001/deeper").mkdir(parents=True)
    mine = {folder / "mine.png", folder / "epoch-final/mine.png", folder / "epoch-0001/mine.txt"}
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("")
    (folder / "epoch-0001/deeper/tile.png").write_text("")
    (folder / "epoch-0001/.tile.png.7.partial").write_text("")
    start(tmp_path / "run")
    assert {path for path in folder.rglob("*") if path.is_file()} == mine
    assert not (folder / "epoch-0001/deeper").exists()


def test_a_wrong_tile_refuses_the_run_before_an_older_one_goes(start: Start, tmp_path: Path) -> None:
    start(tmp_path / "run", epochs=1, snapshot_epochs="1").train()
    before = kept(tmp_path / "run")
    with pytest.raises(UsageError, match="no validation tile is called 'gone'"):
        start(tmp_path / "run", overwrite=True, snapshot_tiles=("gone",))
    assert kept(tmp_path / "run") == before
    assert (tmp_path / "run/best.pt").exists()
