"""`--isolate`: a decoder that really crashes or hangs costs one tile; without it the run dies.

The decoder is one of the files' own: a package `simplejpeg` that stands in for the native one, decodes as OpenCV does, and dies
with a real SIGSEGV, or never comes back, where a JPEG holds the words for it.
"""

from __future__ import annotations

import csv
import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dlcv.runtime.errors import DlcvError, TileError, UsageError
from dlcv.runtime.isolate import pool as pool_module
from dlcv.runtime.isolate.pool import IsolatedDecoder
from dlcv.runtime.tiles.decode import DecodeOptions, Decoder

NATIVE = """
import ctypes, os, sys, time
import cv2, numpy as np
time.sleep(float(os.environ.get('SLOW_START_S', '0')))

def decode_jpeg(data, colours="RGB", strict=True):
    data = bytes(data)
    if b"dies here" in data:
        ctypes.string_at(0)  # a real segmentation fault, below Python
    if b"hangs here" in data:
        print(os.getpid(), "hangs", file=sys.stderr, flush=True)
    while b"hangs here" in data:
        time.sleep(0.05)
    if b"asks for memory" in data:
        bytearray(12 << 30)  # which the system lends, until it is used
    flag = cv2.IMREAD_COLOR if colours == "BGR" else cv2.IMREAD_COLOR_RGB
    return cv2.imdecode(np.frombuffer(data, np.uint8), flag)
"""
HOW = {"dies": b"dies here", "hangs": b"hangs here"}


@pytest.fixture
def native(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Puts that decoder in the place of simplejpeg, in processes that are started from here on."""
    cv2 = pytest.importorskip("cv2")
    if not hasattr(cv2, "IMREAD_COLOR_RGB"):
        pytest.skip("the stand-in needs OpenCV 4.11")
    folder = tmp_path / "native"
    folder.mkdir()
    (folder / "simplejpeg.py").write_text(NATIVE)
    monkeypatch.syspath_prepend(folder)
    return folder


def jpeg(comment: bytes = b"", size: int = 64) -> bytes:
    buffer = io.BytesIO()
    picture = np.random.default_rng(len(comment)).integers(0, 255, (size, size, 3), np.uint8)
    Image.fromarray(picture).save(buffer, "JPEG", quality=90, comment=comment)
    return buffer.getvalue()


def test_the_same_pixels_and_the_same_words(tmp_path: Path) -> None:
    files = {"a.jpg": jpeg(), "b.png": b"\x89PNG\r\n\x1a\n", "c.bmp": b"hello", "e.jpg": jpeg(size=200)}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    here = Decoder()
    with IsolatedDecoder(DecodeOptions(), 1, 60) as there:
        for name in (*files, "d.jpg", "\udcff\n.jpg"):
            assert _told(there, tmp_path / name) == _told(here, tmp_path / name)
        assert np.array_equal(there.decode_bytes(files["a.jpg"]), here.decode_bytes(files["a.jpg"]))
        image = there.decode_file(tmp_path / "a.jpg")
        assert image.flags.writeable
        assert image.flags.c_contiguous


def test_limits_are_the_runs(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    with (
        IsolatedDecoder(DecodeOptions(max_pixels=4095), 1, 60) as there,
        pytest.raises(TileError, match="64 x 64 is 4096 pixels, the limit is 4095"),
    ):
        there.decode_file(tmp_path / "a.jpg")


def test_a_crash_costs_its_tile_alone(native: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(jpeg(HOW["dies"]))
    (tmp_path / "good.jpg").write_bytes(jpeg())
    with IsolatedDecoder(DecodeOptions(), 1, 60) as there:
        for _ in range(2):
            with pytest.raises(TileError) as caught:
                there.decode_file(tmp_path / "bad.jpg")
            assert str(caught.value) == (
                "decoding it ended the decoder (SIGSEGV); the file is damaged, or made to do harm: do not open it elsewhere"
            )
            assert there.decode_file(tmp_path / "good.jpg").shape == (64, 64, 3)
        assert there.replaced == 2
        assert there.notices == ["2 decoding processes crashed or hung and were replaced"]


def test_a_decoder_that_hangs_is_ended(native: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(jpeg(HOW["hangs"]))
    (tmp_path / "good.jpg").write_bytes(jpeg())
    with IsolatedDecoder(DecodeOptions(), 1, 2) as there:
        start = time.monotonic()
        with pytest.raises(
            TileError, match=r"^decoding it took longer than 2 s and was ended; look at its storage, or"
        ):
            there.decode_file(tmp_path / "bad.jpg")
        assert time.monotonic() - start < 30
        pid = next(iter(there._all))._process.pid if there._all else 0
        assert not pid, "it was killed, not left to run"
        assert there.decode_file(tmp_path / "good.jpg").shape == (64, 64, 3)


def test_a_decoder_that_hangs_ends_with_a_run_that_was_killed(
    native: Path, tmp_path: Path, command_env: dict[str, str]
) -> None:
    (tmp_path / "bad.jpg").write_bytes(jpeg(HOW["hangs"]))
    code = f"""
import sys
from pathlib import Path
from dlcv.runtime.tiles.decode import DecodeOptions
from dlcv.runtime.isolate.pool import IsolatedDecoder
sys.path.insert(0, {str(native)!r})
with IsolatedDecoder(DecodeOptions(), 1) as there:
    there.decode_file(Path({str(tmp_path / "bad.jpg")!r}))
"""
    with subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, env=command_env) as run:
        assert run.stderr is not None
        pid, what = run.stderr.readline().split()
        assert what == b"hangs"
        run.kill()
        try:
            run.communicate(timeout=30)  # its stderr is the decoder's, too, and ends when both have
        except subprocess.TimeoutExpired:
            os.kill(int(pid), signal.SIGKILL)
            raise


def test_a_process_that_cannot_be_started_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    real = pool_module._file_in_memory

    def make() -> int:
        made.append(real())
        return made[-1]

    monkeypatch.setattr(pool_module, "_file_in_memory", make)
    monkeypatch.setattr(pool_module.sys, "executable", str(tmp_path / "missing"))
    words = "^--isolate: no process can be started: No such file or directory; pass fewer --decoders, or run without"
    with IsolatedDecoder(DecodeOptions(), 1, 60) as there, pytest.raises(DlcvError, match=words):
        there.decode_file(tmp_path / "a.jpg")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(made[0])


def test_a_bomb_meets_the_processes_own_bound(native: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(jpeg(b"asks for memory"))
    with (
        IsolatedDecoder(DecodeOptions(), 1, 60) as there,
        pytest.raises(TileError, match="decoding it asks for more memory than an image of the largest size"),
    ):
        there.decode_file(tmp_path / "bad.jpg")


def test_many_threads_share_few_processes(native: Path, tmp_path: Path) -> None:
    for number in range(24):
        (tmp_path / f"{number}.jpg").write_bytes(jpeg(HOW["dies"] if number % 8 == 3 else b"x" * number))
    found: dict[int, Any] = {}
    here = Decoder()
    with IsolatedDecoder(DecodeOptions(), 2, 60) as there:

        def some(first: int) -> None:
            for number in range(first, 24, 4):
                try:
                    found[number] = there.decode_file(tmp_path / f"{number}.jpg")
                except TileError as error:
                    found[number] = str(error)

        threads = [threading.Thread(target=some, args=(first,)) for first in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
        assert len(there._all) <= 2
        processes = [process._process for process in there._all]
    assert all(process.poll() is not None for process in processes), "none is left behind"
    for number, what in found.items():
        if number % 8 == 3:
            assert "SIGSEGV" in what
        else:
            assert np.array_equal(what, here.decode_file(tmp_path / f"{number}.jpg")), number
    assert len(found) == 24


def test_a_process_that_does_not_start_ends_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module.sys, "executable", "/bin/false")
    words = r"--isolate: the process that decodes did not start \(exit code 1\); run without"
    with IsolatedDecoder(DecodeOptions(), 1, 60) as there, pytest.raises(DlcvError, match=words):
        there.decode_file(tmp_path / "a.jpg")


def test_the_folder_one_stands_in_is_no_place_to_import_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('code of the tiles folder was run')")
    (tmp_path / "a.jpg").write_bytes(jpeg())
    monkeypatch.chdir(tmp_path)
    with IsolatedDecoder(DecodeOptions(), 1, 60) as there:
        assert there.decode_file(Path("a.jpg")).shape == (64, 64, 3)


def test_what_a_process_loads(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg())
    with IsolatedDecoder(DecodeOptions(), 1, 60) as there:
        there.decode_file(tmp_path / "a.jpg")
        (process,) = there._all
        maps = Path(f"/proc/{process._process.pid}/maps")
        if not maps.exists():
            pytest.skip("no /proc here")
        loaded = maps.read_text()
    assert "cv2" in loaded
    assert not [name for name in ("onnxruntime", "libtorch", "rasterio", "openvino") if name in loaded]


def _told(decoder: Decoder, path: Path) -> str:
    try:
        return str(decoder.decode_file(path).tolist())
    except TileError as error:
        return str(error)


# --- the command --------------------------------------------------------------------------------------------------------


@pytest.fixture
def hostile(native: Path, tmp_path: Path) -> Path:
    """Eight JPEGs, the third of which kills its decoder."""
    folder = tmp_path / "tiles"
    folder.mkdir()
    for number in range(8):
        (folder / f"{number}.jpg").write_bytes(jpeg(HOW["dies"] if number == 2 else b"x" * number))
    return folder


@pytest.fixture
def infer(
    command_line: Callable[..., list[str]], command_env: dict[str, str], native: Path, tiny_onnx: Path, tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    def run(*arguments: Any, output: str = "out") -> subprocess.CompletedProcess[str]:
        env = command_env | {"PYTHONPATH": f"{native}{os.pathsep}{command_env['PYTHONPATH']}"}
        words = ("--engine", tiny_onnx, "--device", "cpu", "--quiet", "--output", tmp_path / output)
        argv = command_line("dlcv-infer", *arguments, *words)
        return subprocess.run(argv, capture_output=True, text=True, env=env, timeout=300, check=False)

    return run


def test_without_it_the_run_dies(infer: Callable[..., Any], hostile: Path) -> None:
    """What the protection is against: the same folder, the same decoder."""
    assert infer(hostile).returncode == -signal.SIGSEGV


def test_with_it_one_tile_is_lost_and_listed(infer: Callable[..., Any], hostile: Path, tmp_path: Path) -> None:
    done = infer(hostile, "--isolate", "--decoders", 2)
    assert done.returncode == 1, done.stderr
    assert "7 of 8 tiles done, 1 failed" in done.stderr
    assert "1 decoding processes crashed or hung and were replaced" in done.stderr
    with open(tmp_path / "out/manifest.csv", newline="") as file:
        rows = {row["path"]: row for row in csv.DictReader(file)}
    assert [key for key, row in rows.items() if row["status"] == "failed"] == ["2.jpg"]
    assert rows["2.jpg"]["reason"].startswith("decoding it ended the decoder (SIGSEGV)")
    (hostile / "2.jpg").unlink()
    assert infer(hostile, output="plain").returncode == 0
    for number in (0, 1, 3, 4, 5, 6, 7):
        name = f"{number}.jpg.png"
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_what_a_process_takes_to_start_is_not_the_tiles(
    infer: Callable[..., Any], hostile: Path, command_env: dict[str, str]
) -> None:
    (hostile / "2.jpg").unlink()
    command_env["SLOW_START_S"] = "5"
    done = infer(hostile, "--isolate", "--decoders", 1, "--tile-timeout", 2)
    assert done.returncode == 0, done.stderr


def test_not_together_with_ray(tiny_onnx: Path, tmp_path: Path) -> None:
    from dlcv.runtime.run.inference import InferSettings, infer

    settings = InferSettings.of(
        sources=(str(tmp_path),), output=tmp_path / "o", engine=tiny_onnx, isolate=True, ray="local"
    )
    with pytest.raises(UsageError, match="--isolate: Ray's workers are processes already"):
        infer(settings)
