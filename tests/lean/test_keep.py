"""Keeps the tiny model's files for a Python without torch: `pytest tests/lean/test_keep.py --keep-tiny FOLDER`."""

from __future__ import annotations

import runpy
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def test_keep(
    request: pytest.FixtureRequest, tiny_graph: Callable[[str], Path], tiny_checkpoint: Path, tiny_masks: list[Any]
) -> None:
    given = request.config.getoption("--keep-tiny")
    if given is None:
        pytest.skip("no folder given; `make lean` gives one")
    folder = Path(given)
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "graphs").mkdir(parents=True)
    for head in ("mask", "probs", "logits"):
        shutil.copyfile(tiny_graph(head), folder / "graphs" / f"{head}.onnx")
    colours = runpy.run_path(str(Path(__file__).parents[1] / "helpers" / "colour_engine.py"))
    colours["write_colour_engine"](folder / "graphs" / "classifier.onnx")
    shutil.copytree(tiny_checkpoint.parent, folder / "run")
    np.save(folder / "masks.npy", np.stack(tiny_masks))
    assert sorted(path.name for path in folder.iterdir()) == ["graphs", "masks.npy", "run"]
