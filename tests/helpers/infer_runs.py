"""Runs of `dlcv-infer` in this process, and what is found in their output folders."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.records.manifest import DONE, Row, read_manifest
from dlcv.runtime.run.inference import InferSettings, Summary, infer
from dlcv.runtime.tiles.tile_list import Fingerprint, Tile

Image = NDArray[np.uint8]
WriteTile = Callable[[Path, Image], None]
SAME = 0.9999
"""Of pixels: float32 sums in another order may decide ties otherwise."""
KEYS = ["a.png", "b.png", "sub/c.png", "sub/d.png", "sub/deep/e.png", "sub/deep/f.png"]
OURS = {"manifest.csv", "run.json", "summary.json", ".dlcv-lock"}
"""What a run writes beside answers."""
EXPECTED = {"red.png": "red", "green.png": "green", "sub/blue.png": "blue", "sub/grey.png": "grey", "wide.png": "red"}
"""What the classifier of `colour_engine.py` says about the tiles of `colour_folder`."""


def infer_into(output: Path, engine: Path) -> Callable[..., Summary]:
    """`infer` on a CPU: (tiles ..., keywords of `InferSettings`) -> what it gives."""

    def run(*sources: Path, **settings: Any) -> Summary:
        given = {"engine": engine, "output": output, "device": "cpu", "quiet": True, **settings}
        return infer(InferSettings.of(sources=tuple(map(str, sources)), **given))

    return run


def rows(folder: Path) -> dict[str, Row]:
    found = list(read_manifest(folder / "manifest.csv"))
    assert len({row.path for row in found}) == len(found), "a tile has one row"
    return {row.path: row for row in found}


def was(path: Path) -> Fingerprint | None:
    return Tile(path, path.name).fingerprint()


def rows_of_done(tiles: Path, masks: Path) -> dict[str, Row]:
    """What the manifest must hold of `KEYS` when the mask of each is there."""

    def row(key: str) -> Row:
        output = f"{key}.png"
        return Row(key, DONE, output, "", was(tiles / key), (masks / output).stat().st_size)

    return {key: row(key) for key in KEYS}


def summary_of(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return facts


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def table(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of predictions.csv by path; a tile has one."""
    with open(folder / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["path"] for row in rows}) == len(rows)
    return {row["path"]: row for row in rows}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_bytes().splitlines()]
