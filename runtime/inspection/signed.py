"""What the signature beside a file says, and with a key whether it holds."""

from __future__ import annotations

from pathlib import Path

from dlcv.runtime.errors import EngineError
from dlcv.runtime.provenance.signature import check_signature, find_signature


def signature_state(path: Path, key: str | None = None) -> dict[str, str]:
    """The state of a file's signature.

    Args:
        path: of the file.
        key: a public key of minisign, or a file that holds one; None: the signature is not checked.

    Returns:
        `state`: `none`, `not checked`, `verified` or `fails`; `key`: the number of the key that it claims to be of, where there
        is one; `comment`: the trusted comment, where it is verified; `problem`: why it fails, or cannot be read.

    Raises:
        UsageError, MissingPackageError: when `key` is no key, or py-minisign is not installed.
    """
    try:
        found = find_signature(path)
        claimed = {} if found is None else {"key": found.key_id}
        if key is None:
            return {"state": "none" if found is None else "not checked"} | claimed
        comment = check_signature(path, path.read_bytes(), key)
    except EngineError as error:
        return {"state": "fails", "problem": str(error)}
    return {"state": "verified"} | claimed | {"comment": comment}
