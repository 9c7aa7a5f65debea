"""Small valid files of every kind that dlcv reads, by the project's own writers where it has them."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.benchmarks.fuzz.targets import ENGINE, KEY, SIGNATURE

Seeds = dict[str, dict[str, bytes]]
"""Kind -> name -> a valid file."""
SIDE = 24
CLASSES = ("water", "land", "road, wide")
PALETTE = ((0, 0, 255), (10, 200, 30), (90, 90, 90))


def make_seeds(kinds: list[str] | None = None) -> Seeds:
    """All of them, or those of some kinds; takes a few seconds, most of them for torch's exporter.

    Args:
        kinds: as in `targets.TARGETS`.
    """
    made: Seeds = {}
    for makes, maker in _MAKERS:
        if kinds is None or set(makes) & set(kinds):
            for kind, name, data in maker():
                made.setdefault(kind, {})[name] = data
    return made if kinds is None else {kind: made[kind] for kind in kinds}


def _picture() -> NDArray[np.uint8]:
    """uint8 (24, 33, 3), RGB: a ramp with noise, so that codecs have something to do."""
    rows, columns = np.mgrid[0:SIDE, 0 : SIDE + 9]
    ramp = np.stack([rows * 8, columns * 6, 255 - rows * 4], -1)
    return np.asarray(ramp + np.random.default_rng(0).integers(0, 30, ramp.shape), np.uint8)


def _pillow(mode: str, image_format: str, **options: Any) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(_picture()).convert(mode).save(buffer, image_format, **options)
    return buffer.getvalue()


def _images() -> Iterator[tuple[str, str, bytes]]:
    from PIL import Image

    turned = Image.Exif()
    turned[0x0112] = 6
    for kind, name, mode, options in (
        ("jpeg", "baseline", "RGB", {}),
        ("jpeg", "progressive", "RGB", {"progressive": True}),
        ("jpeg", "grey", "L", {}),
        ("jpeg", "cmyk", "CMYK", {}),
        ("jpeg", "turned", "RGB", {"exif": turned}),
        ("png", "rgb", "RGB", {}),
        ("png", "palette", "P", {}),
        ("png", "alpha", "RGBA", {}),
        ("png", "16-bit", "I;16", {}),
        ("png", "bits", "1", {}),
        ("tiff", "plain", "RGB", {}),
        ("tiff", "lzw", "RGB", {"compression": "tiff_lzw"}),
        ("tiff", "deflate", "RGBA", {"compression": "tiff_adobe_deflate"}),
        ("tiff", "jpeg", "RGB", {"compression": "jpeg"}),
        ("tiff", "big", "L", {"big_tiff": True}),
        ("tiff", "16-bit", "I;16", {}),
        ("tiff", "palette", "P", {"compression": "packbits"}),
        ("tiff", "fax", "1", {"compression": "group4"}),
        ("webp", "lossy", "RGB", {"quality": 60}),
        ("webp", "lossless", "RGBA", {"lossless": True}),
        ("webp", "turned", "RGB", {"exif": turned}),
        ("bmp", "rgb", "RGB", {}),
        ("bmp", "palette", "P", {}),
        ("jpeg2000", "file", "RGB", {}),
        ("jpeg2000", "codestream", "RGB", {"no_jp2": True}),
    ):
        yield kind, name, _pillow(mode, kind, **options)


def _geotiffs() -> Iterator[tuple[str, str, bytes]]:
    from rasterio.io import MemoryFile
    from rasterio.transform import Affine

    planes = _picture().transpose(2, 0, 1)
    base = {
        "driver": "GTiff", "width": planes.shape[2], "height": planes.shape[1], "count": 3, "dtype": "uint8",
        "crs": "EPSG:32640", "transform": Affine(0.5, 0, 325_000.0, 0, -0.5, 2_790_000.0),
    }  # fmt: skip
    ways: dict[str, dict[str, Any]] = {
        "strips": {},
        "tiled": {"tiled": True, "blockxsize": 16, "blockysize": 16, "compress": "deflate", "predictor": 2},
        "lzw": {"compress": "lzw", "interleave": "band"},
        "zstd": {"compress": "zstd", "nodata": 7},
        "jpeg": {"compress": "jpeg", "tiled": True, "blockxsize": 16, "blockysize": 16},
    }
    for name, way in ways.items():
        with MemoryFile() as memory:
            with memory.open(**base, **way) as file:
                file.write(planes)
                if name == "tiled":
                    file.build_overviews([2])
            yield "geotiff", name, bytes(memory.getbuffer())


def _masks() -> Iterator[tuple[str, str, bytes]]:
    import cv2

    from dlcv.runtime.masks import encode_mask

    mask = (np.arange(SIDE * SIDE, dtype=np.uint8) % len(CLASSES)).reshape(SIDE, SIDE)
    yield "mask", "index", encode_mask(mask, PALETTE)
    yield "mask", "grey", cv2.imencode(".png", mask)[1].tobytes()
    yield "mask", "colour", cv2.imencode(".png", np.array(PALETTE, np.uint8)[mask][..., ::-1])[1].tobytes()


def _card(**values: Any) -> Any:
    from dlcv.runtime.card.card import ModelCard

    given = {
        "model": "cnn3", "width": 0.05, "task": "classification", "classes": CLASSES, "palette": (),
        "input_size_hw": (SIDE, SIDE), "mean_rgb": (123.7, 116.3, 103.5), "std_rgb": (58.4, 57.1, 57.4), "fit": "centre-crop",
        "short_side": 26, "versions": {"dlcv": "test"},
    }  # fmt: skip
    return ModelCard(**{**given, **values})


def _models() -> Iterator[tuple[str, str, bytes]]:
    """A checkpoint, its weights alone in two forms, its graph, a reference; plans are made up around the real card."""
    import tempfile

    import torch
    from safetensors.torch import save

    from dlcv.export.onnx_from_checkpoint import onnx_from_model
    from dlcv.train.checkpoints.checkpoint import Checkpoint, save_checkpoint
    from dlcv.train.models import create_model

    torch.manual_seed(0)
    model = create_model("cnn3", classes=len(CLASSES), width=0.05).eval()
    weights = model.state_dict()
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "best.pt"
        training = {"epoch": 3, "optimizer": {"state": {0: {"step": torch.tensor(1.0)}}, "rates": [0.1, 0.2]}}
        save_checkpoint(path, Checkpoint(_card(), weights, {"name": "tiny"}, "ab" * 32, {"mean_iou": 0.5}, training))
        yield "checkpoint", "best", path.read_bytes()
    buffer = io.BytesIO()
    torch.save(weights, buffer)
    yield "weights", "state-dict", buffer.getvalue()
    buffer = io.BytesIO()
    torch.save(weights, buffer, _use_new_zipfile_serialization=False)
    yield "weights", "legacy", buffer.getvalue()
    yield "weights", "safetensors", save({name: tensor.contiguous() for name, tensor in weights.items()})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        proto = onnx_from_model(model, _card(head="probs"))
    yield "onnx", "probs", proto.SerializeToString()
    probs = np.full(len(CLASSES), 1 / len(CLASSES), np.float32)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("probs_", "logits_"):
            member = io.BytesIO()
            np.save(member, probs)
            archive.writestr(zipfile.ZipInfo(name + "ab" * 32 + ".npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
        archive.writestr(zipfile.ZipInfo("dlcv.json"), _card(head="probs").to_json())
    yield "reference", "npz", buffer.getvalue()


def _cards() -> Iterator[tuple[str, str, bytes]]:
    segmentation = _card(model="fcn8s", task="segmentation", palette=PALETTE, fit="windows", short_side=0, head="mask")
    for name, card in (("classification", _card(head="probs")), ("segmentation", segmentation)):
        text = card.to_json().encode()
        full = b"ftrt" + bytes(20) + bytes((10, 13, 2, 6)) + bytes(90) + b"dlcv1:" + text + b"\0" * 300
        yield "plan", f"tensorrt-{name}", full
        rtx = b"vtrt" + bytes(20) + bytes((1, 7, 1, 116)) + bytes(4) + struct.pack("<I", 6) + b"dlcv1:" + text
        yield "plan", f"rtx-{name}", rtx + b"\xff" * 300
        engine = {"sha256": hashlib.sha256(ENGINE).hexdigest(), "bytes": len(ENGINE)}
        listed = {"card": card.to_dict(), "files": {"model.onnx": engine}}
        yield "sidecar", name, json.dumps(listed, indent=1).encode()
        yield "card", name, text


def _texts() -> Iterator[tuple[str, str, bytes]]:
    from dlcv.runtime.datasets.masks.description import DatasetDescription
    from dlcv.runtime.outputs.predictions import FORMATS, Prediction
    from dlcv.runtime.records.journal import csv_line
    from dlcv.runtime.records.manifest import COLUMNS

    yield "table", "files", b"file,label,split\na.png,cat,train\nb.png,dog,train\nsub/c.png,cat,validation\n"
    yield "table", "pixels", b'emotion,pixels,Usage\n0,0 255 3 4,Training\n1,"1 2 3 4",PublicTest\n'
    yield "table", "classes", b"index,name\n0,cat\n1,dog\n"
    described = DatasetDescription("tiny", CLASSES, PALETTE, uncounted=(2,), threshold=None)
    yield "description", "json", json.dumps(described.to_dict()).encode()
    yield "config", "toml", _config()
    rows = [("a.png", "done", "a.png.png", "", "1024", "17"), ("b\n.png", "failed", "", 'no "image", sorry', "", "")]
    yield "manifest", "csv", "".join(map(csv_line, (COLUMNS, *rows))).encode()
    yield "manifest", "older", "".join(csv_line(row[:4]) for row in (COLUMNS, *rows)).encode()
    run = {
        "written_by": "dlcv-infer",
        "folders": ["tiles"],
        "engine_sha256": "00" * 32,
        "compute": "card",
        "beside": ["areas"],
    }
    yield "run", "json", json.dumps(run, indent=1).encode()
    for name, each in FORMATS.items():
        made = each(2)
        lines = [made.line(Prediction(key, 1, (("land", 0.75), ("water", 0.25)))) for key in ("a.png", "b,\n.png")]
        yield "predictions", name, (made.header + "".join(lines)).encode()
    yield "history", "csv", b"epoch,step,learning_rate,seconds,mean_iou\n1,10,0.1,3.5,0.25\n2,20,0.1,3.5,nan\n"


def _config() -> bytes:
    return (
        b'model = "fcn8s"\ndata = "tiles"\nepochs = 3\nlearning-rate = 0.01\nbatch = 4\ncrop = 64\n'
        b'# a remark\nwarmup = 2\nwidth = 0.25\nclasses = ["a", "b"]\namp = "off"\n'
    )


def _signatures() -> Iterator[tuple[str, str, bytes]]:
    yield "signature", "minisig", SIGNATURE.encode()
    yield "key", "pub", f"untrusted comment: minisign public key\n{KEY}\n".encode()


_MAKERS = (
    (("jpeg", "png", "tiff", "webp", "bmp", "jpeg2000"), _images),
    (("geotiff",), _geotiffs),
    (("mask",), _masks),
    (("checkpoint", "weights", "onnx", "reference"), _models),
    (("plan", "sidecar", "card"), _cards),
    (("table", "description", "config", "manifest", "run", "predictions", "history"), _texts),
    (("signature", "key"), _signatures),
)
