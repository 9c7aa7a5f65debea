"""What a run of `dlcv-infer` makes of its pipeline: the verdict, tiles that hang or break a batch, memory that runs out."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from dlcv.runtime.cli.infer import main
from dlcv.runtime.errors import EngineError, OutOfMemory
from dlcv.runtime.masks import read_mask
from dlcv.runtime.records.manifest import FAILED, read_manifest
from dlcv.runtime.sessions.onnxrt import OnnxSession

Image = NDArray[np.uint8]
Invoke = Callable[..., Result]


@pytest.fixture
def invoke(tile_folder: Path, tiny_onnx: Path, tmp_path: Path) -> Invoke:
    def invoke(*arguments: Any) -> Result:
        given = (
            tile_folder,
            "--engine",
            tiny_onnx,
            "--output",
            tmp_path / "m",
            "--device",
            "cpu",
            "--session",
            "onnxruntime",
            "--quiet",
            *arguments,
        )
        return CliRunner().invoke(main, list(map(str, given)))

    return invoke


@pytest.fixture
def never() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def decoding(monkeypatch: pytest.MonkeyPatch, before: Callable[[Path], object]) -> None:
    from dlcv.runtime.tiles import decode

    real = decode.decode_file
    monkeypatch.setattr(decode, "decode_file", lambda path, options: (before(path), real(path, options))[1])


def running(monkeypatch: pytest.MonkeyPatch, before: Callable[[Image], object]) -> None:
    real = OnnxSession._run
    monkeypatch.setattr(OnnxSession, "_run", lambda self, images: (before(images), real(self, images))[1])


def summary_of(tmp_path: Path) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((tmp_path / "m/summary.json").read_text())
    return facts


def test_the_verdict_is_told_and_kept(
    invoke: Invoke, tile_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        shutil.copyfile(tile_folder / "a.png", tile_folder / f"a{number}.png")
    decoding(monkeypatch, lambda path: time.sleep(0.06))
    monkeypatch.setattr(
        "dlcv.runtime.pipeline.times.idle_seconds", lambda: None
    )  # others on the machine are not the test's
    result = invoke("--decoders", 1)
    assert result.exit_code == 0, result.stderr
    verdict = result.stderr.splitlines()[-1]
    assert verdict.startswith("decode-bound: the session was busy ")
    assert "more decode threads (--decoders " in verdict
    facts = summary_of(tmp_path)
    assert facts["verdict"] == verdict
    assert facts["time"]["decode"]["threads"] == 1
    assert facts["time"]["decode"]["cpu_s"] < facts["time"]["decode"]["busy_s"]


def test_a_tile_that_hangs_is_a_row(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, never: threading.Event
) -> None:
    decoding(monkeypatch, lambda path: path.name == "c.png" and never.wait(60))
    result = invoke("--tile-timeout", 2)
    assert result.exit_code == 1
    assert "5 of 6 tiles done, 1 failed" in result.stderr
    (failed,) = (row for row in read_manifest(tmp_path / "m/manifest.csv") if row.status == FAILED)
    assert (failed.path, failed.reason) == (
        "sub/c.png",
        "reading it took longer than 2 s; look at its storage, or pass --tile-timeout",
    )


def test_a_session_that_hangs_ends_the_run_in_a_line(
    invoke: Invoke, monkeypatch: pytest.MonkeyPatch, never: threading.Event
) -> None:
    running(monkeypatch, lambda images: never.wait(60))
    start = time.monotonic()
    result = invoke("--session-timeout", 0.5)
    assert time.monotonic() - start < 30, "the run waited for it"
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("dlcv-infer: the session has not answered within 0.5 s on a batch of 1; ")


def test_a_tile_that_breaks_its_batch_is_a_row(
    invoke: Invoke, tiny_scenes: list[Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert invoke().exit_code == 0
    expected = {path.name: read_mask(path) for path in (tmp_path / "m").rglob("*.png")}

    def fail_on_d(images: Image) -> None:
        if any(np.array_equal(image, tiny_scenes[3]) for image in images):
            raise EngineError("ONNX Runtime failed: NaN")

    running(monkeypatch, fail_on_d)
    result = invoke("--overwrite", "--batch", 4)
    assert result.exit_code == 1
    rows = {row.path: row for row in read_manifest(tmp_path / "m/manifest.csv")}
    assert {key: row.reason for key, row in rows.items() if row.status == FAILED} == {
        "sub/d.png": "the engine fails on this tile: ONNX Runtime failed: NaN"
    }
    found = {path.name: read_mask(path) for path in (tmp_path / "m").rglob("*.png")}
    assert set(found) == set(expected) - {"d.png.png"}
    for name, mask in found.items():
        # ONNX Runtime may choose other kernels for other batches: a tie between classes may fall the other way
        assert np.mean(mask == expected[name]) > 0.999, "each tile has its own mask"


def test_a_session_that_is_dead_ends_the_run_and_blames_no_tile(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dead(images: Image) -> None:
        raise EngineError("the device has gone")

    running(monkeypatch, dead)
    result = invoke()
    assert (result.exit_code, result.stderr) == (2, "dlcv-infer: the device has gone\n")
    assert list(read_manifest(tmp_path / "m/manifest.csv")) == []


def test_memory_that_runs_out_makes_batches_smaller(
    invoke: Invoke, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fits_2(images: Image) -> None:
        if len(images) > 2:
            raise OutOfMemory("no memory")

    running(monkeypatch, fits_2)
    result = invoke("--batch", 5)
    assert result.exit_code == 0
    assert "out of memory on a batch of 5; going on with batches of 2" in result.stderr.splitlines()
    facts = summary_of(tmp_path)
    assert (facts["batch"], facts["done"]) == (2, 6)
    assert facts["notices"] == ["out of memory on a batch of 5; going on with batches of 2"]


@pytest.mark.parametrize(
    ("words", "memory"),
    [
        ("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Failed to allocate memory for requested buffer of size 9437184", True),
        ("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc", True),
        ("CUDA failure 2: out of memory ; GPU=0", True),
        ("CUBLAS failure 3: CUBLAS_STATUS_ALLOC_FAILED", True),
        ("CUDA failure 700: an illegal memory access was encountered", False),
    ],
)  # fmt: skip
def test_what_onnx_runtime_says_when_memory_runs_out(
    tiny_onnx: Path, monkeypatch: pytest.MonkeyPatch, words: str, memory: bool
) -> None:
    from dlcv.runtime.sessions import open_session

    class Failing:
        def run(self, *arguments: Any) -> None:
            raise RuntimeError(words)

    with open_session(tiny_onnx, session="onnxruntime", device="cpu") as session:
        session._session = Failing()  # type: ignore[attr-defined]
        with pytest.raises(EngineError, match="ONNX Runtime failed on a batch of 1: ") as caught:
            session.run(np.zeros((1, 64, 64, 3), np.uint8))
    assert isinstance(caught.value, OutOfMemory) is memory
