"""Files that are whole or absent: written to a temporary name beside the final one and renamed; and their hashes."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dlcv.runtime.errors import OutputError, UsageError

PARTIAL_SUFFIX = ".partial"


def partial_name(path: Path) -> Path:
    """The temporary name beside `path`, one for each process and path; shortened where a file system's 255 bytes would be passed."""
    return hidden_name(path, f".{os.getpid()}{PARTIAL_SUFFIX}")


def hidden_name(path: Path, suffix: str) -> Path:
    """A name beside `path` that begins with a dot, and ends so; shortened where a file system's 255 bytes would be passed."""
    name = os.fsencode(path.name)
    if len(name) + len(suffix) > 240:  # two long names may begin alike, so what is cut off is told by a hash
        import hashlib  # the start of the library does not pay for what is wanted rarely

        suffix = f".{hashlib.sha256(name).hexdigest()[:16]}{suffix}"
    return path.with_name("." + os.fsdecode(name[: 240 - len(suffix)]) + suffix)


def remove_partials(folder: Path) -> None:
    """Removes what a killed process left half written in `folder`; call it only while no other process writes there."""
    try:
        with os.scandir(folder) as entries:  # GDAL puts temporary files of its own beside ours: NAME.partial.ovr.tmp
            left = [entry.name for entry in entries if entry.name[0] == "." and PARTIAL_SUFFIX in entry.name]
    except FileNotFoundError:
        return
    for name in left:
        remove_file(folder / name)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a temporary path to write to; on success it is renamed to `path`, on any error it is removed.

    A device or a pipe (`--json /dev/stdout`) cannot be renamed over without losing it: it is written to as it is.

    Raises:
        OutputError: when the file cannot be written or renamed (no space, no permission).
    """
    if _is_device(path):
        try:
            yield path
        except OSError as error:
            raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
        return
    temporary = partial_name(path)
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        remove_file(temporary)
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    except BaseException:
        remove_file(temporary)
        raise


def _is_device(path: Path) -> bool:
    """Whether something is there that is neither a file nor a folder."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def write_bytes(path: Path, data: bytes | memoryview) -> None:
    """Writes `data` to `path`, whole or not at all.

    Raises:
        OutputError: when the file cannot be written.
    """
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        file.write(data)


def require_writable(path: Path) -> None:
    """Before work whose result goes to `path`; what is there stays as it is, and nothing new is left.

    Raises:
        OutputError: when no file could be written there.
    """
    trial = partial_name(path)
    try:
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(path.stat().st_mode):
                raise OutputError(f"cannot write {path}: it is a folder; name a file in it")
        if not _is_device(path):
            open(trial, "xb").close()
            remove_file(trial)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def make_folder(folder: Path) -> None:
    """Makes `folder` and its parents.

    Raises:
        OutputError: when that is refused.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot make the folder {folder}: {error.strerror or error}; choose another with --output"
        ) from error


@contextmanager
def listing(folder: str) -> Iterator[Iterable[os.DirEntry[str]]]:
    """A folder's entries, as `os.scandir` gives them, to be asked inside `with`: what they are is then asked by name alone,
    which takes 0.8 of asking by path. An entry's `path` is not to be used.

    Raises:
        OSError, ValueError: when it cannot be listed.
    """
    if os.scandir not in os.supports_fd:  # Windows, where an entry knows all already
        with os.scandir(folder) as entries:
            yield entries
        return
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with os.scandir(place) as there:
            yield there
    finally:
        os.close(place)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    import hashlib

    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def remove_file(path: Path) -> None:
    """Removes a file, if it is there and that is allowed."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        pass  # the error that brought us here is the one to tell


def checkpoint_files(paths: Iterable[Path]) -> list[Path]:
    """The files themselves; a folder stands for all checkpoints (`*.pt`) in it, by name.

    Raises:
        UsageError: for a folder without any, and for a run's own: `best.pt` and `last.pt` are one training and no ensemble.
    """
    files: list[Path] = []
    for path in paths:
        inside = sorted(path.glob("*.pt")) if path.is_dir() else [path]
        if not inside:
            raise UsageError(f"{path} holds no checkpoints (*.pt); train with --keep-best K, or name files")
        if path.is_dir() and any(file.name in ("best.pt", "last.pt") for file in inside):
            raise UsageError(
                f"{path} is a run's folder, and best.pt and last.pt are no ensemble; name {path / 'best.pt'}, or {path / 'kept'}"
            )
        files += inside
    return files
