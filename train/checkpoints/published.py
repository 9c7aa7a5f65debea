"""Published weights: fetched once by URL, checked by hash, kept where torch.hub keeps them.

A file's name ends in the first hexadecimal digits of its SHA-256 (`resnet18-f37072fd.pth`), as torchvision's do.
"""

from __future__ import annotations

import re
import socket
import ssl
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import torch

from dlcv.runtime.errors import CheckpointError, OutputError, UsageError, one_line
from dlcv.runtime.files import sha256_of, whole_file
from dlcv.runtime.progress import on_a_terminal
from dlcv.train.models.registry import list_models, model_entry

TIMEOUT_S = 30.0
"""How long a connection may stay silent, in seconds."""

_NETWORK_ERRORS = (URLError, HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


def published_file(model_name: str) -> Path:
    """The published weights of a model: from the cache when its hash is right, else fetched.

    A cached file with a wrong hash is deleted, since whoever finds it next would use it.

    Args:
        model_name: one of `list_models()`.

    Raises:
        UsageError: for an unknown model, or one without published weights; lists those that have some.
        CheckpointError: when the file cannot be fetched (says where to put it), or comes with a wrong hash.
        OutputError: when the cache cannot be written.
    """
    url = _published_url(model_name)
    path = _cache_folder() / Path(urlsplit(url).path).name
    expected = _hash_in(path.name)
    was_bad = False
    try:
        if path.is_file():
            if sha256_of(path).startswith(expected):
                return path
            path.unlink()
            was_bad = True
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot use {path}: {error.strerror or error}; set TORCH_HOME to another folder") from error
    _fetch(url, path, expected, before=f"{path} had a wrong hash and was deleted; " if was_bad else "")
    return path


def _published_url(model_name: str) -> str:
    url = model_entry(model_name).published
    if url:
        return url
    having = [name for name in list_models() if model_entry(name).published]
    raise UsageError(
        f"there are no published weights of {model_name}; train from scratch, or pass a file with --init FILE; "
        f"models with published weights: {', '.join(having) or 'none'}"
    )


def _cache_folder() -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's hint about an old variable of the environment
        return Path(torch.hub.get_dir()) / "checkpoints"


def _hash_in(file_name: str) -> str:
    found = re.search(r"-([0-9a-f]{8,64})\.", file_name)
    if found is None:
        raise UsageError(f"{file_name} carries no hash; expected 8 or more digits of its SHA-256, NAME-0123abcd.pth")
    return found[1]


def _fetch(url: str, path: Path, expected: str, before: str) -> None:
    """Fetches to a temporary name; `path` is there only when the hash is right.

    Args:
        before: the beginning of the error's sentence.
    """
    with whole_file(path) as temporary:
        try:
            _download(url, temporary)
        except _NETWORK_ERRORS as error:
            if isinstance(error, HTTPError):
                error.close()  # it holds the connection
            reason = one_line(getattr(error, "reason", None) or error) or type(error).__name__
            raise CheckpointError(
                f"{before}cannot fetch {url} ({reason}); fetch it on a machine with a network and put it at {path}"
            ) from error
        got = sha256_of(temporary)
        if not got.startswith(expected):
            raise CheckpointError(
                f"{before}{url} came with a wrong hash and was deleted: expected {expected}, got {got[: len(expected)]}; "
                f"try again, or put the right file at {path}"
            )


def _download(url: str, path: Path) -> None:
    with _silence_limit(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nothing of torch's that the caller could act on
        torch.hub.download_url_to_file(url, str(path), progress=on_a_terminal())


@contextmanager
def _silence_limit() -> Iterator[None]:
    """torch.hub passes no timeout, so a server that goes silent would hold it for ever; the default of new sockets does."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
