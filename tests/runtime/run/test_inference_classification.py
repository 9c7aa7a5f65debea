"""A folder of images through a classifier: predictions, manifest, summary; and what cannot be run."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from infer_runs import EXPECTED, OURS, lines, rows, summary_of, table
from numpy.typing import NDArray

from dlcv.runtime import load
from dlcv.runtime.errors import EngineError
from dlcv.runtime.fitting.fitting import fit_to_card
from dlcv.runtime.records.manifest import DONE, FAILED, Row
from dlcv.runtime.run.inference import Summary, default_output
from dlcv.runtime.tiles.tile_list import Tile

TOLERANCE = 2e-6
"""Of a probability: float32's rounding in the graph, and the sixth digit in the table."""


def test_predictions_manifest_and_summary(
    classify: Callable[..., Summary],
    colour_folder: Path,
    predictions: Path,
    colours: Any,
    read_rgb: Callable[[Path], Any],
) -> None:
    summary = classify(colour_folder)
    assert (summary.tiles, summary.done, summary.failed, summary.resumed) == (5, 5, 0, 0)
    assert {path.name for path in predictions.iterdir()} == OURS | {"predictions.csv"}
    told = table(predictions)
    assert {key: row["class"] for key, row in told.items()} == EXPECTED
    assert list(told["red.png"]) == [
        "path", "class", "probability", "class_2", "probability_2", "class_3", "probability_3", "class_4", "probability_4",
    ]  # fmt: skip
    for key, row in told.items():
        image = fit_to_card(read_rgb(colour_folder / key), colours.CARD).windows[0]
        probs = colours.expected_probs(image)
        order = np.argsort(-probs)
        assert [row["class"], *(row[f"class_{k}"] for k in (2, 3, 4))] == [colours.CARD.classes[k] for k in order]
        shown = [float(row["probability"]), *(float(row[f"probability_{k}"]) for k in (2, 3, 4))]
        np.testing.assert_allclose(shown, probs[order], atol=TOLERANCE)
    assert rows(predictions) == {
        key: Row(key, DONE, "predictions.csv", tile=Tile(colour_folder / key, key).fingerprint()) for key in EXPECTED
    }
    facts = summary_of(predictions)
    assert (facts["tiles"], facts["done"], facts["failed"], facts["complete"]) == (5, 5, 0, True)
    assert facts["images"] == summary.by_class == {"red": 2, "green": 1, "blue": 1, "grey": 1}
    assert "pixels" not in facts
    identity = json.loads((predictions / "run.json").read_text())
    assert (identity["format"], identity["top_k"]) == ("csv", 5)
    assert not {"fit", "overlap", "name_template"} & set(identity)


def test_json_lines_and_top_k(
    classify: Callable[..., Summary], colour_folder: Path, predictions: Path, colours: Any
) -> None:
    classify(colour_folder, format="jsonl", top_k=2)
    assert {path.name for path in predictions.iterdir()} == OURS | {"predictions.jsonl"}
    found = lines(predictions)
    assert {line["path"]: line["class"] for line in found} == EXPECTED
    for line in found:
        assert colours.CARD.classes[line["index"]] == line["class"] == line["top"][0]["class"]
        assert line["probability"] == line["top"][0]["probability"] > line["top"][1]["probability"]
        assert [set(pair) for pair in line["top"]] == [{"class", "probability"}] * 2
    assert {row.output for row in rows(predictions).values()} == {"predictions.jsonl"}


def test_the_batch_and_the_threads_change_nothing(
    classify: Callable[..., Summary], colour_folder: Path, predictions: Path
) -> None:
    classify(colour_folder)
    one = table(predictions)
    classify(colour_folder, batch=3, decoders=3, writers=3, overwrite=True)
    assert table(predictions) == one


def test_the_default_batch_shares_a_lane(
    classify: Callable[..., Summary], colour_folder: Path, predictions: Path
) -> None:
    classify(colour_folder)
    assert summary_of(predictions)["batches"] == 1
    classify(colour_folder, batch=1, overwrite=True)
    assert summary_of(predictions)["batches"] == 5


def test_the_table_is_what_the_model_says(
    classify: Callable[..., Summary],
    colour_folder: Path,
    predictions: Path,
    colour_engine: Path,
    read_rgb: Callable[[Path], Any],
) -> None:
    classify(colour_folder, top_k=1)
    rows = table(predictions)
    assert list(rows["wide.png"]) == ["path", "class", "probability"]
    with load(colour_engine) as model:
        for key, row in rows.items():
            probs = model(read_rgb(colour_folder / key))
            assert model.card.classes[int(probs.argmax())] == row["class"]
            assert float(row["probability"]) == pytest.approx(float(probs.max()), rel=1e-5)  # six digits


def test_logits_are_made_probabilities(
    classify: Callable[..., Summary], colour_folder: Path, predictions: Path, colours: Any, tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    engine = colours.write_colour_engine(tmp_path / "l.onnx", colours.CARD.changed(head="logits"))
    classify(colour_folder)
    probs = table(predictions)
    classify(colour_folder, engine=engine, output=tmp_path / "logits")
    for key, row in table(tmp_path / "logits").items():
        assert row["class"] == probs[key]["class"]
        assert float(row["probability"]) == pytest.approx(float(probs[key]["probability"]), abs=TOLERANCE)


def test_tiles_that_fail_are_rows_of_the_manifest_alone(
    classify: Callable[..., Summary], colour_folder: Path, predictions: Path, write_tile: Callable[..., None]
) -> None:
    (colour_folder / "cut.png").write_bytes((colour_folder / "red.png").read_bytes()[:100])
    write_tile(colour_folder / "black.png", np.zeros((32, 32, 3), np.uint8))  # 0 / 0 in the graph
    summary = classify(colour_folder, batch=4)
    assert (summary.done, summary.failed) == (5, 2)
    listed = rows(predictions)
    assert listed["black.png"].status == listed["cut.png"].status == FAILED
    assert listed["black.png"].reason.startswith("the probabilities are not numbers")
    assert set(table(predictions)) == set(EXPECTED)
    assert summary_of(predictions)["images"] == {"red": 2, "green": 1, "blue": 1, "grey": 1}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_hostile_names(classify: Callable[..., Summary], colour_folder: Path, predictions: Path, form: str) -> None:
    data = (colour_folder / "red.png").read_bytes()
    names = [b"new\nline.png", b"comma,quote\"'.png", b"back\\slash.png", b"\xff\xfe.png", "é中.png".encode()]
    for name in names:
        (colour_folder / os.fsdecode(name)).write_bytes(data)
    assert classify(colour_folder, format=form).failed == 0
    raw = (predictions / f"predictions.{form}").read_bytes()
    assert raw.count(b"\n") == 10 + (form == "csv"), "a row is one physical line"
    if form == "jsonl":
        assert {os.fsencode(line["path"]) for line in lines(predictions)} > set(names)
    assert classify(colour_folder, format=form, resume=True).resumed == 10
    assert (predictions / f"predictions.{form}").read_bytes() == raw


def test_predictions_in_a_folder_of_tiles_do_no_harm(classify: Callable[..., Summary], colour_folder: Path) -> None:
    classify(colour_folder, output=colour_folder / "predictions")
    assert classify(colour_folder, output=colour_folder / "predictions", resume=True).tiles == 5
    classify(colour_folder, output=colour_folder)  # beside the tiles themselves
    assert classify(colour_folder, output=colour_folder, resume=True).resumed == 5


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
    classify: Callable[..., Summary],
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
        classify(colour_folder, engine=engine)


def test_a_segmentation_graph_with_a_classifiers_card_is_refused(
    classify: Callable[..., Summary], colour_folder: Path, tiny_graph: Callable[[str], Path], tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    from dlcv.runtime.card.reader import read_card

    proto = onnx.load(tiny_graph("probs"))
    card = read_card(tiny_graph("probs")).changed(task="classification", fit="centre-crop", short_side=64)
    onnx.helper.set_model_props(proto, {"dlcv": card.to_json()})
    onnx.save(proto, tmp_path / "c.onnx")
    with pytest.raises(
        EngineError, match=r"says probs float32 \(N, 7\) .*, the graph returns float32 \(N, 7, 64, 64\)"
    ):
        classify(colour_folder, engine=tmp_path / "c.onnx")


@pytest.fixture
def read_rgb() -> Callable[[Path], NDArray[np.uint8]]:
    from dlcv.runtime.tiles.decode import decode_file

    return decode_file
