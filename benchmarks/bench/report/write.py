"""Writes a result into a folder."""

from __future__ import annotations

from pathlib import Path

from dlcv.benchmarks.bench.report.page import as_page
from dlcv.benchmarks.bench.report.text import as_csv, as_markdown
from dlcv.benchmarks.bench.result import Result, to_json
from dlcv.runtime.files import make_folder, write_bytes

FILES = {"bench.json": to_json, "bench.csv": as_csv, "bench.md": as_markdown, "bench.html": as_page}


def write_result(result: Result, folder: Path) -> list[Path]:
    """Writes `FILES`, each whole or not at all; their paths.

    Raises:
        OutputError: when that is refused.
    """
    make_folder(folder)
    for name, text in FILES.items():
        write_bytes(folder / name, text(result).encode())
    return [folder / name for name in FILES]
