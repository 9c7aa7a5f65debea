"""Files that get their final names together or not at all: made in a hidden folder beside the output and moved at the end."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dlcv.runtime.errors import DlcvError, OutputError, UsageError
from dlcv.runtime.files import PARTIAL_SUFFIX, make_folder
from dlcv.runtime.locks import InUse, lock_folder


@contextmanager
def staging_folder(output: Path, name: str) -> Iterator[Path]:
    """A hidden folder in the output folder, gone at the end; errors from inside speak of final names.

    It is locked as long as it is used, so that what a killed export left is told from another one at work.

    Raises:
        OutputError: when nothing can be written there.
        UsageError: when another export of that name into that folder is at work.
    """
    make_folder(output)
    try:
        staging = Path(tempfile.mkdtemp(prefix=f".{name}.", suffix=PARTIAL_SUFFIX, dir=output))
    except OSError as error:
        raise OutputError(
            f"cannot write into {output}: {error.strerror or error}; choose another folder with --output"
        ) from error
    lock = None
    try:
        lock = lock_folder(staging)
        if not staging.is_dir():  # another export that began at this moment took it for one that was left
            raise InUse
        if lock is not None:
            _remove_left(output, name, staging)
        yield staging
    except InUse:
        raise UsageError(
            f"another export of {name} into {output} is at work; wait for it, or name another folder with --output"
        ) from None
    except OSError as error:
        raise OutputError(f"cannot write into {output}: {error.strerror or error}") from error
    except DlcvError as error:
        error.args = tuple(
            final_names(argument, staging) if isinstance(argument, str) else argument for argument in error.args
        )
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        if lock is not None:
            os.close(lock)


def _remove_left(output: Path, name: str, mine: Path) -> None:
    """Removes the folders of exports that were killed; raises InUse for one at work."""
    for other in output.glob(f".{glob.escape(name)}.*{PARTIAL_SUFFIX}"):
        if other != mine and other.is_dir() and (lock := lock_folder(other)) is not None:
            shutil.rmtree(other, ignore_errors=True)
            os.close(lock)


def final_names(text: str, staging: Path) -> str:
    """`text` with final names in place of those in the staging folder."""
    return text.replace(str(staging / "x")[:-1], str(staging.parent / "x")[:-1])


def move_all(staging: Path, output: Path) -> tuple[Path, ...]:
    """Moves the files to their final names, the sidecar last; when one cannot be moved, all names hold what they held before.

    Raises:
        OutputError: when one cannot be moved.
    """
    moved: list[Path] = []
    new = sorted(staging.iterdir(), key=lambda path: (path.suffix == ".json", path.name))
    before = staging / ".before"
    before.mkdir()
    for path in new:
        target = output / path.name
        try:
            _keep(target, before / path.name)
            os.replace(path, target)
        except OSError as error:
            for name in (*(done.name for done in moved), path.name):
                _put_back(before / name, output / name, made=output / name in moved)
            raise OutputError(f"cannot write {target}: {error.strerror or error}") from error
        moved.append(target)
    return tuple(moved)


def _keep(target: Path, kept: Path) -> None:
    """A second name for an earlier export's file, so that its own is never without a file; where there are no links, it is moved."""
    if not target.is_symlink() and not target.is_file():
        return
    try:
        os.link(target, kept, follow_symlinks=False)
    except OSError:
        os.replace(target, kept)


def _put_back(kept: Path, target: Path, *, made: bool) -> None:
    """The earlier export's file under its name; a file that was `made` where there was none is removed."""
    with suppress(OSError):  # the first error is the one to tell
        if kept.is_symlink() or kept.exists():
            os.replace(kept, target)
        elif made:
            target.unlink()
