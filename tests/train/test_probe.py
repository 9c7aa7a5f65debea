"""The probe: some validation tiles beside a run, held by their hash."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dlcv.runtime.datasets.description import DatasetDescription
from dlcv.runtime.datasets.pairs import Pair
from dlcv.runtime.errors import CheckpointError, OutputError
from dlcv.train.data.tiles import read_pair
from dlcv.train.probe import PROBE_TILES, probe_sha256, read_probe, write_probe


def test_the_probe_is_read_as_a_dataset(validation: list[Pair], deepglobe: DatasetDescription, tmp_path: Path) -> None:
    digest = write_probe(tmp_path / "probe", validation, deepglobe)
    pairs, description = read_probe(tmp_path / "probe", digest)
    assert description == deepglobe and [pair.name for pair in pairs] == [pair.name for pair in validation]
    for pair, original in zip(pairs, validation, strict=True):
        for array, expected in zip(read_pair(pair, description), read_pair(original, deepglobe), strict=True):
            assert np.array_equal(array, expected)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 40])
def test_tiles_are_evenly_spaced(
    validation: list[Pair], deepglobe: DatasetDescription, tmp_path: Path, count: int
) -> None:
    many = [replace(validation[k % len(validation)], name=f"area/t{k:03d}") for k in range(count)]
    write_probe(tmp_path / "probe", many, deepglobe)
    pairs, _ = read_probe(tmp_path / "probe", "")
    places = [int(pair.name.removeprefix("area_t")) for pair in pairs]
    assert len(places) == min(count, PROBE_TILES) and places[0] == 0
    steps = np.diff([*places, count])
    assert steps.max() - steps.min() <= 1


def test_another_tile_name_or_byte_gives_another_hash(
    validation: list[Pair], deepglobe: DatasetDescription, tmp_path: Path
) -> None:
    digest = write_probe(tmp_path / "probe", validation, deepglobe)
    assert digest == probe_sha256(tmp_path / "probe") and len(digest) == 64
    assert write_probe(tmp_path / "again", validation, deepglobe) == digest
    mask = next((tmp_path / "probe").glob("*_mask.png"))
    mask.write_bytes(mask.read_bytes()[:-1] + b"x")
    with pytest.raises(
        CheckpointError,
        match=r"are not those of the checkpoint \(their hash differs\); pass labelled tiles with --data",
    ):
        read_probe(tmp_path / "probe", digest)
    image = next((tmp_path / "again").glob("*_sat.jpg"))
    image.rename(image.with_name("other_sat.jpg"))
    assert probe_sha256(tmp_path / "again") != digest


def test_a_missing_probe_says_what_to_pass(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"there are no probe tiles at .*probe to verify on; pass labelled tiles with --data DIR"
    ):
        read_probe(tmp_path / "probe", "")


def test_an_older_probe_is_emptied(validation: list[Pair], deepglobe: DatasetDescription, tmp_path: Path) -> None:
    write_probe(tmp_path / "probe", validation, deepglobe)
    digest = write_probe(tmp_path / "probe", validation[:1], deepglobe)
    assert [pair.name for pair in read_probe(tmp_path / "probe", digest)[0]] == [validation[0].name]


def test_a_folder_of_other_files_is_left_alone(
    validation: list[Pair], deepglobe: DatasetDescription, tmp_path: Path
) -> None:
    shutil.copyfile(validation[0].image, tmp_path / "mine.jpg")
    with pytest.raises(
        OutputError, match="holds files that are not a run's probe; choose another folder with --output"
    ):
        write_probe(tmp_path, validation, deepglobe)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.jpg"]


def test_two_tiles_whose_names_would_meet_are_both_kept(
    validation: list[Pair], deepglobe: DatasetDescription, tmp_path: Path
) -> None:
    pairs = [replace(pair, name=name) for pair, name in zip(validation, ("a/b", "a_b"))]
    digest = write_probe(tmp_path / "probe", pairs, deepglobe)
    assert len(read_probe(tmp_path / "probe", digest)[0]) == 2
