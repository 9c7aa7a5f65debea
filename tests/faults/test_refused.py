"""What the operating system refuses in the middle of a run, files that go or change, and a second run in the same folder."""

from __future__ import annotations

import csv
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="capabilities of Linux")]
SLOW = """
import time
import dlcv.runtime.work.tile_work as work
real = work.Decoder.decode_file
work.Decoder.decode_file = lambda *a: (time.sleep(0.03), real(*a))[1]
"""
WITHOUT_PRIVILEGES = """
import ctypes
libc, version, held = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capget(version, held) == 0
for word in range(3):  # of the first 32 capabilities: effective, permitted, inheritable
    held[word] &= ~(1 << 1 | 1 << 2)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
assert libc.capset(version, held) == 0
"""
"""Run in a new process: root no longer reads and writes what permissions forbid."""


@pytest.fixture
def tiles(many_tiles: Path, tmp_path: Path) -> Path:
    """30 tiles, files of their own."""
    folder = tmp_path / "tiles"
    for path in sorted(many_tiles.rglob("*.png"))[:30]:
        folder.mkdir(exist_ok=True)
        shutil.copyfile(path, folder / path.name)
    return folder


@pytest.fixture
def infer(fork: Callable[..., Any], tiles: Path, tiny_onnx: Path, tmp_path: Path) -> Callable[..., Any]:
    def infer(*options: Any, before: str = "", engine: Path = tiny_onnx) -> Any:
        given = (tiles, "--engine", engine, "--output", tmp_path / "m", "--device", "cpu", "--decoders", "1", *options)
        return fork("dlcv-infer", *given, before=before)

    return infer


def ended(process: Any) -> tuple[int, str]:
    _, err = process.communicate(timeout=300)
    assert "Traceback" not in err
    return process.returncode, err


def rows(folder: Path) -> list[dict[str, str]]:
    path = folder / "manifest.csv"
    return list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []


def wait_for_rows(process: Any, folder: Path, count: int) -> None:
    deadline = time.monotonic() + 300
    while len(rows(folder)) < count:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_tiles_that_may_not_be_read_fail_and_are_done_when_they_may(
    infer: Callable[..., Any], tiles: Path, tmp_path: Path, harness: Any, go_on: Callable[..., None], tiny_onnx: Path
) -> None:
    closed = sorted(tiles.iterdir())[3:5]
    for path in closed:
        path.chmod(0)
    code, err = ended(infer(before=WITHOUT_PRIVILEGES))
    assert (code, err.count("Permission denied")) == (1, 1), err
    failed = {row["path"]: row["reason"] for row in rows(tmp_path / "m") if row["status"] == "failed"}
    assert set(failed) == {path.name for path in closed}
    assert all("Permission denied" in reason for reason in failed.values())
    for path in closed:
        path.chmod(0o644)
    go_on(tiles, tiny_onnx, tmp_path / "m")
    harness.check_counts(tmp_path / "m", 30)


def test_a_folder_that_may_not_be_written_is_a_sentence(infer: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m").chmod(0o555)
    code, err = ended(infer(before=WITHOUT_PRIVILEGES))
    assert code == 2
    assert (
        err == f"dlcv-infer: cannot write in {tmp_path / 'm'}: Permission denied; choose another folder with --output\n"
    )


def test_a_folder_that_is_closed_during_the_run_is_a_sentence(
    infer: Callable[..., Any], tmp_path: Path, harness: Any, go_on: Callable[..., None], tiles: Path, tiny_onnx: Path
) -> None:
    process = infer(before=WITHOUT_PRIVILEGES + SLOW)
    wait_for_rows(process, tmp_path / "m", 5)
    (tmp_path / "m").chmod(0o555)
    code, err = ended(process)
    (tmp_path / "m").chmod(0o755)
    assert code == 2
    assert err.splitlines()[-1].startswith("dlcv-infer: cannot write ")
    assert err.splitlines()[-1].endswith(": Permission denied")
    assert 5 <= len(rows(tmp_path / "m")) < 30
    go_on(tiles, tiny_onnx, tmp_path / "m")
    harness.check_counts(tmp_path / "m", 30)


def test_a_folder_that_takes_no_more_files_is_a_sentence(
    infer: Callable[..., Any], tmp_path: Path, harness: Any, go_on: Callable[..., None], tiles: Path, tiny_onnx: Path
) -> None:
    """Even for root, as on a disk that the kernel has taken out of use."""
    process, folder = infer(before=SLOW), tmp_path / "m"
    wait_for_rows(process, folder, 5)
    if subprocess.run(["chattr", "+i", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("a folder cannot be made immutable here: no root, or not on this file system")
    try:
        code, err = ended(process)
    finally:
        subprocess.run(["chattr", "-i", str(folder)], check=True)
    assert code == 2
    assert err.splitlines()[-1].startswith("dlcv-infer: cannot write "), err
    assert err.splitlines()[-1].endswith(": Operation not permitted"), err
    go_on(tiles, tiny_onnx, tmp_path / "m")
    harness.check_counts(folder, 30)


def test_a_tile_whose_bytes_cannot_be_read_fails_alone(
    infer: Callable[..., Any], tiles: Path, tmp_path: Path, harness: Any
) -> None:
    """The kernel itself gives EIO: of the memory of a process, the first page is not there."""
    bad = sorted(tiles.iterdir())[7]
    bad.unlink()
    bad.symlink_to("/proc/self/mem")
    code, err = ended(infer())
    assert code == 1, err
    (failed,) = [row for row in rows(tmp_path / "m") if row["status"] == "failed"]
    assert failed["path"] == bad.name
    assert "Input/output error" in failed["reason"] or "empty" in failed["reason"], failed
    assert len(rows(tmp_path / "m")) == 30


def test_tiles_that_vanish_or_change_meanwhile(
    infer: Callable[..., Any], tiles: Path, tmp_path: Path, harness: Any, go_on: Callable[..., None], tiny_onnx: Path
) -> None:
    names = sorted(tiles.iterdir())
    vanishing, changing, cut = names[25], names[1], names[27]
    kept = vanishing.read_bytes()
    process = infer(before=SLOW)
    wait_for_rows(process, tmp_path / "m", 5)
    vanishing.unlink()
    changing.write_bytes(names[2].read_bytes())
    whole = cut.read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    code, err = ended(process)
    assert code == 1, err
    failed = {row["path"]: row["reason"] for row in rows(tmp_path / "m") if row["status"] == "failed"}
    assert set(failed) == {vanishing.name, cut.name}
    assert failed[vanishing.name] == "there is no such file"
    vanishing.write_bytes(kept)
    cut.write_bytes(whole)
    go_on(tiles, tiny_onnx, tmp_path / "m")
    harness.check_counts(tmp_path / "m", 30)
    masks = {path.name: path.read_bytes() for path in (tmp_path / "m").glob("*.png")}
    assert masks[f"{changing.name}.png"] == masks[f"{names[2].name}.png"], (
        "what changed after it was read is done again"
    )


def test_an_output_folder_that_vanishes_is_a_sentence(
    infer: Callable[..., Any], tmp_path: Path, harness: Any, go_on: Callable[..., None], tiles: Path, tiny_onnx: Path
) -> None:
    process = infer(before=SLOW)
    wait_for_rows(process, tmp_path / "m", 5)
    (tmp_path / "m").rename(tmp_path / "gone")
    code, err = ended(process)
    assert code == 2, err
    assert err.splitlines()[-1].startswith(f"dlcv-infer: cannot write {tmp_path / 'm'}")
    shutil.rmtree(tmp_path / "m", ignore_errors=True)
    (tmp_path / "gone").rename(tmp_path / "m")
    go_on(tiles, tiny_onnx, tmp_path / "m")
    harness.check_counts(tmp_path / "m", 30)


def test_an_engine_that_vanishes_costs_nothing_while_the_session_lives(
    infer: Callable[..., Any], tiny_onnx: Path, tmp_path: Path, harness: Any
) -> None:
    engine = shutil.copyfile(tiny_onnx, tmp_path / "engine.onnx")
    process = infer(before=SLOW, engine=engine)
    wait_for_rows(process, tmp_path / "m", 5)
    engine.unlink()
    assert ended(process)[0] == 0
    harness.check_counts(tmp_path / "m", 30)


def test_a_second_run_in_the_folder_is_refused(infer: Callable[..., Any], tmp_path: Path, harness: Any) -> None:
    first = infer(before=SLOW)
    wait_for_rows(first, tmp_path / "m", 3)
    first.send_signal(signal.SIGSTOP)  # it stays as it is until the others have been refused
    for option in ("--resume", "--overwrite"):
        code, err = ended(infer(option))
        assert code == 2
        assert err == (
            f"dlcv-infer: {tmp_path / 'm'} is in use by another run of dlcv-infer; wait for it, or name another folder with --output\n"
        )
    first.send_signal(signal.SIGCONT)
    assert ended(first)[0] == 0
    harness.check_counts(tmp_path / "m", 30)


SLOW_STEP = """
import time
import dlcv.train.steps.stepper as stepper
real = stepper.Stepper.step
stepper.Stepper.step = lambda self, *a, **k: (time.sleep(0.5), real(self, *a, **k))[1]
"""


def test_a_second_training_in_the_folder_is_refused(
    fork: Callable[..., Any], tiny_data: Path, tmp_path: Path, harness: Any
) -> None:
    def train(*options: str, before: str = "") -> Any:
        given = (
            "--model", "fcn8s", "--data", tiny_data, "--width", "0.05", "--crop", "32", "--batch", "2", "--epochs", "3",
            "--workers", "0", "--device", "cpu", "--output", tmp_path / "run",
        )  # fmt: skip
        return fork("dlcv-train", *given, *options, before=before)

    first = train(before=SLOW_STEP)
    deadline = time.monotonic() + 300
    while not (tmp_path / "run/last.pt").exists():
        assert first.poll() is None, first.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    first.send_signal(signal.SIGSTOP)  # it stays as it is until the other one has been refused
    code, err = ended(train("--resume"))
    assert code == 2
    assert err.splitlines()[-1] == (
        f"dlcv-train: {tmp_path / 'run'} is in use by another run of dlcv-train; wait for it, or name another folder with --output"
    )
    first.send_signal(signal.SIGCONT)
    assert ended(first)[0] == 0
    assert len(harness.losses(tmp_path / "run")) == 3


def test_a_second_export_at_the_same_time_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the export extra is not installed")
    from dlcv.export.staging import staging_folder
    from dlcv.runtime.errors import UsageError

    folder = tmp_path / "out"
    with staging_folder(folder, "fcn8s") as first:
        (first / "fcn8s.onnx").write_bytes(b"1")
        refused = pytest.raises(UsageError, match=r"another export of fcn8s into \S+ is at work; wait for it")
        with refused, staging_folder(folder, "fcn8s"):
            raise AssertionError("it was let in")
        assert (first / "fcn8s.onnx").exists(), "the first one's files are left alone"
        with staging_folder(folder, "unet"):
            pass
    assert list(folder.iterdir()) == []


def test_what_a_killed_export_left_is_removed(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the export extra is not installed")
    from dlcv.export.staging import staging_folder

    left, others = tmp_path / ".fcn8s.ab12.partial", tmp_path / ".unet.ab12.partial"
    for folder in (left, others):
        folder.mkdir()
        (folder / "weights").write_bytes(b"1")
    with staging_folder(tmp_path, "fcn8s") as mine:
        assert not left.exists()
        assert mine.exists()
    assert [path.name for path in tmp_path.iterdir()] == [others.name]
