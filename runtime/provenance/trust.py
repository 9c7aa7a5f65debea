"""What an engine must prove before it is loaded, as the user asked for it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from dlcv.runtime.errors import UsageError

ENVIRONMENT = "DLCV_REQUIRE_SIGNATURE"
"""A public key that every engine must be signed with, whatever options say. Set and empty, it refuses every engine."""


@dataclass(frozen=True)
class Trust:
    """What an engine must prove before a library opens it; nothing by default.

    Attributes:
        hashes: SHA-256 in lower-case hexadecimal; the file must have one of them. Empty: any.
        keys: public keys of minisign, each a file or the key itself; the file must be signed with every one.
        host_code: whether code for the CPU inside a plan (version-compatible plans carry their runtime) may be run.
    """

    hashes: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    host_code: bool = False

    @classmethod
    def of(cls, hashes: Sequence[str] | str = (), key: str | None = None, host_code: bool = False) -> Trust:
        """From what a user typed.

        Raises:
            UsageError: when a hash is not 64 hexadecimal digits.
        """
        wanted = [hashes] if isinstance(hashes, str) else hashes
        for value in wanted:
            if not re.fullmatch(r"[0-9a-fA-F]{64}", value):
                raise UsageError(
                    f"--require-hash {value!r} is no SHA-256, which has 64 hexadecimal digits; print that of a file with: dlcv-inspect FILE"
                )
        return cls(tuple(value.lower() for value in wanted), () if key is None else (key,), host_code)

    @property
    def asks(self) -> bool:
        """Whether a hash or a signature is asked for."""
        return bool(self.hashes or self.keys)

    def with_environment(self) -> Trust:
        """With the key that the environment asks for, too: an option cannot take it away."""
        key = os.environ.get(ENVIRONMENT)
        return self if key is None or key in self.keys else replace(self, keys=(*self.keys, key))
