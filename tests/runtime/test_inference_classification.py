"""A folder of images through a classifier: predictions, manifest, summary; resuming; and what cannot be run."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from infer_runs import OURS
from numpy.typing import NDArray

from dlcv.runtime import load
from dlcv.runtime.errors import EngineError, OutputError, UsageError
from dlcv.runtime.fitting import fit_to_card
from dlcv.runtime.inference import InferSettings, Summary, default_output, infer
from dlcv.runtime.manifest import DONE, FAILED, Row, read_manifest
from dlcv.runtime.tiles import Tile

TOLERANCE = 2e-6
"""Of a probability: float32's rounding in the graph, and the sixth digit in the table."""
EXPECTED = {"red.png": "red", "green.png": "green", "sub/blue.png": "blue", "sub/grey.png": "grey", "wide.png": "red"}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "predictions"


@pytest.fixture
def run(colour_engine: Path, out: Path) -> Callable[..., Summary]:
    """`infer` into `tmp_path/predictions`; the keywords are those of `InferSettings`."""

    def run(*sources: Path, **settings: Any) -> Summary:
        given = {"engine": colour_engine, "output": out, "device": "cpu", "quiet": True, **settings}
        return infer(InferSettings.of(sources=tuple(map(str, sources)), **given))

    return run


def table(folder: Path) -> dict[str, dict[str, str]]:
    """The rows of predictions.csv by path; a tile has one."""
    with open(folder / "predictions.csv", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len({row["path"] for row in rows}) == len(rows)
    return {row["path"]: row for row in rows}


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "predictions.jsonl").read_bytes().splitlines()]


def manifest(folder: Path) -> dict[str, Row]:
    found = list(read_manifest(folder / "manifest.csv"))
    assert len({row.path for row in found}) == len(found), "a tile has one row"
    return {row.path: row for row in found}


def facts_of(folder: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return facts


def test_predictions_manifest_and_summary(
    run: Callable[..., Summary], colour_folder: Path, out: Path, colours: Any, read_rgb: Callable[[Path], Any]
) -> None:
    summary = run(colour_folder)
    assert (summary.tiles, summary.done, summary.failed, summary.resumed) == (5, 5, 0, 0)
    assert {path.name for path in out.iterdir()} == OURS | {"predictions.csv"}
    rows = table(out)
    assert {key: row["class"] for key, row in rows.items()} == EXPECTED
    assert list(rows["red.png"]) == [
        "path", "class", "probability", "class_2", "probability_2", "class_3", "probability_3", "class_4", "probability_4",
    ]  # fmt: skip
    for key, row in rows.items():
        image = fit_to_card(read_rgb(colour_folder / key), colours.CARD).windows[0]
        probs = colours.expected_probs(image)
        order = np.argsort(-probs)
        assert [row["class"], *(row[f"class_{k}"] for k in (2, 3, 4))] == [colours.CARD.classes[k] for k in order]
        told = [float(row["probability"]), *(float(row[f"probability_{k}"]) for k in (2, 3, 4))]
        np.testing.assert_allclose(told, probs[order], atol=TOLERANCE)
    assert manifest(out) == {
        key: Row(key, DONE, "predictions.csv", tile=Tile(colour_folder / key, key).fingerprint()) for key in EXPECTED
    }
    facts = facts_of(out)
    assert (facts["tiles"], facts["done"], facts["failed"], facts["complete"]) == (5, 5, 0, True)
    assert facts["images"] == summary.by_class == {"red": 2, "green": 1, "blue": 1, "grey": 1}
    assert "pixels" not in facts
    identity = json.loads((out / "run.json").read_text())
    assert (identity["format"], identity["top_k"]) == ("csv", 5)
    assert not {"fit", "overlap", "name_template"} & set(identity)


def test_json_lines_and_top_k(run: Callable[..., Summary], colour_folder: Path, out: Path, colours: Any) -> None:
    run(colour_folder, format="jsonl", top_k=2)
    assert {path.name for path in out.iterdir()} == OURS | {"predictions.jsonl"}
    found = lines(out)
    assert {line["path"]: line["class"] for line in found} == EXPECTED
    for line in found:
        assert colours.CARD.classes[line["index"]] == line["class"] == line["top"][0]["class"]
        assert line["probability"] == line["top"][0]["probability"] > line["top"][1]["probability"]
        assert [set(pair) for pair in line["top"]] == [{"class", "probability"}] * 2
    assert {row.output for row in manifest(out).values()} == {"predictions.jsonl"}


def test_the_batch_and_the_threads_change_nothing(run: Callable[..., Summary], colour_folder: Path, out: Path) -> None:
    run(colour_folder)
    one = table(out)
    run(colour_folder, batch=3, decoders=3, writers=3, overwrite=True)
    assert table(out) == one


def test_the_default_batch_shares_a_lane(run: Callable[..., Summary], colour_folder: Path, out: Path) -> None:
    run(colour_folder)
    assert facts_of(out)["batches"] == 1
    run(colour_folder, batch=1, overwrite=True)
    assert facts_of(out)["batches"] == 5


def test_the_table_is_what_the_model_says(
    run: Callable[..., Summary], colour_folder: Path, out: Path, colour_engine: Path, read_rgb: Callable[[Path], Any]
) -> None:
    run(colour_folder, top_k=1)
    rows = table(out)
    assert list(rows["wide.png"]) == ["path", "class", "probability"]
    with load(colour_engine) as model:
        for key, row in rows.items():
            probs = model(read_rgb(colour_folder / key))
            assert model.card.classes[int(probs.argmax())] == row["class"]
            assert float(row["probability"]) == pytest.approx(float(probs.max()), rel=1e-5)  # six digits


def test_logits_are_made_probabilities(
    run: Callable[..., Summary], colour_folder: Path, out: Path, colours: Any, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    engine = colours.write_colour_engine(tmp_path / "l.onnx", colours.CARD.changed(head="logits"))
    run(colour_folder)
    probs = table(out)
    run(colour_folder, engine=engine, output=tmp_path / "logits")
    for key, row in table(tmp_path / "logits").items():
        assert row["class"] == probs[key]["class"]
        assert float(row["probability"]) == pytest.approx(float(probs[key]["probability"]), abs=TOLERANCE)


def test_tiles_that_fail_are_rows_of_the_manifest_alone(
    run: Callable[..., Summary], colour_folder: Path, out: Path, write_tile: Callable[..., None]
) -> None:
    (colour_folder / "cut.png").write_bytes((colour_folder / "red.png").read_bytes()[:100])
    write_tile(colour_folder / "black.png", np.zeros((32, 32, 3), np.uint8))  # 0 / 0 in the graph
    summary = run(colour_folder, batch=4)
    assert (summary.done, summary.failed) == (5, 2)
    rows = manifest(out)
    assert rows["black.png"].status == rows["cut.png"].status == FAILED
    assert rows["black.png"].reason.startswith("the probabilities are not numbers")
    assert set(table(out)) == set(EXPECTED)
    assert facts_of(out)["images"] == {"red": 2, "green": 1, "blue": 1, "grey": 1}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_hostile_names(run: Callable[..., Summary], colour_folder: Path, out: Path, form: str) -> None:
    data = (colour_folder / "red.png").read_bytes()
    names = [b"new\nline.png", b"comma,quote\"'.png", b"back\\slash.png", b"\xff\xfe.png", "é中.png".encode()]
    for name in names:
        (colour_folder / os.fsdecode(name)).write_bytes(data)
    assert run(colour_folder, format=form).failed == 0
    raw = (out / f"predictions.{form}").read_bytes()
    assert raw.count(b"\n") == 10 + (form == "csv"), "a row is one physical line"
    if form == "jsonl":
        assert {os.fsencode(line["path"]) for line in lines(out)} > set(names)
    assert run(colour_folder, format=form, resume=True).resumed == 10
    assert (out / f"predictions.{form}").read_bytes() == raw


def test_predictions_in_a_folder_of_tiles_do_no_harm(run: Callable[..., Summary], colour_folder: Path) -> None:
    run(colour_folder, output=colour_folder / "predictions")
    assert run(colour_folder, output=colour_folder / "predictions", resume=True).tiles == 5
    run(colour_folder, output=colour_folder)  # beside the tiles themselves
    assert run(colour_folder, output=colour_folder, resume=True).resumed == 5


# resuming


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_resume_after_a_crash_anywhere(run: Callable[..., Summary], colour_folder: Path, out: Path, form: str) -> None:
    run(colour_folder, format=form, decoders=1, writers=1)
    path = out / f"predictions.{form}"
    whole, rows = path.read_bytes(), (out / "manifest.csv").read_bytes()
    ends = [k + 1 for k, byte in enumerate(whole) if byte == 10]
    header = ends[:1] if form == "csv" else [0]
    row_ends = [k + 1 for k, byte in enumerate(rows) if byte == 10]
    for cut, done in ((header[0], 0), (ends[2], 1), (ends[2] + 7, 2), (len(whole) - 1, 4), (len(whole), 3), (3, 0)):
        path.write_bytes(whole[:cut])
        (out / "manifest.csv").write_bytes(rows[: row_ends[done]] + b"torn")
        (out / ".predictions.csv.99.partial").write_bytes(b"half")
        summary = run(colour_folder, format=form, resume=True)
        assert (summary.done, summary.resumed, summary.failed) == (5, done, 0)
        assert sorted(path.read_bytes().splitlines()) == sorted(whole.splitlines())
        assert manifest(out).keys() == EXPECTED.keys()
        assert not list(out.glob(".*.partial"))
        assert facts_of(out)["images"] == {"red": 2, "green": 1, "blue": 1, "grey": 1}


def test_a_tile_without_its_prediction_is_run_again(
    run: Callable[..., Summary], colour_folder: Path, out: Path
) -> None:
    run(colour_folder)
    whole = table(out)
    kept = [line for line in (out / "predictions.csv").read_text().splitlines(True) if not line.startswith("green")]
    (out / "predictions.csv").write_text("".join(kept))
    assert run(colour_folder, resume=True).resumed == 4
    assert table(out) == whole
    (out / "predictions.csv").unlink()
    assert run(colour_folder, resume=True).resumed == 0
    assert table(out) == whole


def test_a_tile_that_is_newer_than_the_table_is_run_again(
    run: Callable[..., Summary], colour_folder: Path, out: Path, write_tile: Callable[..., None], colours: Any
) -> None:
    run(colour_folder)
    write_tile(colour_folder / "red.png", colours.colour_tile("blue"))
    later = (out / "predictions.csv").stat().st_mtime + 10
    os.utime(colour_folder / "red.png", (later, later))
    summary = run(colour_folder, resume=True)
    assert summary.resumed == 4
    assert table(out)["red.png"]["class"] == "blue"
    assert summary.by_class == {"red": 1, "green": 1, "blue": 2, "grey": 1}


def test_resume_takes_new_tiles_and_keeps_the_rows_of_others(
    run: Callable[..., Summary], colour_folder: Path, out: Path
) -> None:
    run(colour_folder / "red.png", colour_folder / "green.png")
    (colour_folder / "new.png").write_bytes((colour_folder / "red.png").read_bytes())
    os.utime(colour_folder / "new.png", (1, 1))
    summary = run(colour_folder / "new.png", colour_folder / "red.png", resume=True)
    assert (summary.tiles, summary.resumed, summary.by_class["red"]) == (2, 1, 2)
    assert set(table(out)) == {"red.png", "green.png", "new.png"}


def test_resume_with_another_format_or_top_k_is_refused(run: Callable[..., Summary], colour_folder: Path) -> None:
    run(colour_folder)
    with pytest.raises(UsageError, match="holds a run with another format, top_k; start again with --overwrite"):
        run(colour_folder, format="jsonl", top_k=3, resume=True)


def test_a_table_that_was_changed_is_told_on_resume(
    run: Callable[..., Summary], colour_folder: Path, out: Path
) -> None:
    run(colour_folder)
    (out / "predictions.csv").write_text("id,label\n")
    with pytest.raises(
        OutputError, match=r"predictions\.csv is not a table of predictions of dlcv-infer; expected the columns"
    ):
        run(colour_folder, resume=True)


# what a run before left, and what is somebody else's


def test_overwrite_removes_the_predictions_of_the_run_before(
    run: Callable[..., Summary], colour_folder: Path, out: Path, tiny_onnx: Path
) -> None:
    run(colour_folder, format="jsonl")
    run(colour_folder / "red.png", overwrite=True)
    assert {path.name for path in out.iterdir()} == OURS | {"predictions.csv"}
    assert set(table(out)) == {"red.png"}
    run(colour_folder / "red.png", engine=tiny_onnx, overwrite=True)
    assert {path.name for path in out.iterdir()} == OURS | {"red.png.png"}
    run(colour_folder / "red.png", overwrite=True)
    assert {path.name for path in out.iterdir()} == OURS | {"predictions.csv"}


@pytest.mark.parametrize("name", ["predictions.csv", "predictions.jsonl"])
def test_predictions_of_somebody_else_stay(
    run: Callable[..., Summary], colour_folder: Path, out: Path, name: str
) -> None:
    out.mkdir()
    (out / name).write_text("mine\n")
    with pytest.raises(UsageError, match="holds a run already"):
        run(colour_folder)
    assert (out / name).read_text() == "mine\n"


def test_a_tile_by_the_name_of_the_table_is_not_written_over(
    run: Callable[..., Summary], colour_folder: Path, tmp_path: Path
) -> None:
    tile = tmp_path / "predictions.csv"
    data = (colour_folder / "red.png").read_bytes()
    tile.write_bytes(data)
    with pytest.raises(
        UsageError, match=r"the table of predictions would be written over an input, .*predictions\.csv"
    ):
        run(tile, output=tmp_path, overwrite=True)
    assert tile.read_bytes() == data


# engines


def test_the_default_folder_follows_the_engine(colour_engine: Path, tiny_onnx: Path) -> None:
    assert (default_output(colour_engine), default_output(tiny_onnx)) == (Path("predictions"), Path("masks"))


@pytest.mark.parametrize(
    ("change", "returned", "message"),
    [
        (
            {},
            3,
            r"the card says probs float32 \(N, 4\) \(classification, 4 classes\), the graph returns float32 \(N, 3\); export",
        ),
        (
            {"classes": ("a", "b", "c")},
            4,
            r"the card says probs float32 \(N, 3\) .*, the graph returns float32 \(N, 4\)",
        ),
    ],
)
def test_a_classifier_that_is_not_what_its_card_says_is_refused(
    run: Callable[..., Summary],
    colour_folder: Path,
    colours: Any,
    tmp_path: Path,
    change: Any,
    returned: int,
    message: str,
) -> None:
    pytest.importorskip("onnx")
    engine = colours.write_colour_engine(tmp_path / "c.onnx", colours.CARD.changed(**change), returned)
    with pytest.raises(EngineError, match=message):
        run(colour_folder, engine=engine)


def test_a_segmentation_graph_with_a_classifiers_card_is_refused(
    run: Callable[..., Summary], colour_folder: Path, tiny_graph: Callable[[str], Path], tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    from dlcv.runtime.card_reader import read_card

    proto = onnx.load(tiny_graph("probs"))
    card = read_card(tiny_graph("probs")).changed(task="classification", fit="centre-crop", short_side=64)
    onnx.helper.set_model_props(proto, {"dlcv": card.to_json()})
    onnx.save(proto, tmp_path / "c.onnx")
    with pytest.raises(
        EngineError, match=r"says probs float32 \(N, 7\) .*, the graph returns float32 \(N, 7, 64, 64\)"
    ):
        run(colour_folder, engine=tmp_path / "c.onnx")


@pytest.fixture
def read_rgb() -> Callable[[Path], NDArray[np.uint8]]:
    from dlcv.runtime.decode import decode_file

    return decode_file
