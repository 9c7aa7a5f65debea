"""What `dlcv-infer` refuses: exit code 2, in one line that says what to do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from infer_command import invoke

from dlcv.runtime.card.card import ModelCard


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "Missing option '--engine'. See dlcv-infer --help"),
        (["--no-such-option"], "No such option"),
        (["--engine", "x", "--device", "tpu"], "'tpu' is not one of 'auto', 'cpu', 'cuda'"),
        (["--engine", "x", "--batch", "0"], "0 is not in the range x>=1"),
        (["--engine", "x", "--overlap", "1"], "1.0 is not in the range 0<=x<=0.9"),
        (["--engine", "x", "--tile-timeout", "nan"], "'nan' is not a finite number. See dlcv-infer --help"),
        (["--engine", "x", "--simplify", "inf", "--polygons"], "'inf' is not a finite number"),
        (["--engine", "x", "--overlap", "nan"], "'nan' is not a finite number"),
        (["--engine", "x", "--scale-16bit", "5"], "'5' is not MIN,MAX, such as 0,10000"),
        (["--engine", "x", "--scale-16bit", "9,3"], "--scale-16bit expects two finite numbers, MIN below MAX, got 9,3"),
        (
            ["--engine", "x", "--scale-16bit", "nan,3"],
            "--scale-16bit expects two finite numbers, MIN below MAX, got nan,3",
        ),
        (
            ["--engine", "x", "--scale-16bit=-inf,inf"],
            "--scale-16bit expects two finite numbers, MIN below MAX, got -inf,inf",
        ),
        (
            ["--engine", "x", "--resume", "--overwrite"],
            "--resume keeps what is done and --overwrite forgets it; pass one",
        ),
    ],
)
def test_usage_errors(refused: Callable[..., str], tile_folder: Path, options: list[str], message: str) -> None:
    assert message in refused(tile_folder, *options)


def test_no_tiles(refused: Callable[..., str], tiny_onnx: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert refused("--engine", tiny_onnx).startswith("no tiles given; name files, folders or globs")
    assert (
        refused(tmp_path / "no", "--engine", tiny_onnx)
        == f"{tmp_path / 'no'} does not exist; name files, folders or globs"
    )
    assert refused(tmp_path / "empty", "--engine", tiny_onnx).startswith(
        f"no tiles in {tmp_path / 'empty'}; looked for .jpg"
    )
    assert not (tmp_path / "masks").exists(), "nothing is made before the arguments are known to be good"


def test_engines_that_cannot_be_run(
    refused: Callable[..., str], tile_folder: Path, tiny_onnx: Path, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(tiny_onnx)
    proto.ClearField("metadata_props")
    onnx.save(proto, tmp_path / "bare.onnx")
    (tmp_path / "garbage.onnx").write_bytes(os.urandom(16) * 100 + b"\xff" * 99)
    (tmp_path / "text.plan").write_text("hello, this is no plan\n" * 9)
    (tmp_path / "cut.onnx").write_bytes(tiny_onnx.read_bytes()[:-2000])
    for engine, message in {
        tmp_path / "none.onnx": "does not exist; make it with: dlcv-export --model NAME",
        tmp_path: "is a folder; expected a file",
        tmp_path
        / "bare.onnx": "carries no dlcv model card, so its classes and normalisation are unknown; export it with: dlcv-export",
        tmp_path / "garbage.onnx": "",
        tmp_path / "text.plan": "is not an ONNX file, or is cut short; export the model again",
        tmp_path / "cut.onnx": "export",
        tiny_checkpoint: "is a checkpoint, not an engine; expected an .onnx or a .plan made with: dlcv-export --model NAME",
    }.items():
        line = refused(tile_folder, "--engine", engine)
        assert str(engine) in line
        assert message in line


def test_a_plan_without_a_gpu_names_the_other_way(
    refused: Callable[..., str], tile_folder: Path, tiny_card: object, tmp_path: Path
) -> None:
    plan = tmp_path / "m.plan"
    plan.write_bytes(b"ftrt" + bytes(60))
    told = f"{plan} is a TensorRT plan and runs on an NVIDIA GPU only; run the graph it was built from instead"
    assert refused(tile_folder, "--engine", plan, "--device", "cpu") == (
        f"{told}, which is not beside it: copy it here, or make one with: dlcv-export --format onnx"
    )
    (tmp_path / "m.onnx").touch()
    assert refused(tile_folder, "--engine", plan, "--device", "cpu") == f"{told}: --engine {tmp_path / 'm.onnx'}"


def test_a_plan_cut_short_is_told_as_cut_short(
    refused: Callable[..., str], tile_folder: Path, tiny_card: ModelCard, tmp_path: Path
) -> None:
    """TensorRT-RTX has the plan's length in its header; of 20 bytes not even that is there."""
    plan = tmp_path / "m.plan"
    head = b"vtrt" + bytes(12) + (9000).to_bytes(8, "little") + bytes((1, 7, 1, 116)) + bytes(8)
    whole = (head + b"dlcv1:" + tiny_card.to_json().encode()).ljust(9000, b"\0")
    for length, told in ((20, "20 bytes, and a plan's header alone is 36"), (8999, "8,999 bytes of 9,000")):
        plan.write_bytes(whole[:length])
        assert refused(tile_folder, "--engine", plan) == f"{plan} is cut short: {told}; copy or export it again"


def test_cuda_where_there_is_none(refused: Callable[..., str], tile_folder: Path, tiny_onnx: Path) -> None:
    from dlcv.runtime.sessions.onnxrt import cuda_missing

    if cuda_missing() is None:
        pytest.skip("this machine has CUDA")
    line = refused(tile_folder, "--engine", tiny_onnx, "--device", "cuda")
    assert line.startswith("--device cuda: this ")
    assert line.endswith("; run with --device cpu")


def test_a_folder_that_holds_a_run(
    tile_folder: Path, tiny_onnx: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    assert invoke(tile_folder, "--engine", tiny_onnx, "--output", tmp_path / "masks")[0] == 0
    assert "holds a run already; go on with it by --resume, start again with --overwrite, or name another" in refused(
        tile_folder, "--engine", tiny_onnx
    )
    assert "holds a run with other settings: name_template ({path}.png, now {path}_.png); " in refused(
        tile_folder, "--engine", tiny_onnx, "--resume", "--name-template", "{path}_.png"
    )


def test_names_that_cannot_be_made(tile_folder: Path, tiny_onnx: Path, refused: Callable[..., str]) -> None:
    assert "one output, same.png; use {path} in it" in refused(
        tile_folder, "--engine", tiny_onnx, "--name-template", "same.png"
    )
    assert "fields are {path} (a/b.jpg)" in refused(tile_folder, "--engine", tiny_onnx, "--name-template", "{nope}")
    assert "not a file below the output folder" in refused(
        tile_folder, "--engine", tiny_onnx, "--name-template", "../{path}"
    )


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--fit", "windows"], "--fit"),
        (["--overlap", "0.25"], "--overlap"),
        (["--name-template", "{path}.png", "--overlap", "0"], "--overlap, --name-template"),
    ],
)
def test_segmentations_options_are_refused_for_a_classifier(
    refused: Callable[..., str],
    colour_folder: Path,
    colour_engine: Path,
    tmp_path: Path,
    options: list[str],
    named: str,
) -> None:
    line = refused(colour_folder, "--engine", colour_engine, *options)
    assert line == f"{named}: for segmentation only, and {colour_engine} is a classification model; leave it out"
    assert not (tmp_path / "masks").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--format", "csv"], "--format"),
        (["--top-k", "5"], "--top-k"),
        (["--top-k=1", "--format=jsonl"], "--format, --top-k"),
    ],
)
def test_classifications_options_are_refused_for_segmentation(
    refused: Callable[..., str], tile_folder: Path, tiny_onnx: Path, options: list[str], named: str
) -> None:
    line = refused(tile_folder, "--engine", tiny_onnx, *options)
    assert line == f"{named}: for classification only, and {tiny_onnx} is a segmentation model; leave it out"


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--format", "xml"], "'xml' is not one of 'csv', 'jsonl'"), (["--top-k", "0"], "0 is not in the range x>=1")],
)
def test_usage_errors_of_classification(
    refused: Callable[..., str], colour_folder: Path, colour_engine: Path, options: list[str], message: str
) -> None:
    assert message in refused(colour_folder, "--engine", colour_engine, *options)


def test_extras_that_are_refused(
    refused: Callable[..., str], tile_folder: Path, tiny_onnx: Path, colour_engine: Path
) -> None:
    engine = ("--engine", tiny_onnx)
    assert refused(tile_folder, *engine, "--confidence") == (
        f"--confidence needs the probabilities of the classes, and {tiny_onnx} gives mask alone; export the model with dlcv-export --head probs"
    )
    assert refused(tile_folder, *engine, "--simplify", "1") == (
        "--simplify says how --polygons is done; add --polygons, or leave it out"
    )
    assert "--overlay, --polygons: for segmentation only" in refused(
        tile_folder, "--engine", colour_engine, "--overlay", "--polygons"
    )
