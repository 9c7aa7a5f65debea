"""Files are whole or absent."""

from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path

import pytest

from dlcv.runtime.errors import OutputError, UsageError
from dlcv.runtime.files import (
    checkpoint_files,
    make_folder,
    partial_name,
    remove_partials,
    sha256_of,
    whole_file,
    write_bytes,
)


def test_writes_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a.bin", b"one")
    write_bytes(tmp_path / "a.bin", memoryview(b"two"))
    assert (tmp_path / "a.bin").read_bytes() == b"two"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt()])
def test_an_error_inside_keeps_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(type(error)), whole_file(path) as temporary:  # noqa: PT012 - the body is what fails
        temporary.write_bytes(b"half")
        raise error
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


def test_the_final_name_appears_only_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    with whole_file(path) as temporary:
        temporary.write_bytes(b"x")
        assert not path.exists()
        assert temporary.parent == path.parent, "a rename is atomic within one file system only"
    assert path.read_bytes() == b"x"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_told_and_the_old_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with (
        pytest.raises(OutputError, match=rf"^cannot write .*a\.bin: {os.strerror(errno.ENOSPC)}$"),
        whole_file(path),
        open("/dev/full", "wb") as file,
    ):
        file.write(b"new")
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.bin"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_device_is_written_to_and_stays_a_device() -> None:
    """A rename over it, as root, would leave a file in its place."""
    with pytest.raises(OutputError, match=f"^cannot write /dev/full: {os.strerror(errno.ENOSPC)}$"):
        write_bytes(Path("/dev/full"), b"x")
    write_bytes(Path("/dev/null"), b"x")
    assert Path("/dev/full").is_char_device()
    assert Path("/dev/null").is_char_device()


def test_a_folder_in_the_way_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(OutputError, match=r"^cannot write .*a\.bin: "):
        write_bytes(tmp_path / "a.bin", b"x")
    assert os.listdir(tmp_path) == ["a.bin"]
    with pytest.raises(OutputError, match=r"no/b\.bin: No such file"):
        write_bytes(tmp_path / "no/b.bin", b"x")


def test_make_folder(tmp_path: Path) -> None:
    make_folder(tmp_path / "a/b")
    make_folder(tmp_path / "a/b")
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file", tmp_path / "file/below"):
        with pytest.raises(OutputError, match=f"^cannot make the folder {path}: .*; choose another with --output$"):
            make_folder(path)


def test_temporary_names_differ_even_where_long_names_begin_alike(tmp_path: Path) -> None:
    names = ["x" * 250 + end for end in ("1.png", "2.png")] + ["é" * 125 + ".png", "short.png", "\udcff" * 250]
    partials = [partial_name(tmp_path / name).name for name in names]
    assert len(set(partials)) == len(names)
    assert all(len(os.fsencode(name)) <= 255 and name.startswith(".") for name in partials)
    (tmp_path / partials[2]).write_bytes(b"the file system takes it")


def test_remove_partials_takes_only_those(tmp_path: Path) -> None:
    partial_name(tmp_path / "a.png").write_bytes(b"half")
    for name in ("a.png", ".hidden", "x.partial"):
        (tmp_path / name).write_bytes(b"")
    remove_partials(tmp_path)
    remove_partials(tmp_path / "nowhere")
    assert sorted(os.listdir(tmp_path)) == [".hidden", "a.png", "x.partial"]


def test_sha256_of(tmp_path: Path) -> None:
    data = bytes(range(256)) * 9000  # more than one block
    (tmp_path / "a").write_bytes(data)
    assert sha256_of(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_a_folder_stands_for_its_checkpoints(tmp_path: Path) -> None:
    for name in ("epoch-0010.pt", "epoch-0002.pt", "notes.txt"):
        (tmp_path / name).touch()
    files = [tmp_path / "epoch-0002.pt", tmp_path / "epoch-0010.pt"]
    assert checkpoint_files([tmp_path]) == files
    assert checkpoint_files([files[1], tmp_path / "gone.pt"]) == [files[1], tmp_path / "gone.pt"]


@pytest.mark.parametrize("name", ["best.pt", "last.pt"])
def test_a_runs_own_folder_is_no_ensemble(tmp_path: Path, name: str) -> None:
    for file in (name, "other.pt"):
        (tmp_path / file).touch()
    with pytest.raises(UsageError) as caught:
        checkpoint_files([tmp_path])
    assert str(caught.value) == (
        f"{tmp_path} is a run's folder, and best.pt and last.pt are no ensemble; name {tmp_path / 'best.pt'}, or {tmp_path / 'kept'}"
    )
    assert checkpoint_files([tmp_path / name]) == [tmp_path / name]


def test_a_folder_without_checkpoints_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no checkpoints \(\*\.pt\); train with --keep-best K, or name files"):
        checkpoint_files([tmp_path])
