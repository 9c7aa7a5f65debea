"""A session that raises, hangs or runs out of memory in the middle of a real run: what the command says and leaves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow
PATCH = """
import threading
import dlcv.runtime.sessions.onnxrt as onnxrt
from dlcv.runtime.errors import EngineError, OutOfMemory
real, calls, opened, lock = onnxrt.OnnxSession._run, [], [], threading.Lock()
def run(self, images):
    with lock:
        calls.append(len(images))
        if self not in opened:
            opened.append(self)
        call, session = len(calls), opened.index(self)
    FAULT
    return real(self, images)
onnxrt.OnnxSession._run = run
"""
RAISES_ONCE = PATCH.replace("FAULT", 'if session == 0 and call > 20: raise EngineError("the device was lost")')
HANGS_ONCE = PATCH.replace("FAULT", "if call == 20: threading.Event().wait()")
ALWAYS_DEAD = PATCH.replace("FAULT", 'if call > 20: raise EngineError("the device was lost")')
ALWAYS_HANGS = PATCH.replace("FAULT", "if call > 20: threading.Event().wait()")
SMALL_MEMORY = PATCH.replace("FAULT", 'if len(images) > 3: raise OutOfMemory(f"no memory for {len(images)}")')


@pytest.fixture
def infer(fork: Callable[..., Any], many_tiles: Path, tiny_onnx: Path) -> Callable[..., tuple[int, list[str]]]:
    def infer(folder: Path, *options: str, before: str = "") -> tuple[int, list[str]]:
        given = (many_tiles, "--engine", tiny_onnx, "--output", folder, "--device", "cpu", "--session", "onnxruntime")
        process = fork("dlcv-infer", *given, *options, before=before)
        _, err = process.communicate(timeout=300)
        assert "Traceback" not in err
        return process.returncode, err.splitlines()

    return infer


@pytest.mark.parametrize(
    ("before", "reason"),
    [
        (RAISES_ONCE, "the device was lost"),
        (HANGS_ONCE, "it had not answered within 2 s on a batch of 2"),
    ],
    ids=["raises", "hangs"],
)
def test_it_is_restarted_once_and_the_summary_says_so(
    harness: Any, infer: Callable[..., Any], go_on: Callable[..., None], many_tiles: Path, tiny_onnx: Path, tmp_path: Path,
    before: str, reason: str,
) -> None:  # fmt: skip
    go_on(many_tiles, tiny_onnx, tmp_path / "undisturbed")
    code, lines = infer(tmp_path / "m", "--batch", "2", "--session-timeout", "2", before=before)
    assert code == 0, lines
    assert lines[0].startswith("60 tiles through ")
    assert lines[1].startswith(f"60 of 60 tiles done, 0 failed: {tmp_path / 'm'} (")
    (told,) = (line for line in lines if line.startswith("the session was restarted "))
    assert reason in told
    facts = json.loads((tmp_path / "m/summary.json").read_text())
    assert facts["session_restarts"] >= 1, "once, and on a machine that is busy a batch may take too long by itself"
    assert told in facts["notices"]
    assert harness.tree(tmp_path / "m") == harness.tree(tmp_path / "undisturbed")
    harness.check_counts(tmp_path / "m", 60)


@pytest.mark.parametrize(
    ("before", "words"),
    [
        (ALWAYS_DEAD, "dlcv-infer: the device was lost"),
        (ALWAYS_HANGS, "dlcv-infer: the session has not answered within 0.5 s on a batch of 1; its library"),
    ],
    ids=["raises", "hangs"],
)
def test_one_that_is_gone_ends_the_run_and_is_gone_on_with(
    harness: Any, infer: Callable[..., Any], go_on: Callable[..., None], many_tiles: Path, tiny_onnx: Path, tmp_path: Path,
    before: str, words: str,
) -> None:  # fmt: skip
    code, lines = infer(tmp_path / "m", "--session-timeout", "0.5", before=before)
    assert code == 2
    assert lines[-1].startswith(words)
    go_on(many_tiles, tiny_onnx, tmp_path / "m", session="onnxruntime")
    harness.check_counts(tmp_path / "m", 60)


def test_memory_that_runs_out_makes_the_batch_smaller(harness: Any, infer: Callable[..., Any], tmp_path: Path) -> None:
    code, lines = infer(tmp_path / "m", "--batch", "8", before=SMALL_MEMORY)
    assert code == 0, lines
    assert "out of memory on a batch of 8; going on with batches of 4" in lines
    assert "out of memory on a batch of 4; going on with batches of 2" in lines
    assert json.loads((tmp_path / "m/summary.json").read_text())["session_restarts"] == 0
    harness.check_counts(tmp_path / "m", 60)


def test_an_engine_exchanged_meanwhile_is_not_opened_in_its_place(
    fork: Callable[..., Any], many_tiles: Path, tiny_onnx: Path, tmp_path: Path
) -> None:
    engine = tmp_path / "engine.onnx"
    engine.write_bytes(tiny_onnx.read_bytes())
    exchange = f'open({str(engine)!r}, "ab").write(b"x")'
    before = PATCH.replace(
        "FAULT", f'if call == 20: {exchange}\n    if call > 20: raise EngineError("the device was lost")'
    )
    process = fork(
        "dlcv-infer", many_tiles, "--engine", engine, "--output", tmp_path / "m", "--device", "cpu", "--session",
        "onnxruntime", before=before,
    )  # fmt: skip
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2
    assert err.splitlines()[-1] == (
        f"dlcv-infer: the session broke (the device was lost) and cannot be opened anew: {engine} was exchanged while the run went on; "
        "start again with --overwrite"
    )
