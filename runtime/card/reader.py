"""Where the model card stands in each kind of file: graph, plan, checkpoint, sidecar. Reads all of them, writes none.

Nothing is unpickled, no library of an engine is loaded, and files are read from their start only as far as needed.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import IO

from dlcv.runtime.card.card import ModelCard, card_from_dict, card_from_json
from dlcv.runtime.errors import CardError, EngineError, reason_of
from dlcv.runtime.graphs.protobuf import BYTES, Wire, WireError

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


def read_card(path: str | Path, data: bytes | None = None) -> ModelCard:
    """The model card of an `.onnx`, a `.plan`, a checkpoint or a sidecar `.json`.

    Args:
        path: of the file.
        data: bytes of an `.onnx` or a `.plan` that were read already; the card is taken from them.

    Raises:
        EngineError: when the file cannot be read.
        CardError: when it carries no card or one that cannot be used.
    """
    path = Path(path)
    card = find_card(path) if data is None else (_from_plan if data[:4] in PLAN_MAGICS else _from_onnx)(path, data)
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
    import zipfile  # engines are no archives, and their start does not pay for it

    try:
        with zipfile.ZipFile(path) as archive:
            for info in archive.infolist():
                if info.filename.split("/")[-1] == CHECKPOINT_MEMBER and info.file_size <= _MAX_CARD_BYTES:
                    with archive.open(
                        info
                    ) as member:  # not all that is there: the sizes in an archive need not be true
                        return card_from_json(member.read(_MAX_CARD_BYTES), str(path))
    except (
        zipfile.BadZipFile,
        zlib.error,
        OSError,
        EOFError,
        NotImplementedError,
        RuntimeError,
        ValueError,
        struct.error,
        MemoryError,
    ) as error:
        raise CardError(f"{path} is damaged: {reason_of(error)}; train or export it again") from error
    return None


def _from_plan(path: Path, data: bytes | None = None) -> ModelCard | None:
    with _opened(path, data) as file:
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


def _from_onnx(path: Path, data: bytes | None = None) -> ModelCard | None:
    """Walks the fields of a ModelProto (onnx.proto: metadata_props is 14, key is 1, value is 2) and skips the graph unread."""
    try:
        with _opened(path, data) as file:
            found = _card_in_fields(Wire(file, path.stat().st_size if data is None else len(data)))
    except (WireError, OSError) as error:
        raise CardError(f"{path} is not an ONNX file, or is cut short; export the model again") from error
    return None if found is None else card_from_json(found, str(path))


def _card_in_fields(wire: Wire) -> bytes | None:
    """The first card; `Wire` bounds how many fields are looked at."""
    for prop in wire.fields(0, wire.size):
        if prop.number == 14 and prop.wire == BYTES and prop.size <= _MAX_CARD_BYTES:
            pair = {item.number: item for item in wire.fields(prop.start, prop.end) if item.wire == BYTES}
            key, value = pair.get(1), pair.get(2)
            if key is not None and key.size == len(ONNX_KEY) and wire.content(key) == ONNX_KEY.encode():
                return b"" if value is None else wire.content(value, _MAX_CARD_BYTES)
    return None


def _opened(path: Path, data: bytes | None) -> IO[bytes]:
    return open(path, "rb") if data is None else io.BytesIO(data)
