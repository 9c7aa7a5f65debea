"""Detached signatures of minisign (Ed25519 over BLAKE2b), `NAME.minisig` beside the file; py-minisign checks them.

The signature covers the file; a second one covers the first and the trusted comment. Both must hold.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dlcv.runtime.errors import EngineError, MissingPackageError, UsageError, one_line
from dlcv.runtime.provenance.trust import ENVIRONMENT

if TYPE_CHECKING:
    from minisign import PublicKey

SUFFIX = ".minisig"
_MAX_BYTES = 1 << 14
"""Of a signature or a key; minisign's comments end at 8 KiB."""
_KEY_CHARACTERS = 56
_PREHASHED = b"ED"


@dataclass(frozen=True)
class SignatureFile:
    """What a signature says of itself; nothing of it is proven.

    Attributes:
        data: the file's bytes.
        key_id: of the key that signed, 16 hexadecimal digits as minisign prints them.
        prehashed: whether it is over the file's hash; minisign before 0.10 signed the file itself.
    """

    data: bytes
    key_id: str
    prehashed: bool


def signature_path(path: Path) -> Path:
    """Where the signature of a file is expected, as `minisign -S` writes it."""
    return path.with_name(path.name + SUFFIX)


def find_signature(path: Path) -> SignatureFile | None:
    """The signature beside a file; None where there is none.

    Raises:
        EngineError: when it cannot be read or is none of minisign.
    """
    beside = signature_path(path)
    try:
        with open(beside, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise EngineError(f"{beside} cannot be read: {error.strerror or error}") from error
    try:
        signature = base64.b64decode(data.splitlines()[1], validate=True)
    except (IndexError, binascii.Error):
        signature = b""
    if len(data) > _MAX_BYTES or len(signature) != 74:
        raise EngineError(f"{beside} is no signature of minisign; sign again with: minisign -Sm {path}")
    return SignatureFile(data, key_id_of(signature), signature[:2] == _PREHASHED)


def key_id_of(encoded: bytes) -> str:
    """The key's number in a decoded key or signature, as minisign prints it: of 8 bytes, the last first."""
    return encoded[2:10][::-1].hex().upper()


def check_signature(path: Path, data: bytes, key: str) -> str:
    """Holds a file to its signature.

    Args:
        path: of the file; its signature is `signature_path(path)`.
        data: the file's bytes.
        key: a public key of minisign: the key itself, which begins with RW, or a file that holds it.

    Returns:
        The trusted comment, which is signed too.

    Raises:
        EngineError: when there is no signature, it is of another key, or the file is not the one that was signed.
        UsageError: when `key` is no key.
        MissingPackageError: when py-minisign is not installed.
    """
    public = _public_key(key, path)
    wanted = key_id_of(base64.b64decode(public.to_base64()))
    found = find_signature(path)
    if found is None:
        raise EngineError(
            f"{path} is not signed: there is no {signature_path(path).name} beside it, and the key {wanted} is required; "
            f"sign it with: minisign -Sm {path}"
        )
    if found.key_id != wanted:
        raise EngineError(
            f"{path} is signed with the key {found.key_id}, and {wanted} is required; "
            "take a file that the owner of this key signed, or pass the signer's public key if you trust it"
        )
    if not found.prehashed:
        raise EngineError(
            f"{signature_path(path)} is in minisign's old form, before 0.10; sign again with: minisign -Sm {path}"
        )
    return _verify(public, found, path, data)


def _verify(public: PublicKey, found: SignatureFile, path: Path, data: bytes) -> str:
    from minisign import ParseError, Signature, VerifyError

    try:
        signature = Signature.from_bytes(found.data)
    except ParseError as error:
        raise EngineError(
            f"{signature_path(path)} is damaged: {one_line(error)}; sign again with: minisign -Sm {path}"
        ) from error
    try:
        public.verify(data, signature)
    except VerifyError as error:
        raise EngineError(
            f"{path} is not what was signed with the key {found.key_id}: the file, or the trusted comment in "
            f"{signature_path(path).name}, was altered afterwards; fetch both again from where they were signed"
        ) from error
    return str(signature.trusted_comment)


def _public_key(key: str, path: Path) -> PublicKey:
    try:
        from minisign import ParseError, PublicKey
    except ImportError as error:  # another package by that name has no such classes
        command = "pip install 'dlcv-edge[sign]', or: pip install py-minisign"
        raise MissingPackageError("py-minisign", f"check the signature of {path}", command) from error
    wrong = (
        f"{key!r}, of --require-signature or {ENVIRONMENT}, is neither a public key of minisign, which has "
        f"{_KEY_CHARACTERS} characters and begins with RW, nor a file that holds one"
    )
    try:
        return PublicKey.from_base64(key)  # first: a file of that name must not take its place
    except (ParseError, ValueError):
        pass
    try:
        with open(key, "rb") as file:
            lines = file.read(_MAX_BYTES).strip().splitlines()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{wrong} ({getattr(error, 'strerror', None) or error}); make a pair with: minisign -G"
        ) from error
    try:
        return PublicKey.from_base64(lines[-1])
    except (ParseError, ValueError, IndexError) as error:
        raise UsageError(f"{wrong}; take the minisign.pub that minisign -G wrote") from error
