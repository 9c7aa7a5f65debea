"""The sidecar `NAME.json` that export writes beside its files: an engine must be the very file that it lists."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dlcv.runtime.errors import EngineError
from dlcv.runtime.files import sha256_of

REFERENCE_SUFFIX = ".reference.npz"
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
    files = listed_files(sidecar)
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


def sidecar_state(path: Path, sha256: str) -> str:
    """What the sidecar beside a file says of it, in a word.

    Args:
        path: of an `.onnx`, a `.plan` or a `.reference.npz`.
        sha256: of the file.

    Returns:
        `none` where no sidecar of dlcv-export lies beside it; `not listed`; `matches`; or `differs`: another hash is listed.
    """
    files = listed_files(sidecar_of(path))
    if not files:
        return "none"
    listed = files.get(path.name)
    if not isinstance(listed, dict):
        return "not listed"
    return "matches" if listed.get("sha256") == sha256 else "differs"


def sidecar_of(path: Path) -> Path:
    """`NAME.json` of `NAME.onnx`, `NAME.plan` or `NAME.reference.npz`."""
    if path.name.endswith(REFERENCE_SUFFIX):
        return path.with_name(path.name.removesuffix(REFERENCE_SUFFIX) + ".json")
    return path.with_suffix(".json")


def compiled_of_plan(path: Path) -> str:
    """What the sidecar of a plan says of what its layers were compiled to, in a line; empty where it says nothing."""
    if not listed_files(sidecar_of(path)):
        return ""
    plan = json.loads(sidecar_of(path).read_bytes()).get("plan")
    proof = plan.get("proof") if isinstance(plan, dict) else None
    sentence = proof.get("sentence") if isinstance(proof, dict) else None
    return sentence if isinstance(sentence, str) else ""


def listed_files(sidecar: Path) -> dict[str, Any]:
    """What a sidecar lists, by file name; empty for whatever is not a sidecar."""
    try:
        if sidecar.stat().st_size > _MAX_BYTES:
            return {}
        values = json.loads(sidecar.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    files = values.get("files") if isinstance(values, dict) and "card" in values else None
    return files if isinstance(files, dict) else {}
