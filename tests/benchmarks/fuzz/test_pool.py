"""The process that reads mutants may die, hang, ask for too much memory, or end in another error than ours: each is told, and the
next one is read all the same. The decoder is a stand-in that really does these things.
"""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dlcv.benchmarks.fuzz.campaign import run_campaign, told
from dlcv.benchmarks.fuzz.pool import Outcome, Pool

NATIVE = """
import ctypes, time
import cv2, numpy as np
kept = []

def decode_jpeg(data, colours="RGB", strict=True):
    data = bytes(data)
    if b"dies here" in data:
        ctypes.string_at(0)
    if b"leaves at once" in data:
        import os
        os._exit(3)
    while b"hangs here" in data:
        time.sleep(0.05)
    if b"asks for memory" in data:
        kept.append(np.ones(3 << 30, np.uint8))
    if b"takes memory" in data:
        np.ones(300 << 20, np.uint8).sum()
    if b"a bug" in data:
        raise KeyError("of our own")
    if b"another size" in data:
        return np.zeros((3, 4, 3), np.uint8)
    flag = cv2.IMREAD_COLOR if colours == "BGR" else cv2.IMREAD_COLOR_RGB
    return cv2.imdecode(np.frombuffer(data, np.uint8), flag)
"""
WORDS = ("dies here", "leaves at once", "hangs here", "asks for memory", "takes memory", "a bug", "0 good")


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    """Over JPEGs that hold `WORDS`."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("memory is read from Linux's /proc")
    native = tmp_path / "native"
    native.mkdir()
    (native / "simplejpeg.py").write_text(NATIVE)
    (tmp_path / "seeds/jpeg").mkdir(parents=True)
    for word in WORDS:
        buffer = io.BytesIO()
        picture = np.random.default_rng(0).integers(0, 255, (16, 16, 3), np.uint8)
        Image.fromarray(picture).save(buffer, "JPEG", comment=word.encode())
        (tmp_path / "seeds/jpeg" / word).write_bytes(buffer.getvalue())
    paths = [str(native), *map(os.path.abspath, filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))]
    return Pool(tmp_path / "seeds", hang_s=12.0, environment={"PYTHONPATH": os.pathsep.join(paths)})


def test_each_end_is_told_and_the_next_one_is_read(pool: Pool) -> None:
    with pool:
        ends: dict[str, Outcome] = {}
        for word in WORDS:
            ends[word] = pool.read("jpeg", word, -1)
            assert pool.read("jpeg", "0 good", -1).outcome == "success"
    assert {word: end.outcome for word, end in ends.items()} == {
        "dies here": "crash", "leaves at once": "crash", "hangs here": "hang", "asks for memory": "fault",
        "takes memory": "success", "a bug": "fault", "0 good": "success",
    }  # fmt: skip
    assert ends["dies here"].error.startswith("SIGSEGV")
    assert ends["leaves at once"].error.startswith("exit 3")
    assert "MemoryError" in ends["asks for memory"].error
    assert ends["a bug"].error.startswith("KeyError: 'of our own' at ")
    assert ends["takes memory"].peak > 250 << 20
    assert ends["0 good"].peak < 50 << 20


def test_a_campaign_names_what_makes_it_again(pool: Pool, tmp_path: Path) -> None:
    said: list[str] = []
    seeds = {"jpeg": {"dies here": b"", "0 good": b"", "takes memory": b""}}
    for word in set(WORDS) - set(seeds["jpeg"]):
        (tmp_path / "seeds/jpeg" / word).unlink()  # mutants are spliced with them
    with pool:
        report = run_campaign(pool, seeds, 30, say=said.append)
        assert [each for each in report.bad if each.outcome == "crash"]
        assert [each for each in report.bad if each.outcome == "success"], "too much memory is bad in itself"
        first = report.bad[0]
        again = pool.read(first.kind, first.seed, first.number)
    assert (again.outcome, again.by) == (first.outcome, first.by)
    assert told(first) in said
    assert f"--kind jpeg --seed {first.seed} --number {first.number}" in said[0]
    assert report.to_dict()["inputs"] == 30 + len(seeds["jpeg"]), "the files themselves, too"
