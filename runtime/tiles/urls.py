"""Tiles that are no local files: `s3://bucket/tiles/`, and whatever else fsspec knows; the package is loaded on first use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from datetime import datetime
from glob import has_magic
from posixpath import basename, relpath
from typing import Any

from dlcv.runtime.errors import DlcvError, MissingPackageError, TileError, UsageError

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


def is_url(text: str) -> bool:
    """Whether a source or a tile's place is a URL, not a path."""
    return "://" in text and _URL.match(text) is not None


def files_at(source: str) -> Iterator[tuple[str, str]]:
    """The files that a URL speaks of: one file, all below a folder, or those that a pattern matches, sorted.

    Yields:
        The file's own URL, and its path below the folder, or below the last folder in the pattern that holds no wildcard.

    Raises:
        UsageError: when nothing is there, or it cannot be listed.
        MissingPackageError: when the package for this kind of URL is not installed.
    """
    system, path = _file_system(source)
    system.invalidate_cache()  # of a run before in this process
    try:
        if has_magic(path):
            fixed = path[: re.search(r"[*?\[]", path).start()].rpartition("/")[0]  # type: ignore[union-attr]
            found = {name: relpath(name, fixed) for name in system.glob(path) if not system.isdir(name)}
        elif system.isdir(path):
            found = {name: relpath(name, path) for name in system.find(path)}
        else:
            found = {path: basename(path)} if system.exists(path) else {}
    except Exception as error:  # each kind of file system has its own
        raise UsageError(f"{source} cannot be listed: {_words(error)}") from error
    if not found:
        raise UsageError(f"{source} does not exist, or holds nothing")
    for name in sorted(found, key=lambda name: found[name]):
        yield str(system.unstrip_protocol(name)), found[name]


def read_url(where: str, max_bytes: int, size: int | None = None) -> bytes:
    """The bytes of a file at a URL.

    Args:
        where: the URL.
        max_bytes: the most that are read.
        size: what the file has, where it was asked already: each question is a request to the storage.

    Raises:
        TileError: when it cannot be read, or is larger than `max_bytes`.
    """
    try:
        system, path = _file_system(where)
        if size is None:
            size = system.info(path).get("size")
        if size is not None and size > max_bytes:
            raise TileError(f"the file has {size} bytes, more than the limit of {max_bytes}; cut it into tiles")
        return bytes(system.cat_file(path))
    except FileNotFoundError:
        raise TileError("there is no such file") from None
    except TileError:
        raise
    except Exception as error:  # each kind of file system has its own
        raise TileError(f"the file cannot be read: {_words(error)}") from error


def state_of(where: str) -> tuple[int, int] | None:
    """Bytes of the file at a URL, and when it was written last, in nanoseconds since 1970; None where either is not told."""
    try:
        system, path = _file_system(where)
        if "file" in system.protocol:  # as where it is named without file://
            facts = os.stat(path)
            return facts.st_size, facts.st_mtime_ns
        info = system.info(path)
        told = (info.get(name) for name in ("LastModified", "mtime", "last_modified"))  # s3fs, gcsfs, adlfs
        written = next((time for time in told if isinstance(time, datetime)), None) or system.modified(path)
        return int(info["size"]), round(written.timestamp() * 1e6) * 1000
    except Exception:  # each kind of file system has its own, and some tell no time
        return None


def _file_system(url: str) -> tuple[Any, str]:
    try:
        import fsspec
    except ImportError as error:
        raise MissingPackageError("fsspec", "read tiles at URLs", "pip install 'dlcv-edge[urls]'") from error
    try:
        system, path = fsspec.core.url_to_fs(url)
    except ImportError as error:  # fsspec's own words name the package
        kind = url.partition("://")[0]
        package = {"s3": "dlcv-edge[s3]"}.get(kind, f"fsspec[{kind}]")
        raise MissingPackageError(f"what fsspec needs for {kind}://", "read it", f"pip install '{package}'") from error
    except ValueError as error:
        raise UsageError(f"{url}: {_words(error)}") from error
    return system, str(path)


def _words(error: Exception) -> str:
    text = str(error) if isinstance(error, DlcvError) else getattr(error, "strerror", None) or str(error)
    return text.strip().splitlines()[0][:300] if text.strip() else type(error).__name__
