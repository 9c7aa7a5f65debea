"""The command, as it is typed."""

from __future__ import annotations

import shutil
from pathlib import Path

from click.testing import CliRunner

from dlcv.train.cli.report import main


def test_one_run_and_several(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """A folder with best.pt and probe/ alone is run enough."""
    runs = [Path(shutil.copytree(tiny_checkpoint.parent, tmp_path / name)) for name in ("a", "b")]
    done = CliRunner().invoke(main, [str(runs[0]), "--device", "cpu"])
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{runs[0] / 'report/index.html'}\n"
    assert "the run kept no history.csv, so there are no curves\n" in done.stderr
    assert "pass --data DIR where it has moved" in done.stderr
    done = CliRunner().invoke(main, [*map(str, runs), "--output", str(tmp_path / "both")])
    assert done.exit_code == 0, done.stderr
    assert done.stdout == f"{tmp_path / 'both/index.html'}\n"


def test_what_is_for_one_run_is_refused_for_several(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [str(tmp_path), str(tmp_path), "--features"])
    assert done.exit_code == 2
    assert "--features are for one run" in done.stderr


def test_no_run_is_told(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, [str(tmp_path / "gone")])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("dlcv-report: there is no run ")
