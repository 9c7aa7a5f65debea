"""Starting weights: published ones, or those of a file. What fits the model by name and shape is taken, the rest is told."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dlcv.runtime.archive_limits import member_sizes
from dlcv.runtime.errors import CheckpointError, MissingPackageError, one_line, reason_of
from dlcv.train.checkpoints.checkpoint import load_archive
from dlcv.train.checkpoints.published import published_file

IMAGENET = "imagenet"
COUNTER = "num_batches_tracked"
"""Batch normalisation's count of batches: no weight, and older files lack it."""

Weights = Mapping[str, Tensor]


def initialise(model: nn.Module, name: str, init: str, *, whole: bool = False) -> str:
    """Gives a model its starting weights.

    Args:
        model: changed in place.
        name: the model's name in the registry.
        init: `imagenet` for the published weights, fetched once and cached; else a file, see `initialise_from`.
        whole: whether it must have all tensors of the model.

    Returns:
        A line that says how many tensors were taken, which of the model's are fresh and which of the file's were not taken.

    Raises:
        UsageError: when the model has no published weights.
        CheckpointError: when they cannot be fetched, the file cannot be read, or nothing in it fits; with `whole`, not all.
        MissingPackageError: when the file needs a package that is absent.
        OutputError: when the cache cannot be written.
    """
    if init != IMAGENET:
        return initialise_from(model, Path(init), whole=whole)
    path = published_file(name)
    found = _read(path)
    return _take(model, path, _renamed(model, found) or found, whole)


def initialise_from(model: nn.Module, path: Path, *, whole: bool = False) -> str:
    """Takes over every tensor of `path` whose name and shape the model has.

    Published names are turned into the model's where more of the tensors fit then; so are names that all begin alike, as those of
    DataParallel or of a class around the network do.

    Args:
        model: changed in place.
        path: a state dict (`.pth`), a checkpoint of dlcv-train or a `.safetensors`, told apart by their content.

    Returns:
        As `initialise`.

    Raises:
        CheckpointError: when the file cannot be read, nothing in it fits, or a tensor that fits holds NaN or infinity.
        MissingPackageError: when it is a safetensors file and that package is absent.
    """
    if not path.is_file():
        raise CheckpointError(
            f"there is no weights file {path}; expected a .pth with a state dict, a .safetensors, or a checkpoint"
        )
    _check_members(path)
    found = _read(path)
    try:
        renamed = _renamed(model, found)
    except (LookupError, RuntimeError, ValueError):  # not in the published form: its own names may still fit
        renamed = None
    own = model.state_dict()
    if renamed is not None and len(_fitting(renamed, own)) > len(_fitting(found, own)):
        found = renamed
    ways = [(found, ""), *_other_prefixes(found, own)]
    found, said = max(ways, key=lambda way: len(_fitting(way[0], own)))  # the first of those that fit as well
    return _take(model, path, found, whole) + said


def _other_prefixes(found: Weights, own: Weights) -> Iterator[tuple[Weights, str]]:
    """The tensors without what all their names begin with, such as `module.`, and with what all of the model's do, such as `net.`; and how to say it."""
    theirs, ours = _prefix(found), _prefix(own)
    bare = {name.removeprefix(theirs): tensor for name, tensor in found.items()}
    if theirs:
        yield bare, f"; names taken without {theirs!r}"
    if ours:
        yield {ours + name: tensor for name, tensor in found.items()}, f"; names taken with {ours!r} before them"
    if theirs and ours:
        yield (
            {ours + name: tensor for name, tensor in bare.items()},
            f"; names taken with {ours!r} in place of {theirs!r}",
        )


def _prefix(weights: Weights) -> str:
    """The part up to the first dot, where it is that of all names; else empty."""
    first = {name.partition(".")[0] for name in weights if "." in name}
    return f"{first.pop()}." if len(first) == 1 and all("." in name for name in weights) else ""


def _renamed(model: nn.Module, found: Weights) -> Weights | None:
    """The tensors under the model's names; None where the model knows no published ones."""
    from_published = getattr(model, "from_published", None)
    return None if from_published is None else from_published(dict(found))


def _fitting(found: Weights, own: Weights) -> list[str]:
    return [name for name, tensor in found.items() if name in own and _form(tensor) == _form(own[name])]


def _form(tensor: Tensor) -> tuple[torch.Size, bool]:
    """What two tensors must share: half precision stands for single, but quantised integers are no weights."""
    return tensor.shape, tensor.is_floating_point()


def _take(model: nn.Module, path: Path, found: Weights, whole: bool) -> str:
    own = model.state_dict()
    fitting = _fitting(found, own)
    other_form = [name for name in own if name in found and name not in fitting]
    weights = [name for name in fitting if own[name].is_floating_point()]  # counters fit any width, and are no weights
    kernels = any(own[name].ndim > 1 for name in weights)  # so do the biases of a head
    if not weights or (not kernels and any(own[name].ndim > 1 for name in other_form)):
        names = f"expected names such as {next(iter(own))!r}, got {list(found)[:2]}"
        shapes = f"; of another shape: {_some([_both(n, found, own) for n in other_form])}" if other_form else ""
        shapes += "; pass the --width that the file was trained with (published weights: 1)" if other_form else ""
        raise CheckpointError(one_line(f"no tensor of {path} fits the model by name and shape; {names}{shapes}"))
    missing = [name for name in own if name not in found]
    counters = [name for name in missing if name.endswith(COUNTER)]
    fresh = [_both(n, found, own) for n in other_form] + [n for n in missing if n not in counters]
    if whole and fresh:
        raise CheckpointError(
            one_line(f"{path} has not all weights of the model, and none would be trained; it lacks {_some(fresh)}")
        )
    model.load_state_dict(
        {name: _converted(name, found[name], own[name].dtype, path) for name in fitting}, strict=False
    )
    left = [name for name in found if name not in own]
    text = f"{path}: {len(fitting)} of the model's {len(own)} tensors taken"
    text += f"; fresh: {_some(fresh)}" if fresh else ""
    text += f"; {len(counters)} counters {COUNTER} start at 0" if counters else ""
    text += f"; not taken from the file: {_some(left)}" if left else ""
    return one_line(text)


def _converted(name: str, tensor: Tensor, dtype: torch.dtype, path: Path) -> Tensor:
    """In the model's dtype, in which a number may become infinite that was finite in float64."""
    try:
        converted = tensor.to(dtype)
    except RuntimeError as error:
        raise CheckpointError(one_line(f"{name} of {path} is {tensor.dtype}, expected {dtype}")) from error
    if not bool(torch.isfinite(converted).all()):
        raise CheckpointError(
            one_line(f"{name} of {path} holds NaN or infinity, expected finite weights; pass another file")
        )
    return converted


def _both(name: str, found: Weights, own: Weights) -> str:
    def form(tensor: Tensor, other: Tensor) -> str:
        shape = " x ".join(map(str, tensor.shape)) or "a scalar"
        return shape if tensor.shape != other.shape else f"{str(tensor.dtype).removeprefix('torch.')} {shape}"

    return f"{name} (file {form(found[name], own[name])}, model {form(own[name], found[name])})"


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


def _check_members(path: Path) -> None:
    """Compares each member of a zip archive with its checksum, which torch does not."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            member_sizes(archive, path.stat().st_size)
            bad = archive.testzip()
    except Exception as error:  # as in `load_archive`: damaged bytes fail in many ways
        raise CheckpointError(one_line(f"{path} is damaged ({error}); expected a state dict")) from error
    if bad is not None:
        raise CheckpointError(one_line(f"{path} is damaged (checksum of {bad}); expected a state dict"))


def _read(path: Path) -> Weights:
    content: Any = _read_safetensors(path) if _is_safetensors(path) else load_archive(path, "expected a state dict")
    for key in (
        "weights",
        "state_dict",
        "model_state_dict",
        "model",
    ):  # dlcv's, Lightning's, torch's tutorial's, timm's
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(k, str) and _is_plain(v) for k, v in content.items()):
        raise CheckpointError(f"{path} does not hold a state dict (names and tensors); expected a .pth of weights")
    return content


def _is_plain(value: object) -> bool:
    """A dense tensor with numbers in it; a file may also name sparse, nested, quantised and empty `meta` ones."""
    return (
        isinstance(value, Tensor)
        and not value.is_nested
        and not value.is_quantized
        and (value.device.type, value.layout) == ("cpu", torch.strided)
    )


def _is_safetensors(path: Path) -> bool:
    """After 8 bytes, the length of a header, it is JSON; a zip archive and a pickle have other bytes there."""
    try:
        with open(path, "rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from error


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise MissingPackageError("safetensors", f"read {path}", "pip install safetensors") from error
    try:
        return load_file(path)
    except MemoryError as error:
        raise CheckpointError(
            f"{path} asks for more memory than there is; expected a .safetensors of weights"
        ) from error
    except Exception as error:  # the library tells of damage by classes of its own, which differ between versions
        raise CheckpointError(
            f"{path} is damaged or holds unknown types ({reason_of(error)}); expected a .safetensors of weights"
        ) from error
