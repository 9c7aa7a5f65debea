"""`make demo` itself is run by CI; here, that it empties no folder but its own."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from dlcv.benchmarks.demo import MARKER, main


def test_a_folder_of_somebody_else_is_not_emptied(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    result = CliRunner().invoke(main, [str(tmp_path)])
    assert result.exit_code == 2
    assert "holds files that no demo wrote; name an empty or a new folder" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    assert not (tmp_path / MARKER).exists()
