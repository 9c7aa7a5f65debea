"""SIGTERM: an end within 5 seconds, whatever the process is at, in a state that can be gone on with."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals of a Unix")]
WITHIN_S = 5.0
SHARED_S = 3.0
"""For a machine whose cores others use as well: a process that is to end has to be given one."""
SLOW = """
import time
import dlcv.runtime.work.tile_work as work
real = work.Decoder.decode_file
work.Decoder.decode_file = lambda *a: (time.sleep(0.06), real(*a))[1]
"""
LONG_BATCH = """
import time
import dlcv.runtime.sessions.onnxrt as onnxrt
onnxrt.OnnxSession._run = lambda self, images: (mark(), time.sleep(60))
"""
MARK = """
import pathlib
def mark(): pathlib.Path(MARKER).touch()
"""
LONG_STEP = """
import dlcv.train.steps.stepper as stepper
real, count = stepper.Stepper.step, []
def step(self, *a, **k):
    count.append(1)
    if len(count) == 5:
        mark()
        BLOCK
    return real(self, *a, **k)
stepper.Stepper.step = step
"""
FOR_EVER = """import ctypes
        libc, mutex = ctypes.CDLL(None), ctypes.create_string_buffer(64)
        for _ in range(2):  # the second time it waits for ever inside a library: no handler of Python is called meanwhile
            libc.pthread_mutex_lock(mutex)"""
A_WHILE = "import time; time.sleep(0.3)"
LONG_EXPORT = """
import dlcv.export.staging as staging, dlcv.export.export_model as export_model
def write(settings, staging, *a):
    mark()
    import time
    time.sleep(60)
export_model._write_graph = write
"""


def wait_for(process: Any, sign: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not sign():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline, "it does not get on"
        time.sleep(0.01)


def terminated(process: Any) -> str:
    """Sends SIGTERM; gives what the process says on stderr."""
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=300)
    assert time.monotonic() - began < WITHIN_S + SHARED_S
    assert process.returncode == 143, err
    assert "Traceback" not in err
    return str(err)


def rows(folder: Path) -> int:
    path = folder / "manifest.csv"
    return path.read_text().count("\n") if path.exists() else 0


@pytest.fixture
def infer(fork: Callable[..., Any], many_tiles: Path, tiny_onnx: Path) -> Callable[..., Any]:
    def infer(folder: Path, *options: str, before: str = "") -> Any:
        given = (many_tiles, "--engine", tiny_onnx, "--output", folder, "--device", "cpu", "--session", "onnxruntime")
        return fork("dlcv-infer", *given, *options, before=before)

    return infer


def test_inference_ends_as_after_ctrl_c(
    harness: Any,
    infer: Callable[..., Any],
    go_on: Callable[..., None],
    many_tiles: Path,
    tiny_onnx: Path,
    tmp_path: Path,
) -> None:
    process = infer(tmp_path / "m", "--decoders", "1", before=SLOW)
    wait_for(process, lambda: rows(tmp_path / "m") > 10)
    err = terminated(process)
    assert err.endswith(f"interrupted; finished tiles are whole and in {tmp_path / 'm'}; go on with --resume\n")
    assert not list((tmp_path / "m").rglob("*.partial"))
    go_on(many_tiles, tiny_onnx, tmp_path / "m")
    harness.check_counts(tmp_path / "m", 60)


def test_inference_in_a_batch_of_minutes_ends_too(
    harness: Any,
    infer: Callable[..., Any],
    go_on: Callable[..., None],
    many_tiles: Path,
    tiny_onnx: Path,
    tmp_path: Path,
) -> None:
    marker = tmp_path / "marker"
    process = infer(tmp_path / "m", before=f"MARKER = {str(marker)!r}{MARK}{LONG_BATCH}")
    wait_for(process, marker.exists)
    _, _, told = terminated(process).partition("\n")  # behind the line that says what the tiles go through
    assert told == "dlcv-infer: ended by SIGTERM; what was finished is whole\n"
    go_on(many_tiles, tiny_onnx, tmp_path / "m")
    harness.check_counts(tmp_path / "m", 60)


@pytest.mark.long
def test_inference_on_ray_ends_as_after_ctrl_c(
    harness: Any,
    infer: Callable[..., Any],
    go_on: Callable[..., None],
    many_tiles: Path,
    tiny_onnx: Path,
    tmp_path: Path,
) -> None:
    """Ray has a handler of its own, in Python and in C; what it takes to start is the reason why this is not in CI."""
    pytest.importorskip("ray", reason="the ray extra is not installed")
    process = infer(tmp_path / "m", "--ray", "local", before=SLOW)
    wait_for(process, (tmp_path / "m/manifest.csv").exists)
    time.sleep(1.0)
    err = terminated(process)
    assert err.endswith(f"interrupted; finished tiles are whole and in {tmp_path / 'm'}; go on with --resume\n")
    go_on(many_tiles, tiny_onnx, tmp_path / "m")
    harness.check_counts(tmp_path / "m", 60)


@pytest.fixture
def train(fork: Callable[..., Any], tiny_data: Path) -> Callable[..., Any]:

    def train(folder: Path, *options: str, before: str = "") -> Any:
        given = (
            "--model", "fcn8s", "--data", tiny_data, "--width", "0.05", "--crop", "64", "--batch", "2", "--epochs", "3",
            "--device", "cpu", "--output", folder,
        )  # fmt: skip
        return fork("dlcv-train", *given, *options, before=before)

    return train


def test_training_saves_its_step(harness: Any, train: Callable[..., Any], tmp_path: Path) -> None:
    harness.life_of(train(tmp_path / "undisturbed", "--workers", "0"))
    for workers in ("0", "1"):
        run, marker = tmp_path / workers, tmp_path / f"{workers}.marker"
        before = f"MARKER = {str(marker)!r}{MARK}" + LONG_STEP.replace("BLOCK", A_WHILE)
        process = train(run, "--workers", workers, before=before)
        wait_for(process, marker.exists)
        assert f"{run / 'last.pt'} is saved at epoch " in terminated(process)
        harness.life_of(train(run, "--workers", workers, "--resume"))
        assert harness.losses(run) == harness.losses(tmp_path / "undisturbed"), f"--workers {workers}"


def test_training_in_a_step_of_minutes_ends_too(harness: Any, train: Callable[..., Any], tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    process = train(
        tmp_path / "run",
        "--workers",
        "0",
        before=f"MARKER = {str(marker)!r}{MARK}" + LONG_STEP.replace("BLOCK", FOR_EVER),
    )
    wait_for(process, marker.exists)
    assert terminated(process).endswith("dlcv-train: ended by SIGTERM; what was finished is whole\n")
    assert (tmp_path / "run/last.pt").exists(), "of the epoch before"
    harness.life_of(train(tmp_path / "run", "--workers", "0", "--resume"))
    assert [row["epoch"] for row in harness.losses(tmp_path / "run")] == ["1", "2", "3"]


def test_export_takes_its_files_away(export: Callable[..., Any], tmp_path: Path) -> None:
    marker, folder = tmp_path / "marker", tmp_path / "out"
    process = export(folder, before=f"MARKER = {str(marker)!r}{MARK}{LONG_EXPORT}")
    wait_for(process, marker.exists)
    assert len(list(folder.iterdir())) == 1, "its hidden folder"
    terminated(process)
    assert list(folder.iterdir()) == []
