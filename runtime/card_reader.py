"""Where the model card stands in each kind of file: graph, plan, checkpoint, sidecar. Reads all of them, writes none.

Nothing is unpickled, no library of an engine is loaded, and files are read from their start only as far as needed.
"""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import IO

from dlcv.runtime.card import ModelCard, card_from_dict, card_from_json
from dlcv.runtime.errors import CardError, EngineError

ONNX_KEY = "dlcv"
"""The key in an ONNX file's `metadata_props`."""
PLAN_PREFIX = "dlcv1:"
"""Comes before the JSON in the name of a plan's network."""
CHECKPOINT_MEMBER = "dlcv.json"
"""The member of a checkpoint's zip archive, inside its top folder."""
PLAN_MAGICS = (b"ftrt", b"vtrt")
_MAX_CARD_BYTES = 1 << 20
_PLAN_SEARCH_BYTES = 1 << 20


def kind_of(path: Path) -> str:
    """What a file is, from its first bytes: `checkpoint`, `plan`, `sidecar`, `reference`, or `onnx` for anything else.

    Raises:
        EngineError: when the file is missing, a folder, or empty.
    """
    if path.is_dir():
        raise EngineError(f"{path} is a folder; expected a file: an .onnx, a .plan or a checkpoint")
    try:
        with open(path, "rb") as file:
            magic = file.read(4)
    except FileNotFoundError as error:
        raise EngineError(f"{path} does not exist; make it with: dlcv-export --model NAME") from error
    except OSError as error:
        raise EngineError(f"{path} cannot be read: {error.strerror}") from error
    if not magic:
        raise EngineError(f"{path} is empty; export the model again")
    if magic in PLAN_MAGICS:
        return "plan"
    if magic == b"PK\x03\x04":
        return "reference" if path.suffix == ".npz" else "checkpoint"
    return "sidecar" if path.suffix == ".json" else "onnx"


def read_card(path: str | Path) -> ModelCard:
    """The model card of an `.onnx`, a `.plan`, a checkpoint or a sidecar `.json`.

    Raises:
        EngineError: when the file cannot be read.
        CardError: when it carries no card or one that cannot be used.
    """
    path = Path(path)
    card = find_card(path)
    if card is None:
        remedy = "export it with: dlcv-export --model NAME"
        if kind_of(path) == "checkpoint":
            remedy = "take a best.pt of dlcv-train, or start a training from these weights with: dlcv-train --init FILE"
        raise CardError(f"{path} carries no dlcv model card, so its classes and normalisation are unknown; {remedy}")
    return card


def find_card(path: Path) -> ModelCard | None:
    """As `read_card`; None where the file carries no card."""
    reader = {
        "plan": _from_plan,
        "checkpoint": _from_checkpoint,
        "sidecar": _from_sidecar,
        "reference": _from_checkpoint,
        "onnx": _from_onnx,
    }
    return reader[kind_of(path)](path)


def _from_sidecar(path: Path) -> ModelCard | None:
    if path.stat().st_size > _MAX_CARD_BYTES:
        return None
    try:
        values = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise CardError(f"{path} is not valid JSON ({error}); export the model again") from error
    return card_from_dict(values["card"], str(path)) if isinstance(values, dict) and "card" in values else None


def _from_checkpoint(path: Path) -> ModelCard | None:
    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename.split("/")[-1] == CHECKPOINT_MEMBER and info.file_size <= _MAX_CARD_BYTES:
                    return card_from_json(archive.read(info), str(path))
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        struct.error,
    ) as error:
        raise CardError(f"{path} is damaged: {error}; train or export it again") from error
    return None


def _from_plan(path: Path) -> ModelCard | None:
    with open(path, "rb") as file:
        head = file.read(_PLAN_SEARCH_BYTES)
    start = head.find(PLAN_PREFIX.encode())
    if start < 0:
        return None
    text = head[start + len(PLAN_PREFIX) : start + len(PLAN_PREFIX) + 8192].decode("ascii", "replace")
    try:
        values, _ = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError) as error:
        raise CardError(f"{path}: the model card is not valid JSON ({error}); export the model again") from error
    return card_from_dict(values, str(path))


def _from_onnx(path: Path) -> ModelCard | None:
    """Walks the fields of a ModelProto (onnx.proto: metadata_props is 14, key is 1, value is 2) and skips the graph unread."""
    try:
        with open(path, "rb") as file:
            return _card_in_fields(file, path)
    except (EOFError, OSError, UnicodeDecodeError) as error:
        raise CardError(f"{path} is not an ONNX file, or is cut short; export the model again") from error


def _card_in_fields(file: IO[bytes], path: Path) -> ModelCard | None:
    size = path.stat().st_size
    while file.tell() < size:
        tag = _varint(file)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            _varint(file)
            continue
        length = _varint(file) if wire == 2 else {1: 8, 5: 4}.get(wire, -1)
        if length < 0 or number == 0 or file.tell() + length > size:
            raise EOFError
        if number == 14 and wire == 2 and length <= _MAX_CARD_BYTES:
            pair = _string_pair(file.read(length))
            if pair.get(1) == ONNX_KEY.encode():
                return card_from_json(pair.get(2, b""), str(path))
        else:
            file.seek(length, 1)
    return None


def _string_pair(data: bytes) -> dict[int, bytes]:
    file, pair = io.BytesIO(data), {}
    while file.tell() < len(data):
        number, length = _varint(file) >> 3, _varint(file)
        if length > len(data):
            raise EOFError
        pair[number] = file.read(length)
    return pair


def _varint(file: IO[bytes]) -> int:
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise EOFError
        value |= (byte[0] & 0x7F) << shift
        if not byte[0] & 0x80:
            return value
    raise EOFError
