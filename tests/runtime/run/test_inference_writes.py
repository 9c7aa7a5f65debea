"""Results that cannot be written: the run ends in a sentence, and what is there is whole."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from infer_runs import rows, summary_of

from dlcv.runtime.errors import OutputError
from dlcv.runtime.masks import read_mask
from dlcv.runtime.records.manifest import DONE
from dlcv.runtime.run.inference import Summary


def test_an_output_that_is_a_file(run: Callable[..., Summary], tile_folder: Path, masks: Path) -> None:
    masks.write_text("x")
    with pytest.raises(OutputError, match=r"cannot make the folder .*masks: File exists; choose another with --output"):
        run(tile_folder)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_write_that_is_refused_ends_the_run_with_whole_masks(
    run: Callable[..., Summary], tile_folder: Path, masks: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = os.replace

    def refuse(source: Any, target: Any) -> None:
        if Path(target).name in ("d.png.png", "e.png.png"):
            raise OSError(number, os.strerror(number))
        real(source, target)

    monkeypatch.setattr("dlcv.runtime.files.os.replace", refuse)
    with pytest.raises(OutputError, match=rf"^cannot write .*(d|e)\.png\.png: {os.strerror(number)}$"):
        run(tile_folder)
    monkeypatch.undo()
    for row in rows(masks).values():
        assert row.status == DONE
        assert read_mask(masks / row.output).shape == (64, 64)
    assert not list(masks.rglob("*.partial"))
    assert summary_of(masks)["complete"] is False
    assert run(tile_folder, resume=True).done == 6


def test_a_file_where_a_folder_must_be_is_those_tiles_failure(
    run: Callable[..., Summary], tile_folder: Path, masks: Path
) -> None:
    masks.mkdir()
    (masks / "sub").write_text("in the way")
    summary = run(tile_folder)
    assert (summary.done, summary.failed) == (2, 4)
    assert "cannot make the folder" in rows(masks)["sub/c.png"].reason
