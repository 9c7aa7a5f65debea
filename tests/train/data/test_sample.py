"""The generated sample as files: of DeepGlobe's format, or patches in class folders; reproducible, cached. Scenes: test_scenes.py."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from dlcv.runtime.datasets.loading import training_split
from dlcv.runtime.errors import DatasetError, OutputError, UsageError
from dlcv.train.cli.sample import main
from dlcv.train.data import sample
from dlcv.train.data.patches import CLASS_NAMES, make_patches
from dlcv.train.data.sample import MASK_COLOURS, make_scene, sample_counts, sample_folder, write_sample


def read_rgb(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    assert image is not None
    return image[..., ::-1].astype(np.uint8)


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_files_are_those_of_deepglobe(tmp_path: Path) -> None:
    write_sample(tmp_path / "set", tiles=6, validation=3, size=64, seed=2)
    names = {f"train/train{k:04d}" for k in range(6)} | {f"validation/validation{k:04d}" for k in range(3)}
    expected = {name + end for name in names for end in ("_sat.jpg", "_mask.png")} | {"sample.json"}
    assert set(hashes(tmp_path / "set")) == expected
    seen: set[tuple[int, ...]] = set()
    for index in range(6):
        image, label = make_scene(2, index, 64)
        mask = read_rgb(tmp_path / "set" / "train" / f"train{index:04d}_mask.png")
        assert mask.shape == (64, 64, 3) and np.array_equal(mask, np.array(MASK_COLOURS, np.uint8)[label])
        seen |= {tuple(int(v) for v in colour) for colour in np.unique(mask.reshape(-1, 3), axis=0)}
        stored = read_rgb(tmp_path / "set" / "train" / f"train{index:04d}_sat.jpg")
        # JPEG of quality 90 with halved chroma on small roofs and rows: about 4 of 255; swapped channels give over 15
        assert np.abs(stored.astype(int) - image).mean() < 8
    assert seen == set(MASK_COLOURS)


def test_the_same_bytes_twice_and_whatever_the_count(tmp_path: Path) -> None:
    write_sample(tmp_path / "a", tiles=3, validation=2, size=48)
    write_sample(tmp_path / "b", tiles=3, validation=2, size=48)
    write_sample(tmp_path / "more", tiles=5, validation=3, size=48)
    few, more = hashes(tmp_path / "a"), hashes(tmp_path / "more")
    assert few == hashes(tmp_path / "b")
    assert len(set(few.values())) == len(few)
    assert all(more[name] == few[name] for name in few if name != "sample.json")


def test_progress_counts_to_the_total(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    write_sample(tmp_path / "set", tiles=2, validation=1, size=16, progress=lambda *call: calls.append(call))
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_an_empty_folder_is_filled_and_a_full_one_refused(tmp_path: Path) -> None:
    write_sample(tmp_path, tiles=1, validation=0, size=16)
    with pytest.raises(DatasetError, match="already holds a sample; choose another folder or pass --overwrite"):
        write_sample(tmp_path, tiles=1, size=16)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="is not empty and holds no generated sample; choose a new or empty folder"):
        write_sample(foreign, tiles=1, size=16, overwrite=True)
    with pytest.raises(DatasetError, match="is a file, expected a new or empty folder"):
        write_sample(foreign / "notes.txt", tiles=1, size=16)
    assert (foreign / "notes.txt").read_text() == "mine"


def test_overwrite_replaces_the_scenes_and_nothing_else(tmp_path: Path) -> None:
    write_sample(tmp_path, tiles=3, validation=2, size=16)
    (tmp_path / "train" / "mine_sat.jpg").write_bytes(b"kept")
    write_sample(tmp_path, tiles=1, validation=1, size=16, seed=5, overwrite=True)
    names = sorted(path.name for path in (tmp_path / "train").iterdir())
    assert names == ["mine_sat.jpg", "train0000_mask.png", "train0000_sat.jpg"]
    record = json.loads((tmp_path / "sample.json").read_text())
    numbers = {"size": 16, "seed": 5, "train": 1, "validation": 1}
    assert record == {"generator": sample.GENERATOR_VERSION, "task": "segmentation", **numbers}


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path, tiles=2, size=16, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "value"), [("tiles", 0), ("validation", -1), ("size", 8), ("seed", -1)])
def test_numbers_out_of_range_are_named(tmp_path: Path, name: str, value: int) -> None:
    with pytest.raises(UsageError, match=rf"{name} is {value}, expected .*; pass another --{name}"):
        write_sample(tmp_path / "set", **{name: value})  # type: ignore[arg-type]  # only the integers
    assert not (tmp_path / "set").exists()


def test_patches_stand_in_a_folder_per_class(tmp_path: Path) -> None:
    write_sample(tmp_path / "set", task="classification", tiles=12, validation=6, size=32, seed=2)
    folders = {("train", k) for k in range(2)} | {("validation", 0)}
    expected = {f"{split}/{name}/{k:04d}.jpg" for split, k in folders for name in CLASS_NAMES} | {"sample.json"}
    stored = hashes(tmp_path / "set")
    assert set(stored) == expected
    assert len(set(stored.values())) == len(stored)  # train and validation share none
    for patch in make_patches(2, 2, 32):
        image = read_rgb(tmp_path / "set" / "train" / CLASS_NAMES[patch.label] / f"{patch.number:04d}.jpg")
        assert image.shape == (32, 32, 3)
        # seen: 1.6 to 3.2 of 255 by JPEG; the next patch gives 4.9 to 80, swapped channels over 4.5 in 11 of 12
        assert np.abs(image.astype(int) - patch.image_rgb).mean() < 4.5
    record = json.loads((tmp_path / "set" / "sample.json").read_text())
    numbers = {"size": 32, "seed": 2, "train": 12, "validation": 6}
    assert record == {"generator": sample.GENERATOR_VERSION, "task": "classification", **numbers}


def test_patches_are_read_as_training_data(tmp_path: Path) -> None:
    write_sample(tmp_path, task="classification", tiles=12, validation=6, size=16)
    lines: list[str] = []
    train, validation = training_split(
        "classification", tmp_path, dataset="deepglobe", validation_share=0.1, seed=0, say=lines.append
    )
    assert train.classes == validation.classes == tuple(sorted(CLASS_NAMES))
    assert train.counts().tolist() == [2] * 6 and validation.counts().tolist() == [1] * 6 and lines == []


def test_patches_are_the_same_whatever_the_count(tmp_path: Path) -> None:
    write_sample(tmp_path / "few", task="classification", tiles=6, validation=6, size=16)
    write_sample(tmp_path / "more", task="classification", tiles=18, validation=12, size=16)
    few, more = hashes(tmp_path / "few"), hashes(tmp_path / "more")
    assert len(few) == 13 and all(more[name] == few[name] for name in few if name != "sample.json")


def test_each_class_has_a_sixth_and_one_at_least() -> None:
    assert sample_counts("classification", tiles=20, validation=3) == {"train": 18, "validation": 6}
    assert sample_counts("classification", validation=0) == {"train": 240, "validation": 0}
    assert sample_counts() == {"train": 96, "validation": 24}
    with pytest.raises(UsageError, match="unknown task 'detection'; known: segmentation, classification"):
        sample_counts("detection")


def test_one_task_replaces_the_other(tmp_path: Path) -> None:
    patches = {"tiles": 6, "validation": 0, "size": 16}
    write_sample(tmp_path, task="classification", **patches)  # type: ignore[arg-type]  # only the integers
    (tmp_path / "train" / "urban" / "mine.jpg").write_bytes(b"kept")
    with pytest.raises(DatasetError, match="already holds a sample"):
        write_sample(tmp_path, task="classification", **patches)  # type: ignore[arg-type]
    write_sample(tmp_path, tiles=1, validation=0, size=16, overwrite=True)
    assert set(hashes(tmp_path / "train")) == {"train0000_mask.png", "train0000_sat.jpg", "urban/mine.jpg"}
    assert sorted(path.name for path in (tmp_path / "train").iterdir() if path.is_dir()) == ["urban"]
    write_sample(tmp_path, task="classification", overwrite=True, **patches)  # type: ignore[arg-type]
    assert set(hashes(tmp_path / "train")) == {f"{name}/0000.jpg" for name in CLASS_NAMES} | {"urban/mine.jpg"}


def test_interrupted_patches_leave_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        assert total == 12
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path, task="classification", tiles=6, validation=6, size=16, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_patches_larger_than_scenes_can_show_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="size is 129, expected 16 to 128; pass another --size"):
        write_sample(tmp_path / "set", task="classification", size=129)
    assert not (tmp_path / "set").exists()


def test_the_cached_patches_have_a_folder_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    scenes = sample_folder(size=16, tiles=6, validation=6)
    patches = sample_folder(task="classification", size=16, tiles=6, validation=6)
    assert patches.name == f"sample-v{sample.GENERATOR_VERSION}-classification-16px-6+6-seed0"
    assert patches != scenes and (patches / "train" / "water" / "0000.jpg").is_file()


def test_what_data_sample_means_is_as_documented() -> None:
    numbers = {task: (n.size, n.tiles, n.validation) for task, n in sample._CACHED.items()}
    assert numbers == {"segmentation": (256, 96, 24), "classification": (64, 480, 120)}


def test_the_cached_set_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls: list[int] = []
    folder = sample_folder(size=16, tiles=2, validation=1, progress=lambda done, total: calls.append(done))
    assert folder.parent == tmp_path / "dlcv"
    assert folder.name == f"sample-v{sample.GENERATOR_VERSION}-16px-2+1-seed0"
    before = hashes(folder)
    assert sample_folder(size=16, tiles=2, validation=1, progress=lambda done, total: calls.append(done)) == folder
    assert calls == [1, 2, 3] and hashes(folder) == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert sample_folder(size=16, tiles=2, validation=1, seed=1) != folder


def test_a_cache_that_cannot_be_written_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dlcv").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(OutputError, match=r"cannot write the sample to .*; set XDG_CACHE_HOME to a folder"):
        sample_folder(size=16, tiles=1, validation=0)


def test_the_command_writes_and_names_the_next_one(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    result = CliRunner().invoke(main, [str(folder), "--tiles", "2", "--validation", "1", "--size", "32", "--seed", "7"])
    assert result.exit_code == 0, result.output
    assert str(folder) in result.output
    assert f"dlcv-train --model fcn8s --data {folder}" in result.output
    assert np.array_equal(
        read_rgb(folder / "train" / "train0001_mask.png"),
        np.array(MASK_COLOURS, np.uint8)[make_scene(7, 1, 32)[1]],
    )


def test_the_command_writes_patches_and_says_what_does_not_divide(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    few = ["--task", "classification", "--tiles", "13", "--validation", "6", "--size", "16"]
    result = CliRunner().invoke(main, [str(folder), *few])
    assert result.exit_code == 0, result.output
    assert "train: 13 is no multiple of 6 classes; wrote 12, 2 of each\n" in result.output
    assert "validation:" not in result.output
    assert f"dlcv-train --model resnet18 --data {folder}" in result.output
    assert len(hashes(folder)) == 12 + 6 + 1


def test_the_command_refuses_in_one_line(tmp_path: Path) -> None:
    runner, few = CliRunner(), ["--tiles", "1", "--validation", "0", "--size", "16"]
    assert runner.invoke(main, [str(tmp_path), *few]).exit_code == 0
    again = runner.invoke(main, [str(tmp_path), *few])
    assert again.exit_code == 2 and again.output.count("\n") == 1
    assert "dlcv-sample: " in again.output and "--overwrite" in again.output
    assert runner.invoke(main, [str(tmp_path), *few, "--overwrite"]).exit_code == 0
    wrong = runner.invoke(main, [str(tmp_path / "new"), "--size", "3"])
    assert wrong.exit_code == 2 and "size is 3, expected 16 to 8192" in wrong.output


def test_the_command_has_help_and_version() -> None:
    text = CliRunner().invoke(main, ["--help"]).output
    assert "--overwrite" in text and "[segmentation|classification]" in text
    for defaults in ("96; 240 patches", "24; 60 patches", "512; 64 for patches"):
        assert defaults in " ".join(text.split())
    assert "dlcv-sample" in CliRunner().invoke(main, ["--version"]).output
