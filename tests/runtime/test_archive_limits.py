"""Archives that claim more than they hold, before anything of them is unpacked."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from dlcv.runtime.archive_limits import MOST_MEMBERS, member_sizes
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.errors import CardError, EngineError
from dlcv.runtime.scoring import reference as reference_module
from dlcv.runtime.scoring.reference import read_reference


def archive(**members: bytes) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(name, content)
    return buffer


def test_what_is_claimed_is_added_up() -> None:
    with zipfile.ZipFile(archive(a=bytes(600), b=bytes(400))) as opened:
        assert member_sizes(opened, 1000) == {"a": 600, "b": 400}
        with pytest.raises(ValueError, match="its members claim more bytes than the file can hold"):
            member_sizes(opened, 999)


def test_names_stand_once_and_are_not_endless(monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(archive(a=b"", b=b"")) as opened:
        monkeypatch.setattr("dlcv.runtime.archive_limits.MOST_MEMBERS", 1)
        with pytest.raises(ValueError, match="2 members, expected at most 1, each name once"):
            member_sizes(opened, 10)
        monkeypatch.setattr("dlcv.runtime.archive_limits.MOST_MEMBERS", MOST_MEMBERS)
        opened.infolist()[1].filename = "a"
        with pytest.raises(ValueError, match="each name once"):
            member_sizes(opened, 10)


@pytest.fixture
def reference(tmp_path: Path, tiny_card: ModelCard) -> Callable[..., Path]:
    def make(**members: bytes) -> Path:
        buffer = archive(**{"dlcv.json": tiny_card.to_json().encode(), **members})
        (tmp_path / "a.reference.npz").write_bytes(buffer.getvalue())
        return tmp_path / "a.reference.npz"

    return make


def npy(array: np.ndarray) -> bytes:  # type: ignore[type-arg]
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def test_a_reference_that_unpacks_to_too_much(reference: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = reference(**{"mask_ab.npy": npy(np.zeros((1000, 1000), np.uint8))})
    assert path.stat().st_size < 50_000
    assert list(read_reference(path).answers) == ["ab"]
    monkeypatch.setattr(reference_module, "_MOST_BYTES", 500_000)
    with pytest.raises(EngineError, match="its members claim more bytes than the file can hold"):
        read_reference(path)


@pytest.mark.parametrize(
    "member",
    [
        ("mask_ab", b"no array"),
        (
            "mask_ab.npy",
            b"\x93NUMPY\x01\x00\x08\x00{'descr'",
        ),  # ends inside a bracket: numpy's tokenizer raises its own
        ("mask_ab.npy", npy(np.zeros(4, np.uint8)).replace(b"(4,)", b"(4E")),
        ("logits_ab", b"no array"),
    ],
)
def test_members_that_are_no_arrays(reference: Callable[..., Path], member: tuple[str, bytes]) -> None:
    good = {"mask_cd.npy": npy(np.zeros((2, 2), np.uint8))}
    with pytest.raises(EngineError) as told:
        read_reference(reference(**good, **dict([member])))
    assert "\n" not in str(told.value)


def test_a_card_whose_size_is_a_lie(tmp_path: Path, tiny_card: ModelCard) -> None:
    """The archive's directory says that 2 GB belong to it, for which Python's zipfile asks when it is to read all."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as made:
        made.writestr("best/dlcv.json", tiny_card.to_json())
    data = bytearray(buffer.getvalue())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 20, 0x7FFF_FFFF)
    (tmp_path / "best.pt").write_bytes(data)
    tracemalloc.start()
    try:
        assert read_card(tmp_path / "best.pt") == tiny_card
    except CardError as error:  # newer releases of Python notice it themselves
        assert "is damaged" in str(error)  # noqa: PT017
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20
