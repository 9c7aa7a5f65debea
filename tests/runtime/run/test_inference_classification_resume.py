"""A classifier's run that is resumed, and tables of earlier runs: nothing is lost, nothing of others is written over."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from infer_runs import EXPECTED, OURS, rows, summary_of, table

from dlcv.runtime.errors import OutputError, UsageError
from dlcv.runtime.run.inference import Summary


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_resume_after_a_crash_anywhere(
    classify: Callable[..., Summary], colour_folder: Path, predictions: Path, form: str
) -> None:
    classify(colour_folder, format=form, decoders=1, writers=1)
    path = predictions / f"predictions.{form}"
    whole, listed = path.read_bytes(), (predictions / "manifest.csv").read_bytes()
    ends = [k + 1 for k, byte in enumerate(whole) if byte == 10]
    header = ends[:1] if form == "csv" else [0]
    row_ends = [k + 1 for k, byte in enumerate(listed) if byte == 10]
    for cut, done in ((header[0], 0), (ends[2], 1), (ends[2] + 7, 2), (len(whole) - 1, 4), (len(whole), 3), (3, 0)):
        path.write_bytes(whole[:cut])
        (predictions / "manifest.csv").write_bytes(listed[: row_ends[done]] + b"torn")
        (predictions / ".predictions.csv.99.partial").write_bytes(b"half")
        summary = classify(colour_folder, format=form, resume=True)
        assert (summary.done, summary.resumed, summary.failed) == (5, done, 0)
        assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())
        assert rows(predictions).keys() == EXPECTED.keys()
        assert not list(predictions.glob(".*.partial"))
        assert summary_of(predictions)["images"] == {"red": 2, "green": 1, "blue": 1, "grey": 1}


def test_a_tile_without_its_prediction_is_run_again(
    classify: Callable[..., Summary], colour_folder: Path, predictions: Path
) -> None:
    classify(colour_folder)
    whole = table(predictions)
    kept = [
        line for line in (predictions / "predictions.csv").read_text().splitlines(True) if not line.startswith("green")
    ]
    (predictions / "predictions.csv").write_text("".join(kept))
    assert classify(colour_folder, resume=True).resumed == 4
    assert table(predictions) == whole
    (predictions / "predictions.csv").unlink()
    assert classify(colour_folder, resume=True).resumed == 0
    assert table(predictions) == whole


def test_a_tile_that_is_newer_than_the_table_is_run_again(
    classify: Callable[..., Summary],
    colour_folder: Path,
    predictions: Path,
    write_tile: Callable[..., None],
    colours: Any,
) -> None:
    classify(colour_folder)
    write_tile(colour_folder / "red.png", colours.colour_tile("blue"))
    later = (predictions / "predictions.csv").stat().st_mtime + 10
    os.utime(colour_folder / "red.png", (later, later))
    summary = classify(colour_folder, resume=True)
    assert summary.resumed == 4
    assert table(predictions)["red.png"]["class"] == "blue"
    assert summary.by_class == {"red": 1, "green": 1, "blue": 2, "grey": 1}


def test_resume_takes_new_tiles_and_keeps_the_rows_of_others(
    classify: Callable[..., Summary], colour_folder: Path, predictions: Path
) -> None:
    classify(colour_folder / "red.png", colour_folder / "green.png")
    (colour_folder / "new.png").write_bytes((colour_folder / "red.png").read_bytes())
    os.utime(colour_folder / "new.png", (1, 1))
    summary = classify(colour_folder / "new.png", colour_folder / "red.png", resume=True)
    assert (summary.tiles, summary.resumed, summary.by_class["red"]) == (2, 1, 2)
    assert set(table(predictions)) == {"red.png", "green.png", "new.png"}


def test_resume_with_another_format_or_top_k_is_refused(classify: Callable[..., Summary], colour_folder: Path) -> None:
    classify(colour_folder)
    with pytest.raises(UsageError, match=r"other settings: format .*, top_k .*; start again with --overwrite"):
        classify(colour_folder, format="jsonl", top_k=3, resume=True)


def test_a_table_that_was_changed_is_told_on_resume(
    classify: Callable[..., Summary], colour_folder: Path, predictions: Path
) -> None:
    classify(colour_folder)
    (predictions / "predictions.csv").write_text("id,label\n")
    with pytest.raises(
        OutputError, match=r"predictions\.csv is not a table of predictions of dlcv-infer; expected the columns"
    ):
        classify(colour_folder, resume=True)


def test_overwrite_removes_the_predictions_of_the_run_before(
    classify: Callable[..., Summary], colour_folder: Path, predictions: Path, tiny_onnx: Path
) -> None:
    classify(colour_folder, format="jsonl")
    classify(colour_folder / "red.png", overwrite=True)
    assert {path.name for path in predictions.iterdir()} == OURS | {"predictions.csv"}
    assert set(table(predictions)) == {"red.png"}
    classify(colour_folder / "red.png", engine=tiny_onnx, overwrite=True)
    assert {path.name for path in predictions.iterdir()} == OURS | {"red.png.png"}
    classify(colour_folder / "red.png", overwrite=True)
    assert {path.name for path in predictions.iterdir()} == OURS | {"predictions.csv"}


@pytest.mark.parametrize("name", ["predictions.csv", "predictions.jsonl"])
def test_predictions_of_somebody_else_stay(
    classify: Callable[..., Summary], colour_folder: Path, predictions: Path, name: str
) -> None:
    predictions.mkdir()
    (predictions / name).write_text("mine\n")
    with pytest.raises(UsageError, match="holds a run already"):
        classify(colour_folder)
    assert (predictions / name).read_text() == "mine\n"


def test_a_tile_by_the_name_of_the_table_is_not_written_over(
    classify: Callable[..., Summary], colour_folder: Path, tmp_path: Path
) -> None:
    tile = tmp_path / "predictions.csv"
    data = (colour_folder / "red.png").read_bytes()
    tile.write_bytes(data)
    with pytest.raises(
        UsageError, match=r"the table of predictions would be written over an input, .*predictions\.csv"
    ):
        classify(tile, output=tmp_path, overwrite=True)
    assert tile.read_bytes() == data
