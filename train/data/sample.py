"""The labelled sample that the package generates: so that everything can be tried with nothing downloaded.

For segmentation the files are those of DeepGlobe: `train/NAME_sat.jpg` and `train/NAME_mask.png` (24-bit colour); for
classification `train/CLASS/NNNN.jpg`. So in `validation/`.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.errors import DatasetError, OutputError, UsageError
from dlcv.runtime.files import partial_name, write_bytes
from dlcv.train.data.patches import CLASS_NAMES, MAX_SIZE, make_patches
from dlcv.train.data.scenes import make_scene

__all__ = ["GENERATOR_VERSION", "MASK_COLOURS", "make_scene", "sample_counts", "sample_folder", "write_sample"]

GENERATOR_VERSION = 1
"""Raise it with any change of the scenes or patches: the cached set is then generated again."""

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


@dataclass(frozen=True)
class _Numbers:
    """Images for training, for validation, and the height and width of one in pixels."""

    tiles: int
    validation: int
    size: int


_WRITTEN = {"segmentation": _Numbers(96, 24, 512), "classification": _Numbers(240, 60, 64)}
_CACHED = {"segmentation": _Numbers(96, 24, 256), "classification": _Numbers(480, 120, 64)}
_MAX_SIZE = {"segmentation": 8192, "classification": MAX_SIZE}


def sample_counts(
    task: str = "segmentation", *, tiles: int | None = None, validation: int | None = None
) -> dict[str, int]:
    """Images in each split that `write_sample` makes of these arguments: for classification a multiple of six.

    Raises:
        UsageError: the task is unknown.
    """
    numbers = _numbers(_WRITTEN, task, tiles, validation, None)
    return _counts(task, numbers)


def write_sample(
    folder: Path,
    *,
    task: str = "segmentation",
    tiles: int | None = None,
    validation: int | None = None,
    size: int | None = None,
    seed: int = 0,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> None:
    """Writes a set of scenes or patches. Image k of a split (and class) is the same whatever the counts.

    Interrupted, it leaves nothing.

    Args:
        folder: new or empty; with `overwrite` it may hold an earlier sample, which goes once the new one is whole.
        task: `segmentation` or `classification`.
        tiles: images for training, 1 or more; `None`: 96 scenes or 240 patches. Each class gets the same number of
            patches, one sixth of this rounded down, 1 at least.
        validation: images for validation, 0 or more; `None`: 24 scenes or 60 patches. As `tiles` for each class.
        size: height and width of an image in pixels, 16 to 8192 for a scene (`None`: 512), to 128 for a patch (64).
        seed: 0 or more.
        progress: called with the images done and their total after each image.

    Raises:
        UsageError: the task is unknown or a number is out of range.
        DatasetError: the folder is a file, or holds something that this function may not replace.
        OutputError: the folder cannot be written.
    """
    numbers = _numbers(_WRITTEN, task, tiles, validation, size)
    _check_numbers(task, numbers, seed)
    _check_folder(folder, overwrite)
    counts = _counts(task, numbers)
    files_of = _patch_files if task == "classification" else _scene_files
    with _writing(folder), _temporary_folder(folder / ".sample") as made:
        total, done = sum(counts.values()), 0
        for split, count in counts.items():
            (made / split).mkdir()
            for files in files_of(split, count, numbers.size, seed):
                _write_files(made / split, files)
                done += 1
                if progress is not None:
                    progress(done, total)
        record = {"generator": GENERATOR_VERSION, "task": task, "size": numbers.size, "seed": seed, **counts}
        _remove_sample(folder)
        write_bytes(folder / _RECORD, (json.dumps(record) + "\n").encode())
        for split in counts:
            _move_files(made / split, folder / split)


def sample_folder(
    *,
    task: str = "segmentation",
    size: int | None = None,
    tiles: int | None = None,
    validation: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """The cached set that `--data sample` means, generated on first use.

    It lies below `$XDG_CACHE_HOME/dlcv`, or `~/.cache/dlcv`; its name holds the generator's version and the arguments,
    which are those of `write_sample`; left out, 96 + 24 scenes of 256 pixels or 480 + 120 patches of 64. Two processes
    may ask at once: the first to finish is kept.

    Raises:
        UsageError: the task is unknown or a number is out of range.
        OutputError: the cache cannot be written.
    """
    numbers = _numbers(_CACHED, task, tiles, validation, size)
    _check_numbers(task, numbers, seed)
    kind = "" if task == "segmentation" else f"-{task}"
    name = f"{numbers.size}px-{numbers.tiles}+{numbers.validation}-seed{seed}"
    folder = _cache() / f"sample-v{GENERATOR_VERSION}{kind}-{name}"
    if _is_sample(folder):
        return folder
    with _writing(folder, "set XDG_CACHE_HOME to a folder that can be written"), _temporary_folder(folder) as made:
        write_sample(made, task=task, seed=seed, progress=progress, **asdict(numbers))
        try:
            os.rename(made, folder)
        except OSError:
            if not _is_sample(folder):  # it is, where another process was quicker
                raise
    return folder


def _numbers(
    defaults: dict[str, _Numbers], task: str, tiles: int | None, validation: int | None, size: int | None
) -> _Numbers:
    if task not in defaults:
        raise UsageError(f"unknown task {task!r}; known: {', '.join(defaults)}")
    given = {"tiles": tiles, "validation": validation, "size": size}
    return replace(defaults[task], **{name: value for name, value in given.items() if value is not None})


def _counts(task: str, numbers: _Numbers) -> dict[str, int]:
    counts = {"train": numbers.tiles, "validation": numbers.validation}
    if task == "segmentation":
        return counts
    classes = len(CLASS_NAMES)
    return {split: max(count // classes, 1) * classes if count else 0 for split, count in counts.items()}


def _check_numbers(task: str, numbers: _Numbers, seed: int) -> None:
    limits = {
        "tiles": (numbers.tiles, 1, 100_000),
        "validation": (numbers.validation, 0, 100_000),
        "size": (numbers.size, 16, _MAX_SIZE[task]),
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


def _scene_files(split: str, count: int, size: int, seed: int) -> Iterator[dict[str, bytes]]:
    """The files of one scene after another, by name."""
    for index in range(count):
        image, label = make_scene(seed, index, size, split=split)
        name = f"{split}{index:04d}"
        mask = np.array(MASK_COLOURS, np.uint8)[label]
        yield {f"{name}_sat.jpg": _jpeg(image), f"{name}_mask.png": _encoded(".png", mask, [])}


def _patch_files(split: str, count: int, size: int, seed: int) -> Iterator[dict[str, bytes]]:
    """The file of one patch after another, by class and number; `count` is a multiple of the classes."""
    for patch in make_patches(seed, count // len(CLASS_NAMES), size, split=split):
        yield {f"{CLASS_NAMES[patch.label]}/{patch.number:04d}.jpg": _jpeg(patch.image_rgb)}


def _jpeg(image_rgb: NDArray[np.uint8]) -> bytes:
    return _encoded(".jpg", image_rgb, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])


def _encoded(extension: str, image_rgb: NDArray[np.uint8], options: list[int]) -> bytes:
    # a contiguous copy in the codec's channel order, BGR
    _, data = cv2.imencode(extension, np.ascontiguousarray(image_rgb[..., ::-1]), options)
    return data.tobytes()


def _write_files(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)


def _remove_sample(folder: Path) -> None:
    """Removes the scenes and patches of an earlier sample; files of other names stay."""
    for split in ("train", "validation"):
        for ending in ("_sat.jpg", "_mask.png"):
            for path in (folder / split).glob(f"{split}[0-9]*{ending}"):
                path.unlink()
        for name in CLASS_NAMES:
            _remove_patches(folder / split / name)


def _remove_patches(folder: Path) -> None:
    """Removes patches, and the folder where nothing else is left: a class without images cannot be learned."""
    for path in folder.glob("[0-9][0-9][0-9][0-9]*.jpg"):
        if path.stem.isdigit():
            path.unlink()
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _move_files(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_dir():
            _move_files(path, target / path.name)
        else:
            os.replace(path, target / path.name)
