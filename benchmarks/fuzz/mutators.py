"""Spoils files: flipped bits, cuts, splices, edited length fields, repeated pieces; and by the format: PNG chunks and members of
archives with right checksums, JSON values, cells and lines of text.

A seed's bytes and a number give the same mutant on every machine.
"""

from __future__ import annotations

import io
import json
import random
import zipfile
import zlib
from collections.abc import Callable, Sequence
from typing import Any

Mutator = Callable[[bytes, random.Random, Sequence[bytes]], bytes]
"""The file, chance, and whole files of the same kind to splice with -> a spoiled file."""

MOST_STEPS = 4
ODD_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 2**63 - 1, 2**64 - 1, 100_000)  # fmt: skip
ODD_TEXTS = (
    "", "\n", "\r\n", "\0", '"', "'", ",", "\\", "\ufeff", "\u202e", "..", "../../etc/passwd", "/dev/zero", "-1", "1e999", "NaN",
    "null", "true", "[]", "{}", "[" * 3000, '{"a":' * 3000, "9" * 5000, "0.1", "\\ud800", "\\x00", "<script>", "a" * 70_000,
    "\x1b[2J", "💥", "1_0", "0x10",
)  # fmt: skip
ODD_VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 255, 256, 10**30, -(10**30), 0.5, float("nan"), float("inf"), "", "a\nb", "\0", "..", [], {}, [[]],
    [None], {"a": {}}, "x" * 5000, [0] * 5000, "\ud800",
)  # fmt: skip


def mutated(data: bytes, number: int, others: Sequence[bytes], kind: str) -> tuple[bytes, list[str]]:
    """A mutant, and the names of what made it.

    Args:
        data: a valid file.
        number: which of its mutants.
        others: valid files of the same kind.
        kind: `bytes`, `png`, `zip`, `json` or `text`: what else than the bytes may be spoiled.
    """
    chance = random.Random(f"{zlib.crc32(data)}:{number}")
    own = BY_KIND.get(kind, {})
    choice = [*GENERIC, *own, *own, *own]  # more often: these get further into a reader
    table = GENERIC | own
    names = [chance.choice(choice) for _ in range(chance.choice((1, 1, 1, 2, 3, MOST_STEPS)))]
    for name in names:
        data = table[name](data, chance, others)
    return data, names


# --- bytes --------------------------------------------------------------------------------------------------------------


def flip_bits(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """One to sixteen bits, anywhere."""
    return _flipped(data, chance, len(data))


def flip_head(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """Bits of the first 256 bytes, where headers stand."""
    return _flipped(data, chance, min(len(data), 256))


def _flipped(data: bytes, chance: random.Random, end: int) -> bytes:
    spoiled = bytearray(data)
    for _ in range(chance.randint(1, 16) if end else 0):
        spoiled[chance.randrange(end)] ^= 1 << chance.randrange(8)
    return bytes(spoiled)


def cut_end(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """The end is missing."""
    return data[: chance.randrange(len(data) + 1)]


def cut_out(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """A piece is missing."""
    begin, end = _piece(data, chance)
    return data[:begin] + data[end:]


def repeat(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """A piece stands there up to 64 times."""
    begin, end = _piece(data, chance)
    return data[:end] + data[begin:end] * chance.choice((1, 2, 64)) + data[end:]


def splice(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """The beginning of one file and the end of another."""
    other = chance.choice(others)
    return data[: chance.randrange(len(data) + 1)] + other[chance.randrange(len(other) + 1) :]


def number_field(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """1, 2, 4 or 8 bytes become a number that lengths and counts are spoiled with, in either order of bytes."""
    size = chance.choice((1, 2, 4, 8))
    if len(data) < size:
        return data
    at = chance.randrange(min(len(data) - size + 1, chance.choice((256, len(data)))))
    value = chance.choice((*ODD_NUMBERS, len(data), len(data) - at, chance.getrandbits(8 * size)))
    order = chance.choice(("little", "big"))
    return data[:at] + (value % (1 << 8 * size)).to_bytes(size, order) + data[at + size :]  # type: ignore[arg-type]


def fill(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """A piece becomes zeros or ones."""
    begin, end = _piece(data, chance)
    return data[:begin] + chance.choice((b"\0", b"\xff")) * (end - begin) + data[end:]


def swap(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """Two neighbouring pieces change places."""
    begin, end = _piece(data, chance)
    middle = (begin + end) // 2
    return data[:begin] + data[middle:end] + data[begin:middle] + data[end:]


def _piece(data: bytes, chance: random.Random) -> tuple[int, int]:
    begin = chance.randrange(len(data) + 1)
    return begin, min(len(data), begin + chance.choice((1, 4, 16, 64, 1024)))


# --- PNG chunks ---------------------------------------------------------------------------------------------------------


def png_chunk(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """A chunk is spoiled, doubled, dropped or moved; all checksums are right afterwards."""
    chunks = _png_chunks(data)
    if not chunks:
        return data
    at = chance.randrange(len(chunks))
    kind, content = chunks[at]
    what = chance.randrange(4)
    if what == 0:
        simple = chance.choice((flip_bits, cut_end, number_field, repeat))
        chunks[at] = kind, simple(content, chance, others)
    elif what == 1:
        chunks.insert(chance.randrange(len(chunks) + 1), (kind, content))
    elif what == 2:
        del chunks[at]
    else:
        chunks.insert(chance.randrange(len(chunks)), chunks.pop(at))
    return data[:8] + b"".join(
        len(content).to_bytes(4, "big") + kind + content + zlib.crc32(kind + content).to_bytes(4, "big")
        for kind, content in chunks
    )


def _png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    chunks, at = [], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    return chunks


# --- archives -----------------------------------------------------------------------------------------------------------


def zip_member(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """A member is spoiled, dropped, renamed or doubled; the archive is whole and its checksums right."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # spoiled already
        return data
    if not members:
        return data
    at = chance.randrange(len(members))
    name, content = members[at]
    what = chance.randrange(6)
    if what == 0:
        del members[at]
    elif what == 1:
        members[at] = chance.choice((name + "/", "../" + name, name[1:], chance.choice(members)[0])), content
    elif what == 2:
        members.append((name, flip_bits(content, chance, others)))
    else:
        simple = chance.choice((flip_bits, flip_head, cut_end, number_field, cut_out, json_value, repeat))
        members[at] = name, simple(content, chance, others)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
        for name, content in members:
            _add(archive, name, content)
    return buffer.getvalue()


def _add(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that are there twice, which is what is wanted
        archive.writestr(zipfile.ZipInfo(name), content)


# --- JSON and text ------------------------------------------------------------------------------------------------------


def json_value(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """A value somewhere becomes another, goes, or gets a neighbour; the JSON is whole."""
    try:
        root = [json.loads(data)]
    except (ValueError, RecursionError):
        return data
    holder: Any = root
    key: Any = 0
    while isinstance(holder[key], (dict, list)) and holder[key] and chance.random() < 0.85:
        holder = holder[key]
        key = chance.choice(list(holder)) if isinstance(holder, dict) else chance.randrange(len(holder))
    what = chance.randrange(4)
    if what == 0 and holder is not root:
        del holder[key]
    elif what == 1 and isinstance(holder, dict):
        holder[chance.choice(("", "x", "dlcv", "\n", key + " "))] = holder[key]
    else:
        holder[key] = chance.choice((*ODD_VALUES, [holder[key]], [holder[key]] * 300, {"x": holder[key]}))
    return json.dumps(root[0]).encode()


def text_token(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """An odd text is put in somewhere, or in the place of a cell."""
    odd = chance.choice(ODD_TEXTS).encode()
    if chance.random() < 0.5:
        at = chance.randrange(len(data) + 1)
        return data[:at] + odd + data[at:]
    separator = chance.choice((b",", b"\n", b" ", b'"', b"="))
    cells = data.split(separator)
    cells[chance.randrange(len(cells))] = odd
    return separator.join(cells)


def text_line(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """A line goes, stands twice, or moves."""
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    line = lines.pop(chance.randrange(len(lines)))
    for _ in range(chance.choice((0, 1, 2))):
        lines.insert(chance.randrange(len(lines) + 1), line)
    return b"".join(lines)


def not_utf8(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """Bytes that are no UTF-8, or text in UTF-16."""
    if chance.random() < 0.2:
        return data.decode("utf-8", "replace").encode("utf-16")
    at = chance.randrange(len(data) + 1)
    return data[:at] + chance.choice((b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80")) + data[at:]


GENERIC: dict[str, Mutator] = {
    each.__name__: each for each in (flip_bits, flip_head, cut_end, cut_out, repeat, splice, number_field, fill, swap)
}
_JSON: dict[str, Mutator] = {each.__name__: each for each in (json_value, text_token, not_utf8)}
BY_KIND: dict[str, dict[str, Mutator]] = {
    "png": {"png_chunk": png_chunk},
    "zip": {"zip_member": zip_member},
    "json": _JSON,
    "text": {each.__name__: each for each in (text_token, text_line, not_utf8)},
}
