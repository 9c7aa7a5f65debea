"""`NAME.reference.npz`: what is written is what is read, without pickle, and damage is told in words."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dlcv.export.reference import IMAGES_WITH_LOGITS, reference_bytes
from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.card.reader import read_card
from dlcv.runtime.datasets.masks.description import load_description
from dlcv.runtime.datasets.masks.pairs import find_pairs
from dlcv.runtime.datasets.masks.tiles import SegmentationSet
from dlcv.runtime.errors import CardError, EngineError
from dlcv.runtime.files import sha256_of
from dlcv.runtime.scoring.reference import read_reference
from dlcv.train.checkpoints.session import TorchSession

MASK = "mask_" + "0" * 64


@pytest.fixture
def reference_file(exported: Any, tmp_path: Path) -> Path:
    copy = tmp_path / "fcn8s.reference.npz"
    shutil.copyfile(exported.folder / copy.name, copy)
    return copy


def test_what_is_written_is_what_is_read(exported: Any, torch_session: TorchSession, tiny_checkpoint: Path) -> None:
    reference = read_reference(exported.folder / "fcn8s.reference.npz")
    pairs = find_pairs(tiny_checkpoint.parent / "probe", load_description("deepglobe"))
    assert reference.card == read_card(exported.folder / "fcn8s.onnx")
    assert set(reference.answers) == {sha256_of(pair.image) for pair in pairs}
    assert len(pairs) == 6
    assert set(reference.logits) == {sha256_of(pair.image) for pair in pairs[:IMAGES_WITH_LOGITS]}
    from dlcv.runtime.tiles.decode import decode_file

    for pair in pairs:
        answer = torch_session.run(decode_file(pair.image)[None])
        # torch may sum a batch of one otherwise than six: ties aside, the same
        assert np.mean(reference.answers[sha256_of(pair.image)] == answer["mask"][0]) >= 0.9999
        if sha256_of(pair.image) in reference.logits:
            np.testing.assert_allclose(reference.logits[sha256_of(pair.image)], answer["logits"][0], rtol=0, atol=1e-4)


def test_masks_have_the_tiles_own_size(torch_session: TorchSession, tiny_card: ModelCard, tmp_path: Path) -> None:
    import cv2

    description, tiles = load_description("deepglobe"), tmp_path / "tiles"
    tiles.mkdir()
    image = np.random.default_rng(0).integers(0, 255, (90, 50, 3), np.uint8)
    cv2.imwrite(str(tiles / "a_sat.jpg"), image)
    cv2.imwrite(str(tiles / "a_mask.png"), image)  # labels are not read
    path = tmp_path / "x.reference.npz"
    path.write_bytes(
        reference_bytes(
            torch_session, tiny_card.changed(head="mask"), SegmentationSet(find_pairs(tiles, description), description)
        )
    )
    reference = read_reference(path)
    assert [mask.shape for mask in reference.answers.values()] == [(90, 50)]
    assert [logits.shape for logits in reference.logits.values()] == [(7, 64, 64)]


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04 and no more"])
def test_what_is_no_archive_is_told(content: bytes, reference_file: Path) -> None:
    reference_file.write_bytes(content)
    with pytest.raises((EngineError, CardError), match=r"reference\.npz .*again|reference\.npz carries no dlcv"):
        read_reference(reference_file)


def test_an_npz_without_a_card_is_told(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.reference.npz", a=np.zeros(3))
    with pytest.raises(CardError, match="carries no dlcv model card"):
        read_reference(tmp_path / "x.reference.npz")


@pytest.mark.parametrize(
    "member",
    [
        np.zeros((4, 4), np.int64),
        np.zeros((1, 4, 4), np.uint8),
        np.full((4, 4), 7, np.uint8),
        np.array([{"a": 1}], object),
    ],
    ids=["int64", "three axes", "a class that is none", "python objects"],
)
def test_arrays_that_are_no_masks_are_refused(member: Any, tmp_path: Path, tiny_card: ModelCard) -> None:
    path = _archive(tmp_path, tiny_card, {MASK: np.zeros((4, 4), np.uint8)})
    assert list(read_reference(path).answers) == ["0" * 64], "the control"
    with pytest.raises(EngineError, match=r"is not a reference of dlcv-export|is damaged"):
        read_reference(_archive(tmp_path, tiny_card, {MASK: member}))


def test_a_reference_without_masks_is_refused(tmp_path: Path, tiny_card: ModelCard) -> None:
    with pytest.raises(EngineError, match="is not a reference of dlcv-export; export the model again"):
        read_reference(_archive(tmp_path, tiny_card, {}))


def test_nothing_is_unpickled(tmp_path: Path, tiny_card: ModelCard) -> None:
    """A pickle that would leave a file behind if it were loaded."""
    trace = tmp_path / "it ran"

    class Trap:
        def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
            return Path.touch, (trace,)

    path = _archive(tmp_path, tiny_card, {MASK: np.array([Trap()], object)})
    with np.load(path, allow_pickle=True) as arrays:
        arrays[MASK]
    assert trace.exists(), "the control: the trap works"
    trace.unlink()
    with pytest.raises(EngineError, match="is damaged"):
        read_reference(path)
    assert not trace.exists()


def test_damage_anywhere_is_told_or_harmless(reference_file: Path) -> None:
    """A byte is changed at 60 places: a sentence, or what was there before (a byte that no reader looks at)."""
    whole, good = reference_file.read_bytes(), read_reference(reference_file)
    told = 0
    for place in np.random.default_rng(1).choice(len(whole), 60, replace=False):
        damaged = bytearray(whole)
        damaged[place] ^= 0x55
        reference_file.write_bytes(damaged)
        try:
            found = read_reference(reference_file)
        except (EngineError, CardError):
            told += 1
            continue
        assert found.card == good.card
        for name, mask in found.answers.items():
            assert name not in good.answers or np.array_equal(mask, good.answers[name])
    assert told > 40, "most of the file is compressed pixels under a checksum"
    for length in (len(whole) // 2, len(whole) - 5):
        reference_file.write_bytes(whole[:length])
        with pytest.raises((EngineError, CardError)):
            read_reference(reference_file)


def test_a_damaged_compressed_stream_is_told(reference_file: Path) -> None:
    with zipfile.ZipFile(reference_file) as archive:
        info = next(info for info in archive.infolist() if info.filename.startswith("mask_"))
    data = bytearray(reference_file.read_bytes())
    data[info.header_offset + 30 + len(info.filename)] = 0xFF  # a block of type 3, which deflate does not know
    reference_file.write_bytes(data)
    with pytest.raises(EngineError, match=r"is damaged .*invalid block type"):
        read_reference(reference_file)


@pytest.mark.parametrize(("candidate", "code"), [("fcn8s.onnx", 0), ("other.onnx", 1)])
def test_parity_with_it_works_without_torch(candidate: str, code: int, exported: Any, tiny_data: Path, tmp_path: Path) -> None:  # fmt: skip
    import onnx

    engine = tmp_path / candidate
    shutil.copyfile(exported.folder / "fcn8s.onnx", engine)
    if code:  # the control's control: another model is found out
        proto = onnx.load(engine)
        weight = next(i for i in proto.graph.initializer if list(i.dims)[2:] == [3, 3])
        weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * -1, weight.name))
        onnx.save(proto, engine)
    script = (
        "import sys\nfor name in ('torch', 'onnx', 'onnxscript'): sys.modules[name] = None\n"
        "from dlcv.benchmarks.cli.parity import main\nsys.exit(main(prog_name='dlcv-parity'))"
    )
    reference = exported.folder / "fcn8s.reference.npz"
    arguments = ["--reference", reference, "--candidate", engine, "--data", tiny_data]
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    assert "6 tiles, argmax agreement" in done.stdout
    assert ("parity holds on 6 tiles" if code == 0 else "parity failed: ") in done.stderr.splitlines()[-1]


def _archive(folder: Path, card: ModelCard, members: dict[str, Any]) -> Path:
    path = folder / "made.reference.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("dlcv.json", card.to_json())
        for name, array in members.items():
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=True)
            archive.writestr(f"{name}.npy", buffer.getvalue())
    return path
