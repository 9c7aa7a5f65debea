"""The sidecar `NAME.json` that export writes beside its files: an engine must be the very file that it lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dlcv.runtime.errors import EngineError
from dlcv.runtime.files import sha256_of

_MAX_BYTES = 1 << 20
"""A longer JSON is none of ours."""


def check_sidecar(path: Path) -> None:
    """Holds an engine to the hash in the sidecar of the same name beside it.

    Nothing is checked where there is no sidecar, or where it is not one of dlcv-export.

    Args:
        path: of an `.onnx` or a `.plan`.

    Raises:
        EngineError: when the sidecar does not list this file (it is of another export), or lists it with another hash, or
            when the engine cannot be read.
    """
    sidecar = path.with_suffix(".json")
    files = _files(sidecar)
    if not files:
        return
    listed = files.get(path.name)
    if not isinstance(listed, dict):
        raise EngineError(
            f"{path} is not of the export that wrote {sidecar.name}, which does not list it; "
            f"export it again, or remove {sidecar.name} if you trust the file"
        )
    try:
        found = sha256_of(path)
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror or error}") from error
    if found != listed.get("sha256"):
        raise EngineError(
            f"{path} is not the file that dlcv-export wrote: {sidecar.name} holds another hash; "
            f"export it again, or remove {sidecar.name} if you trust the file"
        )


def _files(sidecar: Path) -> dict[str, Any]:
    """What a sidecar lists, by file name; empty for whatever is not a sidecar."""
    try:
        if sidecar.stat().st_size > _MAX_BYTES:
            return {}
        values = json.loads(sidecar.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    files = values.get("files") if isinstance(values, dict) and "card" in values else None
    return files if isinstance(files, dict) else {}
