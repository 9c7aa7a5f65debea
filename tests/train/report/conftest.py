"""Runs to report on, trained once: one of masks whose names are hostile, one of classes. Nobody changes them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from dlcv.runtime.datasets.masks.description import DatasetDescription
from dlcv.train import run
from dlcv.train.settings.settings import TrainSettings

HOSTILE_CLASS = "</script><script>alert(1)</script> $x^$ & <b>"
HOSTILE_TILE = '<img src=x onerror=alert(2)> & "it\'s" <script>'


@pytest.fixture(scope="session")
def hostile_data(scenes: Path, deepglobe: DatasetDescription, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`scenes` with one validation tile and one class named to break a page; `dataset.json` beside them says what masks mean."""
    folder = tmp_path_factory.mktemp("hostile") / "data"
    shutil.copytree(scenes, folder)
    first = sorted((folder / "validation").glob("*_sat.jpg"))[0]
    for path in (first, first.with_name(first.name.replace("_sat.jpg", "_mask.png"))):
        path.rename(path.with_name(HOSTILE_TILE + path.name[path.name.rindex("_") :]))
    described = deepglobe.to_dict()
    described["classes"][1]["name"] = HOSTILE_CLASS
    (folder / "dataset.json").write_text(json.dumps(described))
    return folder


@pytest.fixture(scope="session")
def segmented_run(hostile_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three epochs of a tiny fcn8s, with masks of each; its folder is named to break a page, too."""
    folder = tmp_path_factory.mktemp("runs") / "<script>alert(3)<" / "script><i>run"
    settings = TrainSettings(
        data=str(hostile_data), dataset=str(hostile_data / "dataset.json"), width=0.05, epochs=3, batch=4, crop=64,
        learning_rate=3e-3, workers=0, device="cpu", seed=1, snapshot_epochs="1,2,last", score_training=3,
    )  # fmt: skip
    run.start(settings, folder, overwrite=False, say=lambda _: None).train()
    return folder


@pytest.fixture(scope="session")
def classified_run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs of a tiny cnn3."""
    folder = tmp_path_factory.mktemp("runs") / "cnn3"
    settings = TrainSettings(
        model="cnn3", data=str(pictures), width=0.1, epochs=2, batch=8, learning_rate=5e-3, workers=0, device="cpu", seed=1
    )  # fmt: skip
    run.start(settings, folder, overwrite=False, say=lambda _: None).train()
    return folder
