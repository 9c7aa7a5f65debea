"""What the tests of trust share: a signer, and an engine to sign."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

Sign = Callable[..., None]


class Signer:
    """A key pair of py-minisign; `public` is the public key as text."""

    def __init__(self) -> None:
        minisign = pytest.importorskip("minisign", reason="the sign extra is not installed")
        self._pair = minisign.KeyPair.generate()
        self.public = self._pair.public_key.to_base64().decode()

    def sign(self, path: Path, comment: str = "a test") -> Path:
        """Writes the signature beside the file."""
        with open(path, "rb") as file:
            signature = self._pair.secret_key.sign(file.read(), trusted_comment=comment)
        beside = path.with_name(path.name + ".minisig")
        beside.write_bytes(bytes(signature))
        return beside


@pytest.fixture(scope="session")
def signer() -> Signer:
    """Whose engines are trusted."""
    return Signer()


@pytest.fixture
def engine(tiny_onnx: Path, tmp_path: Path) -> Path:
    """A graph of one's own, `fcn8s.onnx`; nothing lies beside it."""
    return Path(shutil.copyfile(tiny_onnx, tmp_path / "fcn8s.onnx"))
