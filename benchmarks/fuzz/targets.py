"""How each kind of file is read: by the functions that the commands call, with what they hand on.

A reader that comes back has succeeded, and a `DlcvError` of one line is how it fails; anything else is a fault. Heavy imports stand in
the functions, so that a process loads what its kind needs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_PIXELS = 1 << 22
"""Of images here: a decoder that asks for more memory than the header admits is found out sooner than at the limit of a run."""


class Fault(AssertionError):
    """A reader came back with what it must not give."""


@dataclass(frozen=True)
class Target:
    """A kind of file.

    Attributes:
        name: the file's name when it is read.
        mutators: a kind of `mutators.mutated`.
        read: path -> whatever; `Fault` where it came back with nonsense.
        weight: its share of the mutants; of kinds that are quick to read more are.
    """

    name: str
    mutators: str
    read: Callable[[Path], Any]
    weight: float = 1.0


def _image(path: Path) -> None:
    """As 8 bits, and with a scale as 16; what comes back must be of the header's size."""
    import numpy as np

    from dlcv.runtime.headers import read_header
    from dlcv.runtime.tiles.decode import DecodeOptions, decode_bytes, read_file

    data = read_file(path)

    def decoded(scale: tuple[float, float] | None) -> None:
        image = decode_bytes(data, DecodeOptions(scale_16bit=scale, max_pixels=MAX_PIXELS))
        size_hw = read_header(data).size_hw
        if image.dtype != np.uint8 or image.shape[2:] != (3,) or not image.flags.c_contiguous:
            raise Fault(f"decoded as {image.dtype} {image.shape}")
        if image.shape[:2] not in (size_hw, size_hw[::-1]):
            raise Fault(
                f"the header says {size_hw} and the image is {image.shape[:2]}: the limit looked at another size"
            )

    _any(lambda: decoded(None), lambda: decoded((0.0, 4000.0)))


def _geotiff(path: Path) -> None:
    """As a run does: is it large, then window after window."""
    from dlcv.runtime.raster.detect import mark_large
    from dlcv.runtime.raster.source import Source
    from dlcv.runtime.tiles.tile_list import Tile, TileList

    mark_large(TileList([Tile(path, path.name)]), max_pixels=MAX_PIXELS)
    source = Source(path, (16, 16), 0.25)
    try:
        for row in range(min(4, len(source.rows.starts))):
            for column in range(min(4, len(source.columns.starts))):
                image, _ = source.window(row, column)
                if image.shape != (16, 16, 3):
                    raise Fault(f"a window of {image.shape}")
    finally:
        source.close()


def _mask(path: Path) -> None:
    from dlcv.runtime.datasets.masks.description import DatasetDescription
    from dlcv.runtime.datasets.masks.labels import read_label

    classes, palette = ("a", "b", "c"), ((0, 0, 255), (10, 200, 30), (90, 90, 90))
    index = DatasetDescription("tiny", classes, palette, masks="index")
    colour = DatasetDescription("tiny", classes, palette, threshold=None)
    _any(lambda: read_label(path, index), lambda: read_label(path, colour))


def _checkpoint(path: Path) -> None:
    from dlcv.runtime.inspection import inspect_file
    from dlcv.train.checkpoints.checkpoint import load_checkpoint, model_from_checkpoint

    _all(lambda: inspect_file(path), lambda: model_from_checkpoint(load_checkpoint(path)))


def _weights(path: Path) -> None:
    from dlcv.train.checkpoints.weights import initialise_from
    from dlcv.train.models import create_model

    initialise_from(create_model("cnn3", classes=3, width=0.05), path)


def _onnx(path: Path) -> None:
    """Inspected, checked, and opened with ONNX Runtime where it passes."""
    import numpy as np

    from dlcv.runtime.inspection import inspect_file
    from dlcv.runtime.sessions import open_session

    def run() -> None:
        with open_session(path, device="cpu", session="onnxruntime", lanes=1) as session:
            session.run(np.zeros((1, *session.card.input_size_hw, 3), np.uint8))

    _all(lambda: inspect_file(path), run)


def _reference(path: Path) -> None:
    from dlcv.runtime.inspection import inspect_file
    from dlcv.runtime.scoring.reference import read_reference

    _all(lambda: inspect_file(path), lambda: read_reference(path))


def _plan(path: Path) -> None:
    from dlcv.runtime.card.plan_header import Here, preflight, read_plan_header, with_card
    from dlcv.runtime.card.reader import read_card
    from dlcv.runtime.inspection import inspect_file
    from dlcv.runtime.inspection.report import inspection_text

    full = Here("", "tensorrt", "10.13.2.6", ("NVIDIA H200", "9.0"))
    rtx = Here("", "tensorrt_rtx", "1.7.1.116", ("NVIDIA RTX A6000", "8.6"))

    def fits() -> None:
        header = with_card(read_plan_header(path), read_card(path).versions)
        preflight(header, path, rtx if header.kind == "tensorrt-rtx" else full)

    _all(lambda: inspection_text(inspect_file(path)), fits)


ENGINE = b"an engine"
"""What the sidecar's hash is of."""


def _sidecar(path: Path) -> None:
    from dlcv.runtime.card.reader import read_card
    from dlcv.runtime.card.sidecar import check_sidecar
    from dlcv.runtime.inspection import inspect_file

    engine = path.with_suffix(".onnx")
    engine.write_bytes(ENGINE)
    _all(lambda: inspect_file(path), lambda: read_card(path), lambda: check_sidecar(engine))


def _card(path: Path) -> None:
    from dlcv.runtime.card.card import card_from_json

    card = card_from_json(path.read_bytes(), str(path))
    if card_from_json(card.to_json(), "again") != card:
        raise Fault("a card that was read is not the one that it writes")


def _table(path: Path) -> None:
    from dlcv.runtime.datasets.classes.names import read_classes
    from dlcv.runtime.datasets.classes.table import find_in_csv

    images = path.parent / "sub"
    images.mkdir(exist_ok=True)
    for name in ("a.png", "b.png", "sub/c.png"):
        (path.parent / name).touch()
    shutil.copyfile(path, path.parent / "classes.txt")
    _any(lambda: find_in_csv(path), lambda: read_classes(path.parent))


def _description(path: Path) -> None:
    from dlcv.runtime.datasets.masks.description import description_from_dict, load_description

    found = load_description(str(path))
    if description_from_dict(found.to_dict(), "x", source="again") != found:
        raise Fault("a description that was read is not the one that it writes")


def _config(path: Path) -> None:
    from dlcv.train.cli.config_file import options_of_file
    from dlcv.train.cli.train import main

    _, mistakes = options_of_file(path, main.params)
    for mistake in mistakes:
        if not isinstance(mistake, str):
            raise Fault(f"a mistake that is no sentence: {mistake!r}")


def _manifest(path: Path) -> None:
    """Read, continued and tidied as a resumed run does."""
    from dlcv.runtime.records.manifest import Manifest, Row, forget, read_manifest

    def go_on() -> None:
        with Manifest(path) as manifest:
            manifest.add(Row("new.png", "done", "new.png.png"))
        forget(path, {"a.png"})
        keys = [row.path for row in read_manifest(path)]
        if "a.png" in keys or keys[-1:] != ["new.png"]:
            raise Fault(f"after going on the manifest holds {keys}")

    _all(lambda: list(read_manifest(path)), go_on)


def _run(path: Path) -> None:
    from dlcv.runtime.run.folder import RunFolder

    identity = {"folders": ["tiles"], "engine_sha256": "00" * 32, "compute": "card"}
    manifest = path.parent / "manifest.csv"

    def begun(resume: bool) -> None:
        with RunFolder(path.parent, identity, resume=resume, overwrite=not resume) as folder:
            folder.done()

    before = path.read_bytes()
    manifest.write_text(
        "path,status,output,reason,size,mtime_ns,output_size,beside_size\na.png,done,a.png.png,,1,2,3,\n"
    )
    try:
        begun(resume=True)
    finally:
        path.write_bytes(before)
        begun(resume=False)


def _predictions(path: Path) -> None:
    from dlcv.runtime.outputs.predictions import FORMATS
    from dlcv.runtime.records.journal import forget_lines

    made = FORMATS["jsonl" if path.read_bytes().lstrip()[:1] == b"{" else "csv"](2)
    _all(lambda: list(made.classes(path)), lambda: forget_lines(path, made.header, {"a.png"}, made.key_of))


def _history(path: Path) -> None:
    from dlcv.train.folder.history import History

    _ = History(path, ("a", "b"), epoch=2).rows


SIGNED = b"what the signatures beside this file are over\n"
KEY = "RWQyZHoAz8vydSVYNUkvgPwF+JOPK50IQwd/xTlS8OID3o2VnMyOa6CK"
SIGNATURE = """untrusted comment: signature from minisign secret key
RUQyZHoAz8vydYy77ipM8tEW1HsR2TKoSkztmGMI93h8g8xYuTYeneID+Q6hr5Cpg+wuTbjDto2JyNIw4EvDM/nno3AN5MlpUQU=
trusted comment: file:signed.txt, a test vector
NaHgIhIVvZtYEZrb6oQTzn8+H82YOEeq8E5+sRs2TfKsnQ3a8xt5MSGAOL3KIi/cg7h/GywUJcI//ypZzd6zBA==
"""
"""Made by minisign itself; its key was thrown away."""


def _signature(path: Path) -> None:
    from dlcv.runtime.inspection.signed import signature_state
    from dlcv.runtime.provenance.signature import check_signature

    file = path.with_name(path.name.removesuffix(".minisig"))
    file.write_bytes(SIGNED)
    _all(lambda: signature_state(file), lambda: check_signature(file, SIGNED, KEY))


def _key(path: Path) -> None:
    from dlcv.runtime.provenance.signature import check_signature

    file = path.with_name("signed")
    file.write_bytes(SIGNED)
    file.with_name("signed.minisig").write_text(SIGNATURE)
    check_signature(file, SIGNED, str(path))


def _all(*reads: Callable[[], object]) -> None:
    """Does all of them; the first error of ours is raised at the end."""
    from dlcv.runtime.errors import DlcvError

    errors = []
    for read in reads:
        try:
            read()
        except DlcvError as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _any(*reads: Callable[[], object]) -> None:
    """Does all of them; the first error of ours is raised at the end where none went well."""
    from dlcv.runtime.errors import DlcvError

    errors = []
    for read in reads:
        try:
            read()
        except DlcvError as error:
            errors.append(error)
    if len(errors) == len(reads):
        raise errors[0]


TARGETS: dict[str, Target] = {
    "jpeg": Target("tile.jpg", "bytes", _image, 2),
    "png": Target("tile.png", "png", _image, 2),
    "tiff": Target("tile.tif", "bytes", _image, 3),
    "webp": Target("tile.webp", "bytes", _image, 2),
    "bmp": Target("tile.bmp", "bytes", _image),
    "jpeg2000": Target("tile.jp2", "bytes", _image),
    "geotiff": Target("large.tif", "bytes", _geotiff, 2),
    "mask": Target("tile_mask.png", "png", _mask),
    "checkpoint": Target("best.pt", "zip", _checkpoint, 2),
    "weights": Target("weights.pth", "zip", _weights),
    "onnx": Target("model.onnx", "bytes", _onnx, 2),
    "reference": Target("model.reference.npz", "zip", _reference),
    "plan": Target("model.plan", "bytes", _plan),
    "sidecar": Target("model.json", "json", _sidecar),
    "card": Target("card.json", "json", _card),
    "table": Target("labels.csv", "text", _table),
    "description": Target("masks.json", "json", _description),
    "config": Target("run.toml", "text", _config),
    "manifest": Target("manifest.csv", "text", _manifest),
    "run": Target("run.json", "json", _run),
    "predictions": Target("predictions.csv", "text", _predictions),
    "history": Target("history.csv", "text", _history),
    "signature": Target("signed.minisig", "text", _signature),
    "key": Target("minisign.pub", "text", _key),
}
