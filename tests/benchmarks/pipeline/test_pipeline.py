"""The pipeline's benchmarks run, small, and their tables hold what they promise."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner

from dlcv.benchmarks.pipeline import codec, file_to_file, isolation, lanes, layout, memory, resume, stand_ins
from dlcv.benchmarks.pipeline.loops import Loops
from dlcv.benchmarks.pipeline.scenes import many_tiles, tile_paths
from dlcv.benchmarks.untrained import untrained
from dlcv.runtime.machine import cpu_count


def printed(command: click.Command, *arguments: Any) -> str:
    result = CliRunner().invoke(command, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_codec(tmp_path: Path) -> None:
    many_tiles(tmp_path, 3, 64)
    out = printed(codec.main, "--tiles", tmp_path, "--count", 3, "--rounds", 3)
    assert [line.split("|")[1].strip() for line in out.splitlines()[2:5]] == ["reading", "writing", "both"]
    assert re.search(r"OpenCV \d+\.\d+\.\d+; of the extra `fast`: ", out)


def test_resume() -> None:
    out = printed(resume.main, "--count", 12, "--rounds", 3)
    assert re.match(r"\| 12 +\|", out.splitlines()[2])


def test_memory() -> None:
    out = printed(memory.main, "--count", 4, "--count", 8, "--size", 32, "--rounds", 1)
    first, second = ([cell.strip() for cell in line.split("|")] for line in out.splitlines()[2:4])
    assert (first[1], second[1]) == ("4", "8")
    # MiB of a process with numpy, OpenCV and ONNX Runtime: how many depends on the machine (175 and 204 were seen), the unit does not
    assert 30 < float(first[2]) < 1000
    assert float(second[4]) == pytest.approx(1, abs=0.25)


def test_layout(tmp_path: Path) -> None:
    many_tiles(tmp_path, 3, 64)
    out = printed(layout.main, "--tiles", tmp_path, "--count", 3, "--rounds", 3, "--stand-in")
    table = [line for line in out.splitlines() if line.startswith("|")]
    assert len(table) == 2 + len(layout.layouts())
    first = [cell.strip() for cell in table[2].split("|")[1:-1]]
    assert first[4:] == ["1.00 (1.00 to 1.00)"] * 2, "beside itself"


def test_lanes(tmp_path: Path) -> None:
    many_tiles(tmp_path / "tiles", 4, 32)
    graph = untrained(tmp_path / "fcn8s.onnx", 0.05, 32)
    out = printed(lanes.main, "--engine", graph, "--count", 4, "--rounds", 3, tmp_path / "tiles")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines()[2:]]
    assert [name for name, _ in rows] == [
        f"{n} lanes, batch {batch}" for n in dict.fromkeys((cpu_count(), 1)) for batch in (1, 4)
    ]
    assert rows[0][1] == "1.00", "beside itself"
    assert all(float(ratio) > 0 for _, ratio in rows)


def test_isolation() -> None:
    """What it costs is a matter of the machine; that a run of one tile pays for the start of a process is not."""
    out = printed(isolation.main, "--count", 3, "--size", 48, "--input-size", 32, "--pairs", 3)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in out.splitlines()[2:5]]
    assert [row[0] for row in rows] == [
        "decoding alone, one thread", "files to masks", "start and end of a run of one tile"
    ]  # fmt: skip
    assert float(rows[2][3].split()[0]) > 1


def test_stand_ins(tmp_path: Path) -> None:
    many_tiles(tmp_path / "256", 6, 256)
    assert stand_ins._reached(sorted((tmp_path / "256").rglob("*.jpg")), 256, 1, 20.0, 3)[0] == "session"


def test_all_ways_give_the_same_masks(tmp_path: Path) -> None:
    from dlcv.runtime.masks import read_mask
    from dlcv.runtime.tiles.decode import decode_file

    many_tiles(tmp_path / "tiles", 5, 64)
    paths = sorted((tmp_path / "tiles").rglob("*.jpg"))
    (tmp_path / "masks").mkdir()
    for name, way in stand_ins.ways_of(paths, tmp_path / "masks", 64, 2, 0.0).items():
        for mask in (tmp_path / "masks").iterdir():
            mask.unlink()
        way()
        if name != "session":
            for path in paths:
                expected = stand_ins.mask_of(decode_file(path))
                np.testing.assert_array_equal(read_mask(tmp_path / "masks" / f"{path.name}.png"), expected)


def test_the_loops_beside_the_pipeline_write_what_it_writes(tmp_path: Path) -> None:
    paths = tile_paths(None, tmp_path / "tiles", 5, 64)
    loops = Loops(paths, untrained(tmp_path / "fcn8s.onnx", 0.05, 32), tmp_path)
    for loop in (loops.ours, loops.each, loops.codec_alone):
        loop()
    for path in paths:
        expected = (tmp_path / "masks" / f"{path.name}.png").read_bytes()
        assert (tmp_path / "each" / f"{path.name}.png").read_bytes() == expected
        assert (tmp_path / "codec" / f"{path.name}.png").read_bytes() == expected


def test_file_to_file(tmp_path: Path) -> None:
    many_tiles(tmp_path, 4, 64)
    small = ("--tiles", tmp_path, "--count", 4, "--rounds", 3, "--width", 0.05, "--input-size", 32, "--int8")
    out = printed(file_to_file.main, *small)
    rows = [[cell.strip() for cell in line.split("|")] for line in out.splitlines() if line.startswith("| ")]
    assert rows[0][3:] == [
        "time beside dlcv-infer", "beside it once its session is open", "reached of all cores", "of what others left",
        "that, once the session is open", "",
    ]  # fmt: skip
    assert [row[1] for row in rows[1:]] == [
        file_to_file.OURS, file_to_file.OPENING, file_to_file.SERIAL, file_to_file.SESSION, file_to_file.CODEC,
        file_to_file.EACH,
    ]  # fmt: skip
    ours, serial, each = rows[1], rows[3], rows[6]
    assert all(float(row[column].split()[0]) > 0 for row in (ours, serial, each) for column in (5, 6))
    once_open = [float(cell.split()[0]) for cell in (ours[7], serial[4], each[4])]
    assert min(once_open) > 0 or max(once_open) < 0, (
        "so few tiles may take less than opening did; all are over the same seconds"
    )
    assert "The codec is " in out
