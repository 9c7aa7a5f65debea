"""Labelled scenes, written once for all tests of training; nobody changes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from dlcv.runtime.datasets.description import DatasetDescription, load_description
from dlcv.runtime.datasets.pairs import Pair, find_pairs
from dlcv.train.data.sample import write_sample


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
def training(scenes: Path, deepglobe: DatasetDescription) -> list[Pair]:
    return find_pairs(scenes / "train", deepglobe)


@pytest.fixture(scope="session")
def validation(scenes: Path, deepglobe: DatasetDescription) -> list[Pair]:
    return find_pairs(scenes / "validation", deepglobe)
