"""How many labelled images an export takes, and that what it says of them is so."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from dlcv.export.export_model import ExportSettings, export_model
from dlcv.export.images import images_to_verify_on
from dlcv.export.precision.low_precision import PrecisionSettings
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.datasets.masks.description import load_description
from dlcv.runtime.datasets.masks.pairs import find_pairs
from dlcv.runtime.datasets.split import write_split
from dlcv.runtime.errors import DatasetError, UsageError


@pytest.mark.parametrize(
    ("precision", "max_drop", "taken"), [("int8", 0.005, 200), ("auto", 0.01, 100), ("fp32", 0.005, 48), ("int8", 0.5, 48)]
)  # fmt: skip
def test_a_classifiers_low_precision_takes_as_many_as_the_bound_needs(
    precision: str, max_drop: float, taken: int, tiny_card: ModelCard, tmp_path: Path
) -> None:
    import cv2

    card = tiny_card.changed(
        task="classification", classes=("a", "b"), palette=(), uncounted=(), fit="centre-crop", short_side=64
    )
    for k in range(210):
        path = tmp_path / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.full((2, 2, 3), k, np.uint8))
    lines: list[str] = []
    checkpoint = cast(Any, SimpleNamespace())
    asked = PrecisionSettings(precision, max_drop=max_drop)
    labelled = images_to_verify_on(tmp_path, tmp_path / "best.pt", checkpoint, card, asked, lines.append)
    assert len(labelled) == taken
    assert {example.label for example in labelled.examples} == {0, 1}, "evenly over the classes"
    assert lines == [
        f"{tmp_path} has no validation/: any of its 210 images may count, and those that the model was trained on flatter it",
        f"{taken} of 210 images of {tmp_path} are taken, evenly spaced",
    ]


@pytest.fixture
def classified(tiny_card: ModelCard, tmp_path: Path) -> tuple[Path, ModelCard]:
    """60 images of two classes, and the card of a model of them."""
    import cv2

    data = tmp_path / "images"
    for k in range(60):
        path = data / "ab"[k % 2] / f"{k:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((2, 2, 3), k, np.uint8))
    card = tiny_card.changed(task="classification", classes=("a", "b"), palette=(), uncounted=(), fit="centre-crop", short_side=64)  # fmt: skip
    return data, card


def _verified_on(data: Path, card: ModelCard, run: Path, split: Path | None = None, dataset: Any = None) -> tuple[list[str], list[str]]:  # fmt: skip
    lines: list[str] = []
    checkpoint = cast(Any, SimpleNamespace(dataset=dataset))
    labelled = images_to_verify_on(data, run / "best.pt", checkpoint, card, PrecisionSettings(), lines.append, split)
    return [example.name for example in labelled.examples], lines


def test_images_that_trained_the_run_are_not_verified_on(classified: tuple[Path, ModelCard], tmp_path: Path) -> None:
    data, card = classified
    run, validated = tmp_path / "run", [f"{'ab'[k % 2]}/{k:02}.png" for k in range(10, 18)]
    run.mkdir()
    write_split(run / "split.csv", ["a/00.png"], validated)
    names, lines = _verified_on(data, card, run)
    assert sorted(names) == sorted(validated)
    assert lines == [f"8 images of {data} count: what {run / 'split.csv'} lists for validation, which did not train"]
    kept = _verified_on(data, card, run / "kept")
    assert kept == (names, lines), "the checkpoints that a run keeps have its split too"


def test_a_split_of_other_data_is_told_and_not_used(classified: tuple[Path, ModelCard], tmp_path: Path) -> None:
    data, card = classified
    split = tmp_path / "run" / "split.csv"
    split.parent.mkdir()
    write_split(split, [], ["a/10.png", "a/nothere.png"])
    names, lines = _verified_on(data, card, split.parent)
    assert len(names) == 48 and "any of its 60 images may count" in lines[0]
    missing = f"1 of the 2 validation images in {split} are not in {data}, the first is 'a/nothere.png'"
    assert lines[1].startswith(f"the run's own split is not used: {missing}")
    with pytest.raises(DatasetError, match=r"^1 of the 2 validation images in .* are not in "):
        _verified_on(data, card, tmp_path / "elsewhere", split)


def test_tiles_follow_the_split_too(tiny_data: Path, tiny_card: ModelCard, tmp_path: Path) -> None:
    masks = load_description("deepglobe")
    pairs = find_pairs(tiny_data, masks)
    write_split(tmp_path / "split.csv", [pair.name for pair in pairs[1:]], [pairs[0].name])
    names, lines = _verified_on(tiny_data, tiny_card, tmp_path, dataset=masks.to_dict())
    assert names == [pairs[0].name] and lines[0].startswith("1 tile of ")
    whole, lines = _verified_on(tiny_data, tiny_card, tmp_path / "elsewhere", dataset=masks.to_dict())
    assert len(whole) == len(pairs) > 1
    assert f"has no validation/: all its {len(pairs)} tiles count" in lines[0], "which was not said"


def test_a_split_without_data_is_refused() -> None:
    settings = ExportSettings("fcn8s", (Path("best.pt"),), Path("."), split=Path("split.csv"))
    with pytest.raises(UsageError, match=r"^--split says which images of --data count; name the data as well"):
        export_model(settings)
