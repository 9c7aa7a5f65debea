"""The probe: some validation tiles beside a run, held by their hash."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.classes.images import ClassificationSet
from dlcv.runtime.datasets.masks.pairs import find_pairs
from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.runtime.errors import CheckpointError, OutputError
from dlcv.train.folder.probe import PROBE_COUNT, probe_sha256, read_probe, write_probe


def test_the_probe_is_read_as_a_dataset(validation: SegmentationSet, tiny_card: ModelCard, tmp_path: Path) -> None:
    digest = write_probe(tmp_path / "probe", validation)
    probe = read_probe(tmp_path / "probe", digest, tiny_card)
    assert isinstance(probe, SegmentationSet) and probe.masks == validation.masks
    assert [pair.name for pair in probe.examples] == [pair.name for pair in validation.examples]
    for pair, original in zip(probe.examples, validation.examples, strict=True):
        for array, expected in zip(probe.read(pair), validation.read(original), strict=True):
            assert np.array_equal(array, expected)


@pytest.mark.parametrize("count", [1, 15, 16, 17, 40])
def test_tiles_are_evenly_spaced(validation: SegmentationSet, tiny_card: ModelCard, tmp_path: Path, count: int) -> None:
    pairs = validation.examples
    many = [replace(pairs[k % len(pairs)], name=f"area/t{k:03d}") for k in range(count)]
    write_probe(tmp_path / "probe", validation.with_examples(many))
    probe = read_probe(tmp_path / "probe", "", tiny_card)
    places = [int(pair.name.removeprefix("area_t")) for pair in probe.examples]
    assert len(places) == min(count, PROBE_COUNT["segmentation"]) and places[0] == 0
    steps = np.diff([*places, count])
    assert steps.max() - steps.min() <= 1


def test_another_tile_name_or_byte_gives_another_hash(
    validation: SegmentationSet, tiny_card: ModelCard, tmp_path: Path
) -> None:
    digest = write_probe(tmp_path / "probe", validation)
    assert digest == probe_sha256(tmp_path / "probe") and len(digest) == 64
    assert write_probe(tmp_path / "again", validation) == digest
    mask = next((tmp_path / "probe").glob("*_mask.png"))
    mask.write_bytes(mask.read_bytes()[:-1] + b"x")
    with pytest.raises(
        CheckpointError,
        match=r"are not those of the checkpoint \(their hash differs\); pass labelled tiles with --data",
    ):
        read_probe(tmp_path / "probe", digest, tiny_card)
    image = next((tmp_path / "again").glob("*_sat.jpg"))
    image.rename(image.with_name("other_sat.jpg"))
    assert probe_sha256(tmp_path / "again") != digest


def test_a_missing_probe_says_what_to_pass(tiny_card: ModelCard, tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"there are no probe tiles at .*probe to verify on; pass labelled tiles with --data DIR"
    ):
        read_probe(tmp_path / "probe", "", tiny_card)


def test_an_older_probe_is_emptied(validation: SegmentationSet, tiny_card: ModelCard, tmp_path: Path) -> None:
    write_probe(tmp_path / "probe", validation)
    digest = write_probe(tmp_path / "probe", validation.with_examples(validation.examples[:1]))
    names = [pair.name for pair in read_probe(tmp_path / "probe", digest, tiny_card).examples]
    assert names == [validation.examples[0].name]


def test_at_no_moment_is_there_half_of_a_probe(
    validation: SegmentationSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process killed in between left one that the next run took for files of somebody else, and refused."""
    folder, copy, seen = tmp_path / "run/probe", shutil.copyfile, list[list[str]]()

    def copyfile(source: Path, target: Path) -> Path:
        seen.append(sorted(path.name for path in folder.iterdir()) if folder.exists() else [])
        return copy(source, target)

    monkeypatch.setattr("dlcv.train.folder.probe.shutil.copyfile", copyfile)
    left = folder.with_name(".probe.4711.partial")
    left.mkdir(parents=True)
    write_probe(folder, validation)
    assert seen == [[]] * len(seen) != []
    whole = sorted(path.name for path in folder.iterdir())
    seen.clear()
    write_probe(folder, validation.with_examples(validation.examples[:1]))
    assert seen == [whole] * 2
    assert [path.name for path in folder.parent.iterdir()] == ["probe"], "nothing is left, of a killed process neither"


def test_a_folder_of_other_files_is_left_alone(
    validation: SegmentationSet, tiny_card: ModelCard, tmp_path: Path
) -> None:
    shutil.copyfile(validation.examples[0].image, tmp_path / "mine.jpg")
    with pytest.raises(
        OutputError, match="holds files that are not a run's probe; choose another folder with --output"
    ):
        write_probe(tmp_path, validation)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.jpg"]


def test_tiles_from_folders_of_images_and_masks_are_kept_side_by_side(
    validation: SegmentationSet, tiny_card: ModelCard, tmp_path: Path
) -> None:
    for pair in validation.examples:
        for kind, path in (("images", pair.image), ("masks", pair.mask)):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            shutil.copyfile(
                path, tmp_path / "data" / kind / f"{pair.name}_mask.png"
            )  # a name that ends as masks in a probe do
    masks = replace(
        validation.masks, image_folder="images", mask_folder="masks", image_suffix=".png", mask_suffix=".png"
    )
    tiles = SegmentationSet(find_pairs(tmp_path / "data", masks), masks)
    digest = write_probe(tmp_path / "probe", tiles)
    found = read_probe(tmp_path / "probe", digest, tiny_card)
    assert [pair.name for pair in found.examples] == [f"{pair.name}_mask" for pair in validation.examples]
    for here, there in zip(found.examples, validation.examples, strict=True):
        assert (found.label(here) == validation.label(there)).all()


def test_two_tiles_whose_names_would_meet_are_both_kept(
    validation: SegmentationSet, tiny_card: ModelCard, tmp_path: Path
) -> None:
    pairs = [replace(pair, name=name) for pair, name in zip(validation.examples, ("a/b", "a_b"))]
    digest = write_probe(tmp_path / "probe", validation.with_examples(pairs))
    assert len(read_probe(tmp_path / "probe", digest, tiny_card)) == 2


@pytest.fixture
def pictures_card(tiny_card: ModelCard, split_pictures: tuple[ClassificationSet, ClassificationSet]) -> ModelCard:
    return tiny_card.changed(
        model="cnn3", task="classification", classes=split_pictures[0].classes, palette=(), uncounted=(), fit="centre-crop",
        input_size_hw=(32, 32), short_side=32,
    )  # fmt: skip


def test_the_probe_of_pictures_is_read_as_a_dataset(
    split_pictures: tuple[ClassificationSet, ClassificationSet], pictures_card: ModelCard, tmp_path: Path
) -> None:
    for pictures in split_pictures:
        digest = write_probe(tmp_path / "probe", pictures)
        probe = read_probe(tmp_path / "probe", digest, pictures_card)
        assert isinstance(probe, ClassificationSet) and probe.classes == pictures.classes
        assert len(probe) == min(len(pictures), PROBE_COUNT["classification"])
        for copied, original in zip(probe.examples, pictures.examples, strict=True):
            assert np.array_equal(probe.image(copied), pictures.image(original)) and copied.label == original.label
    assert write_probe(tmp_path / "again", split_pictures[1]) == digest


def test_many_pictures_are_evenly_spaced(
    split_pictures: tuple[ClassificationSet, ClassificationSet], pictures_card: ModelCard, tmp_path: Path
) -> None:
    pictures = split_pictures[0]
    many = pictures.with_examples([example for example in pictures.examples for _ in range(3)])  # 120
    probe = read_probe(tmp_path / "probe", write_probe(tmp_path / "probe", many), pictures_card)
    assert len(probe) == PROBE_COUNT["classification"] == 48 and probe.counts().tolist() == [12, 12, 12, 12]


def test_a_picture_that_was_changed_is_told(
    split_pictures: tuple[ClassificationSet, ClassificationSet], pictures_card: ModelCard, tmp_path: Path
) -> None:
    digest = write_probe(tmp_path / "probe", split_pictures[1])
    table = tmp_path / "probe" / "labels.csv"
    table.write_text(table.read_text().replace("sea", "snow"))
    with pytest.raises(CheckpointError, match="their hash differs"):
        read_probe(tmp_path / "probe", digest, pictures_card)


def test_labelled_pictures_of_somebody_else_are_left_alone(
    split_pictures: tuple[ClassificationSet, ClassificationSet], tmp_path: Path
) -> None:
    (tmp_path / "labels.csv").write_text("file,label\nharbour.png,sea\n")
    shutil.copyfile(split_pictures[0].examples[0].path, tmp_path / "harbour.png")
    with pytest.raises(OutputError, match="holds files that are not a run's probe"):
        write_probe(tmp_path, split_pictures[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["harbour.png", "labels.csv"]
