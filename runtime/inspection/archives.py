"""What the two zip archives of dlcv hold: a checkpoint's tensors, and a reference's arrays. Nothing is unpickled."""

from __future__ import annotations

import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlcv.runtime.archive_limits import member_sizes
from dlcv.runtime.errors import DlcvError, EngineError, reason_of
from dlcv.runtime.graphs.port import Port
from dlcv.runtime.inspection.pickled import PickledTensor, PickleError, read_pickled

_MAX_PICKLE = 1 << 26
_MAX_CHECKED = 1 << 30
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Of batch normalisation: in the state dict, and no parameters."""


def checkpoint_details(path: Path) -> dict[str, Any]:
    """The tensors of a checkpoint, as JSON values.

    Returns:
        `weights`: name, dtype and shape of each tensor of the model; `parameters`: the number of their values, without the
        statistics of batch normalisation; `training_tensors`: how many there are beside them (optimizer and the like);
        `weight_bytes`; `other_names`: what unpickling would import beyond weights; `unknown`: why the tensors are not known,
        empty where they are; `members`: of the archive, their number.

    Raises:
        EngineError: when the archive is damaged.
    """
    with _archive(path, "train it again") as archive:
        sizes = _checked_sizes(archive, path)
        pickles = [name for name in sizes if name.split("/")[-1] == "data.pkl"]
        if len(pickles) != 1:
            return {"members": len(sizes), "unknown": f"it holds {len(pickles)} data.pkl, expected 1 as torch writes"}
        data = _read(archive, pickles[0])
    try:
        found = read_pickled(data)
        _check_storages(found.tensors, pickles[0].removesuffix("data.pkl"), sizes)
    except PickleError as error:
        return {"members": len(sizes), "unknown": str(error)}
    weights = {name: tensor for name, tensor in found.tensors.items() if name.startswith("weights/")}
    names = "weights/" if weights else ""
    weights = weights or found.tensors
    return {
        "members": len(sizes),
        "unknown": "",
        "parameters": _values(name_tensor for name_tensor in weights.items()),
        "weight_bytes": sum({t.storage: t.storage_bytes for t in weights.values()}.values()),
        "weights": [
            {"name": name.removeprefix(names), "dtype": tensor.dtype, "shape": list(tensor.shape)}
            for name, tensor in weights.items()
        ],
        "training_tensors": len(found.tensors) - len(weights),
        "other_names": list(found.other_names),
    }


def reference_arrays(path: Path) -> list[Port]:
    """Name, type and shape of the arrays in an npz file.

    Raises:
        EngineError: when it is damaged.
    """
    from numpy.lib import format as npy

    found = []
    with _archive(path, "export the model again") as archive:
        for name in _checked_sizes(archive, path):
            if not name.endswith(".npy"):
                continue
            with archive.open(name) as member:
                version = npy.read_magic(member)
                if version not in ((1, 0), (2, 0)):
                    raise ValueError(f"{name} has version {version} of the npy format")
                read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
                shape, _, dtype = read(member)
            found.append(Port(name.removesuffix(".npy"), str(dtype), tuple(shape)))
    return found


@contextmanager
def _archive(path: Path, remedy: str) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except DlcvError:
        raise
    except (
        Exception
    ) as error:  # damaged bytes fail in many ways: zip, zlib, pickle and numpy's header each have their own
        raise EngineError(f"{path} is damaged: {reason_of(error)}; {remedy}") from error


def _checked_sizes(archive: zipfile.ZipFile, path: Path) -> dict[str, int]:
    """Name -> bytes of each member, once every member was held against its checksum; bounded, whatever the archive claims."""
    sizes = member_sizes(archive, max(path.stat().st_size, _MAX_CHECKED))
    bad = archive.testzip()
    if bad is not None:
        raise ValueError(f"checksum of {bad}")
    return sizes


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as member:
        data = member.read(_MAX_PICKLE + 1)
    if len(data) > _MAX_PICKLE:
        raise ValueError(f"{name} is longer than {_MAX_PICKLE} bytes")
    return data


def _check_storages(tensors: dict[str, PickledTensor], folder: str, sizes: dict[str, int]) -> None:
    for name, tensor in tensors.items():
        held = sizes.get(f"{folder}data/{tensor.storage}")
        if held is None:
            raise PickleError(f"the archive lacks the values of {name}")
        if tensor.dtype != "unknown" and held != tensor.storage_bytes:
            raise PickleError(f"the archive holds {held} bytes of {name}, expected {tensor.storage_bytes}")


def _values(weights: Any) -> int:
    """Each tensor once, under however many names it stands."""
    once = {
        (tensor.storage, tensor.offset, tensor.shape)
        for name, tensor in weights
        if name.replace("/", ".").split(".")[-1] not in _STATISTICS
    }
    return sum(math.prod(shape) for _, _, shape in once)
