"""A run that is resumed: what is done is skipped, what another run made is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from infer_runs import KEYS, OURS, files_in, rows, rows_of_done, summary_of

from dlcv.runtime.errors import UsageError
from dlcv.runtime.run.folder import RunFolder
from dlcv.runtime.run.inference import Summary


def test_resume_skips_what_is_done_and_runs_the_rest(
    run: Callable[..., Summary], tile_folder: Path, masks: Path
) -> None:
    whole = (tile_folder / "b.png").read_bytes()
    (tile_folder / "b.png").write_bytes(whole[:100])
    assert run(tile_folder).failed == 1
    (masks / "sub/c.png.png").unlink()
    before = {key: (masks / f"{key}.png").stat().st_mtime_ns for key in ("a.png", "sub/d.png")}
    (tile_folder / "b.png").write_bytes(whole)
    summary = run(tile_folder, resume=True)
    assert (summary.tiles, summary.done, summary.failed, summary.resumed) == (6, 6, 0, 4)
    assert rows(masks) == rows_of_done(tile_folder, masks)
    assert {key: (masks / f"{key}.png").stat().st_mtime_ns for key in before} == before
    facts = summary_of(masks)
    assert (facts["done"], facts["resumed"], facts["complete"]) == (6, 4, True)


def test_resume_takes_new_tiles_and_keeps_the_rows_of_others(
    run: Callable[..., Summary], tile_folder: Path, masks: Path
) -> None:
    run(tile_folder / "a.png", tile_folder / "b.png")
    (tile_folder / "new.png").write_bytes((tile_folder / "a.png").read_bytes())
    summary = run(tile_folder / "new.png", tile_folder / "a.png", resume=True)
    assert (summary.tiles, summary.resumed) == (2, 1)
    assert set(rows(masks)) == {"a.png", "b.png", "new.png"}


def test_resume_after_a_crash_clears_half_written_files(
    run: Callable[..., Summary], tile_folder: Path, masks: Path
) -> None:
    run(tile_folder)
    manifest = masks / "manifest.csv"
    lines = sorted(manifest.read_bytes().splitlines(keepends=True), key=lambda line: not line.startswith(b"path,"))
    kept = [line for line in lines if line.startswith((b"path,", b"a.png", b"b.png", b"sub/c"))]
    manifest.write_bytes(b"".join(kept) + b"sub/d.png,do")
    for name in ("sub/.x.png.1234.partial", "sub/deep/.y.png.1234.partial"):
        (masks / name).write_bytes(b"half")
    summary = run(tile_folder, resume=True)
    assert (summary.resumed, summary.done) == (3, 6)
    assert set(rows(masks)) == set(KEYS)
    assert files_in(masks) == OURS | {f"{key}.png" for key in KEYS}


def test_resume_with_another_engine_or_setting_is_refused(
    run: Callable[..., Summary], tile_folder: Path, tiny_graph: Callable[[str], Path]
) -> None:
    run(tile_folder)
    with pytest.raises(
        UsageError, match=r"with other settings: engine_sha256 \(.*, now .*\); start again with --overwrite"
    ):
        run(tile_folder, engine=tiny_graph("probs"), resume=True)
    with pytest.raises(
        UsageError, match=r"with other settings: fit \(windows, now resize\), overlap \(0.25, now 0.5\); start"
    ):
        run(tile_folder, fit="resize", overlap=0.5, resume=True)
    with pytest.raises(UsageError, match="holds a run already; go on with it by --resume"):
        run(tile_folder)
    assert run(tile_folder, engine=tiny_graph("probs"), overwrite=True).done == 6


def test_a_folder_in_use_is_refused(run: Callable[..., Summary], tile_folder: Path, masks: Path) -> None:
    with (
        RunFolder(masks, {}),
        pytest.raises(UsageError, match="masks is in use by another run of dlcv-infer; wait for it, or name"),
    ):
        run(tile_folder)
    assert run(tile_folder, overwrite=True).done == 6
