"""`--unreadable`: a run stops at the first image that cannot be used, or finds all such before it begins and goes on without them."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dlcv.runtime.errors import DatasetError
from dlcv.train import run
from dlcv.train.checkpoints.checkpoint import load_checkpoint
from dlcv.train.data.left_out import without_unusable
from dlcv.train.loop import Trainer
from dlcv.train.processes.distributed import Processes
from dlcv.train.processes.place import Place

Start = Callable[..., Trainer]


@pytest.fixture
def damaged(scenes: Path, tmp_path: Path) -> Path:
    """Of 9 and 3 scenes, two that train and one that validates are cut off, images and a mask."""
    data = Path(shutil.copytree(scenes, tmp_path / "data"))
    for path in (*sorted((data / "train").glob("*_sat.*"))[2:4], min((data / "validation").glob("*_mask.png"))):
        path.write_bytes(path.read_bytes()[:100])
    return data


def listed(folder: Path) -> list[dict[str, str]]:
    with open(folder / "unreadable.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_left_out_is_told_and_listed_and_neither_trains_nor_validates(
    start: Start, damaged: Path, tmp_path: Path
) -> None:
    said: list[str] = []
    trainer = start(tmp_path / "run", data=str(damaged), unreadable="leave-out", epochs=1, say=said.append)
    names = sorted(path.name.partition("_sat")[0] for path in (damaged / "train").glob("*_sat.*"))[2:4]
    assert said[0].startswith("2 of 9 images of train cannot be used and are left out, such as: ")
    assert said[1].startswith("1 of 3 images of validation cannot be used and is left out, such as: ")
    assert said[2].startswith("7 images to train on, 2 to validate on")
    rows = listed(tmp_path / "run")
    assert [(row["name"], row["split"]) for row in rows[:2]] == [(name, "train") for name in names]
    assert rows[2]["split"] == "validation" and "_mask.png" in rows[2]["reason"]
    assert trainer.train() is not None
    assert not {row["name"] for row in rows[:2]} & {e.name for e in trainer.run.training.examples}
    assert load_checkpoint(tmp_path / "run/last.pt").training["settings"]["unreadable"] == "leave-out"


def test_a_run_that_was_begun_without_it_goes_on_with_it(
    start: Start, scenes: Path, damaged: Path, tmp_path: Path
) -> None:
    start(tmp_path / "run", data=str(scenes), epochs=1).train()
    assert not (tmp_path / "run/unreadable.csv").exists()
    given: dict[str, Any] = {"model": "fcn8s", "data": str(damaged), "epochs": 2, "unreadable": "leave-out"}
    resumed = run.resume(tmp_path / "run", given, say=lambda _: None)
    assert len(listed(tmp_path / "run")) == 3
    assert resumed.train() is not None
    run.resume(tmp_path / "run", given | {"data": str(scenes)}, say=lambda _: None)
    assert not (tmp_path / "run/unreadable.csv").exists(), "what was mended is not listed any more"


def test_more_than_half_is_no_matter_of_single_files(start: Start, damaged: Path, tmp_path: Path) -> None:
    for path in (damaged / "validation").glob("*_sat.*"):
        path.write_bytes(b"")
    with pytest.raises(DatasetError, match=r"^3 of 3 images of validation cannot be used, more than are left out as damaged; the first: "):  # fmt: skip
        start(tmp_path / "run", data=str(damaged), unreadable="leave-out")
    assert not (tmp_path / "run").exists()


def test_where_it_stops_the_way_on_is_told(start: Start, damaged: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"_mask.png.*; or go on without such images: --unreadable leave-out$"):
        start(tmp_path / "run", data=str(damaged))


def test_several_processes_read_a_share_each_and_leave_out_the_same(training: Any) -> None:
    """Of two processes, each is told what the other found."""

    class OneOfTwo(Processes):
        def gathered(self, value: Any) -> list[Any]:
            found.append(value)
            return found

    class Half:
        def read(self, example: Any) -> None:
            read.append(example.name)
            if example.name in (first, last):
                raise DatasetError("spoiled")

    first, last, read, found = training.examples[0].name, training.examples[-1].name, [], []  # type: ignore[var-annotated]
    spoiled = training.with_examples(training.examples[:8])
    last = spoiled.examples[-1].name
    spoiled.read = Half().read
    sides = [without_unusable(spoiled, "train", OneOfTwo(Place(rank=rank, size=2)), lambda _: None) for rank in (0, 1)]
    assert sorted(read) == sorted(e.name for e in spoiled.examples), "each once"
    labelled, left_out = sides[1]
    assert [each.name for each in left_out] == [first, last]
    assert [e.name for e in labelled.examples] == [e.name for e in spoiled.examples[1:-1]]
