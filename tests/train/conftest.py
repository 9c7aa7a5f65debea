"""Labelled scenes and small pictures in class folders, written once for all tests of training; nobody changes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.datasets.loading import training_split
from dlcv.runtime.datasets.masks.description import DatasetDescription, load_description
from dlcv.runtime.datasets.masks.pairs import find_pairs
from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.train.data.sample import write_sample

if TYPE_CHECKING:
    from dlcv.runtime.datasets.classes.images import ClassificationSet
    from dlcv.train.loop import Trainer
    from dlcv.train.settings.settings import TrainSettings

PICTURE_CLASSES = ("brick", "forest", "sea", "snow")
EACH = 12


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder: train/ with 9 scenes and validation/ with 3, 96 x 96 pixels, DeepGlobe's masks."""
    folder = tmp_path_factory.mktemp("data") / "scenes"
    write_sample(folder, tiles=9, validation=3, size=96)
    return folder


@pytest.fixture(scope="session")
def deepglobe() -> DatasetDescription:
    return load_description("deepglobe")


@pytest.fixture(scope="session")
def training(scenes: Path, deepglobe: DatasetDescription) -> SegmentationSet:
    return SegmentationSet(find_pairs(scenes / "train", deepglobe), deepglobe)


@pytest.fixture(scope="session")
def validation(scenes: Path, deepglobe: DatasetDescription) -> SegmentationSet:
    return SegmentationSet(find_pairs(scenes / "validation", deepglobe), deepglobe)


@pytest.fixture(scope="session")
def write_pictures() -> Callable[..., Path]:
    """Writes pictures as a folder per class: folder, height and width, how many of a class, classes -> the folder."""

    def write(
        folder: Path, size_hw: tuple[int, int] = (32, 32), each: int = EACH, classes: tuple[str, ...] = PICTURE_CLASSES
    ) -> Path:
        for label, name in enumerate(classes):
            (folder / name).mkdir(parents=True)
            for number in range(each):
                picture = picture_of(label, size_hw, np.random.default_rng([label, number]))
                cv2.imwrite(str(folder / name / f"{name}-{number:02d}.png"), picture)
        return folder

    return write


def picture_of(label: int, size_hw: tuple[int, int], rng: np.random.Generator) -> NDArray[np.uint8]:
    """uint8 (h, w, 3): stripes whose direction and colour are the class's, their place and the noise drawn."""
    rows, columns = np.indices(size_hw)
    wave = np.sin((rows if label % 2 else columns) * 0.9 + rng.uniform(0, 6.3))
    colours = np.array([(60, 80, 190), (60, 140, 60), (180, 110, 50), (210, 210, 210)], np.float64)
    image = colours[label % 4] + 30 * wave[..., None] + rng.normal(0, 20, (*size_hw, 3))
    return np.clip(image, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory, write_pictures: Callable[..., Path]) -> Path:
    """A data folder with a folder per class: 4 classes of 12 pictures, 32 x 32 pixels."""
    return write_pictures(tmp_path_factory.mktemp("data") / "pictures")


@pytest.fixture(scope="session")
def split_pictures(pictures: Path) -> tuple[ClassificationSet, ClassificationSet]:
    """`pictures` as training splits them by the seed 0: 40 that train, 8 that validate."""
    return training_split("classification", pictures, dataset="", validation_share=0.2, seed=0)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def settings(scenes: Path) -> TrainSettings:
    """Of a small run on tiles; files of tests have their own."""
    from dlcv.train.settings.settings import TrainSettings

    return TrainSettings(
        data=str(scenes), width=0.05, epochs=3, batch=4, crop=64, learning_rate=3e-3, workers=0, device="cpu", seed=1
    )  # fmt: skip


@pytest.fixture(scope="module")
def start(settings: TrainSettings) -> Callable[..., Trainer]:
    """folder, changes of the file's own `settings` -> a trainer that has not trained yet."""
    from dlcv.train import run
    from dlcv.train.settings.settings import TrainSettings

    def start_in(
        folder: Path, *, overwrite: bool = False, say: Callable[[str], None] = lambda _: None, **changes: Any
    ) -> Trainer:
        return run.start(TrainSettings(**settings.to_dict() | changes), folder, overwrite=overwrite, say=say)

    return start_in


@pytest.fixture(scope="module")
def whole(start: Callable[..., Trainer], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run by the file's own `settings` that nothing interrupted."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    start(folder).train()
    return folder
