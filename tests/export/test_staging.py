"""The hidden folder of an export: no two exports share one, or take each other's away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from dlcv.export import staging as staging_module
from dlcv.export.staging import move_all, staging_folder
from dlcv.runtime.errors import OutputError, UsageError
from dlcv.runtime.locks import lock_folder

pytestmark = pytest.mark.skipif(os.name == "nt", reason="folders are locked on a Unix only")


@pytest.mark.parametrize("opened", [False, True])
def test_one_that_another_took_away_before_it_was_locked_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opened: bool
) -> None:
    def too_late(folder: Path) -> int | None:
        """The other export has locked, removed and let go of the folder before this one locks it, or while it does."""
        held = lock_folder(folder) if opened else None
        shutil.rmtree(folder)
        return held if opened else lock_folder(folder)

    monkeypatch.setattr(staging_module, "lock_folder", too_late)
    with (
        pytest.raises(UsageError, match=r"another export of m into .* is at work; wait for it"),
        staging_folder(tmp_path / "out", "m"),
    ):
        raise AssertionError("there is no folder to write into")
    assert list((tmp_path / "out").iterdir()) == []


NAMES = ("m.onnx", "m.plan", "m.reference.npz", "m.json")


def _export(output: Path, text: str, names: tuple[str, ...] = NAMES) -> tuple[Path, ...]:
    with staging_folder(output, "m") as staging:
        for name in names:
            (staging / name).write_text(text)
        return move_all(staging, output)


def _texts(output: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in output.iterdir()}


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("at", NAMES)
def test_when_one_cannot_be_moved_the_earlier_export_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str, links: bool
) -> None:
    """The earlier one had no reference: what was made where nothing was is gone again."""
    earlier = tuple(name for name in NAMES if name != "m.reference.npz")
    _export(tmp_path, "earlier", earlier)
    replace = os.replace

    def refused(old: Path, new: Path) -> None:
        if new == tmp_path / at and old.parent.name != ".before":
            raise OSError(28, "No space left on device")
        replace(old, new)

    def no_links(*_: object, **__: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "replace", refused)
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    with pytest.raises(OutputError, match=rf"^cannot write {tmp_path}/{at}: No space left on device$"):
        _export(tmp_path, "later")
    assert _texts(tmp_path) == dict.fromkeys(earlier, "earlier")
    monkeypatch.undo()
    assert [path.name for path in _export(tmp_path, "later")] == [*sorted(NAMES[:3]), "m.json"]
    assert _texts(tmp_path) == dict.fromkeys(NAMES, "later")


def test_a_folder_in_the_way_is_left_and_so_is_a_link(tmp_path: Path) -> None:
    _export(tmp_path, "earlier", ("m.onnx", "m.json"))
    (tmp_path / "elsewhere").write_text("linked to")
    (tmp_path / "m.onnx").unlink()
    (tmp_path / "m.onnx").symlink_to("elsewhere")
    (tmp_path / "m.plan").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*m\.plan: Is a directory$"):
        _export(tmp_path, "later")
    assert (tmp_path / "m.plan").is_dir()
    assert (os.readlink(tmp_path / "m.onnx"), (tmp_path / "elsewhere").read_text()) == ("elsewhere", "linked to")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["elsewhere", "m.json", "m.onnx", "m.plan"]
