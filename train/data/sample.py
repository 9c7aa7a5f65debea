"""The labelled sample that the package generates: so that everything can be tried with nothing downloaded.

The files are those of DeepGlobe: `train/NAME_sat.jpg` and `train/NAME_mask.png` (24-bit colour); so in `validation/`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import DatasetError, OutputError, UsageError
from dlcv.runtime.files import partial_name, write_bytes
from dlcv.train.data.scenes import make_scene

__all__ = ["GENERATOR_VERSION", "MASK_COLOURS", "make_scene", "sample_folder", "write_sample"]

GENERATOR_VERSION = 1
"""Raise it with any change of the scenes: the cached set is then generated again."""

MASK_COLOURS = (
    (0, 255, 255),  # urban
    (255, 255, 0),  # agriculture
    (255, 0, 255),  # rangeland
    (0, 255, 0),  # forest
    (0, 0, 255),  # water
    (255, 255, 255),  # barren
    (0, 0, 0),  # unknown
)
"""RGB of each class index in a mask file, as DeepGlobe has them."""

_RECORD = "sample.json"  # marks a folder as ours: nothing is ever replaced in a folder without it
_JPEG_QUALITY = 90

Progress = Callable[[int, int], None]


def write_sample(
    folder: Path,
    *,
    tiles: int = 96,
    validation: int = 24,
    size: int = 512,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Writes a set of scenes. Scene k of a split is the same whatever the counts; interrupted, nothing is left.

    Args:
        folder: new or empty; with `overwrite` it may hold an earlier sample, which goes once the new one is whole.
        tiles: scenes for training, 1 or more.
        validation: scenes for validation, 0 or more.
        size: height and width of a scene in pixels, 16 to 8192.
        seed: 0 or more.
        progress: called with the scenes done and their total after each scene.

    Raises:
        UsageError: a number is out of range.
        DatasetError: the folder is a file, or holds something that this function may not replace.
        OutputError: the folder cannot be written.
    """
    _check_numbers(tiles, validation, size, seed)
    _check_folder(folder, overwrite)
    counts = {"train": tiles, "validation": validation}
    with _writing(folder), _temporary_folder(folder / ".sample") as made:
        total, done = tiles + validation, 0
        for split, count in counts.items():
            (made / split).mkdir()
            for index in range(count):
                _write_scene(made / split, split, index, size, seed)
                done += 1
                if progress is not None:
                    progress(done, total)
        record = {"generator": GENERATOR_VERSION, "size": size, "seed": seed, **counts}
        _remove_sample(folder)
        write_bytes(folder / _RECORD, (json.dumps(record) + "\n").encode())
        for split in counts:
            _move_files(made / split, folder / split)


def sample_folder(
    *, size: int = 256, tiles: int = 96, validation: int = 24, seed: int = 0, progress: Progress | None = None
) -> Path:
    """The cached set that `--data sample` means, generated on first use.

    It lies below `$XDG_CACHE_HOME/dlcv`, or `~/.cache/dlcv`; its name holds the generator's version and the arguments,
    which are those of `write_sample`. Two processes may ask at once: the first to finish is kept.

    Raises:
        UsageError: a number is out of range.
        OutputError: the cache cannot be written.
    """
    _check_numbers(tiles, validation, size, seed)
    folder = _cache() / f"sample-v{GENERATOR_VERSION}-{size}px-{tiles}+{validation}-seed{seed}"
    if _is_sample(folder):
        return folder
    with _writing(folder, "set XDG_CACHE_HOME to a folder that can be written"), _temporary_folder(folder) as made:
        write_sample(made, tiles=tiles, validation=validation, size=size, seed=seed, progress=progress)
        try:
            os.rename(made, folder)
        except OSError:
            if not _is_sample(folder):  # it is, where another process was quicker
                raise
    return folder


def _check_numbers(tiles: int, validation: int, size: int, seed: int) -> None:
    limits = {
        "tiles": (tiles, 1, 100_000),
        "validation": (validation, 0, 100_000),
        "size": (size, 16, 8192),
        "seed": (seed, 0, 2**63),
    }
    for name, (value, low, high) in limits.items():
        if not low <= value <= high:
            raise UsageError(f"{name} is {value}, expected {low} to {high}; pass another --{name}")


def _check_folder(folder: Path, overwrite: bool) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise DatasetError(f"{folder} is a file, expected a new or empty folder; choose another")
    if not any(folder.iterdir()):
        return
    if not _is_sample(folder):
        raise DatasetError(f"{folder} is not empty and holds no generated sample; choose a new or empty folder")
    if not overwrite:
        raise DatasetError(f"{folder} already holds a sample; choose another folder or pass --overwrite")


def _is_sample(folder: Path) -> bool:
    return (folder / _RECORD).is_file()


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    # the XDG specification has relative paths ignored
    return (Path(base) if os.path.isabs(base) else Path.home() / ".cache") / "dlcv"


@contextmanager
def _writing(folder: Path, advice: str = "choose another folder") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"cannot write the sample to {folder}: {error.strerror or error}; {advice}") from error


@contextmanager
def _temporary_folder(path: Path) -> Iterator[Path]:
    """An empty folder beside `path`, which is gone at the end unless it was renamed."""
    temporary = partial_name(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write_scene(folder: Path, split: str, index: int, size: int, seed: int) -> None:
    image, label = make_scene(seed, index, size, split=split)
    name = f"{split}{index:04d}"
    mask = np.array(MASK_COLOURS, np.uint8)[label]
    (folder / f"{name}_sat.jpg").write_bytes(_encoded(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]))
    (folder / f"{name}_mask.png").write_bytes(_encoded(".png", mask, []))


def _encoded(extension: str, image_rgb: NDArray[np.uint8], options: list[int]) -> bytes:
    # a contiguous copy in the codec's channel order, BGR
    _, data = cv2.imencode(extension, np.ascontiguousarray(image_rgb[..., ::-1]), options)
    return data.tobytes()


def _remove_sample(folder: Path) -> None:
    """Removes the scenes of an earlier sample; files of other names stay."""
    for split in ("train", "validation"):
        for ending in ("_sat.jpg", "_mask.png"):
            for path in (folder / split).glob(f"{split}[0-9]*{ending}"):
                path.unlink()


def _move_files(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for path in sorted(source.iterdir()):
        os.replace(path, target / path.name)
