"""Whether an engine may be loaded: its hash, its signature, its sidecar, and what its graph would pull in from outside.

`check_engine` runs before any library opens the file. A plan is executable content, and a graph may name other files.
"""

from __future__ import annotations

from pathlib import Path

from dlcv.runtime.card.sidecar import check_sidecar
from dlcv.runtime.errors import EngineError
from dlcv.runtime.provenance.trust import Trust

__all__ = ["Trust", "check_engine", "check_file"]


def check_engine(path: Path, kind: str, trust: Trust) -> bytes | None:
    """Holds an engine to what is asked of it, before a library opens it.

    Args:
        path: of the engine.
        kind: `onnx` or `plan`.
        trust: what is asked; the environment may ask for more.

    Returns:
        The very bytes that were checked, where a hash or a signature is asked for: the library must be given these, so that
        a file that is exchanged after the check is not run. None where neither is asked for: the library may open the path.

    Raises:
        EngineError: when the file is not the one asked for, has no signature, is not the one that its sidecar lists, or is a
            graph with weights outside its folder or with operators that need a library of their own.
        UsageError: when what is asked for is no hash or no key.
        MissingPackageError: when a signature is asked for and the library that checks it is not installed.
    """
    data = check_file(path, trust.with_environment())
    check_sidecar(path)
    if kind == "onnx":
        from dlcv.runtime.provenance.graph import check_graph

        check_graph(path, data)
    return data


def check_file(path: Path, trust: Trust) -> bytes | None:
    """Holds any file to the hash and the signature asked for; the environment is not asked.

    Returns, Raises:
        As `check_engine`.
    """
    if not trust.asks:
        return None
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror or error}") from error
    _check_hash(path, data, trust.hashes)
    if trust.keys:
        from dlcv.runtime.provenance.signature import check_signature
    for key in trust.keys:
        check_signature(path, data, key)
    return data


def _check_hash(path: Path, data: bytes, allowed: tuple[str, ...]) -> None:
    import hashlib

    found = hashlib.sha256(data).hexdigest()
    if allowed and found not in allowed:
        raise EngineError(
            f"{path} has the SHA-256 {found}, and --require-hash wants {' or '.join(allowed)}; "
            "take the file that you trust, or pass this hash once you have checked where it comes from"
        )
