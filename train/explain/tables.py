"""Arrays behind the pictures: numpy's archives, which are read without unpickling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dlcv.runtime.files import whole_file


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """An `.npz`, compressed, the same bytes for the same arrays.

    Raises:
        TypeError: for an array of objects, which would be pickled.
        OutputError: when it cannot be written.
    """
    if objects := [name for name, array in arrays.items() if array.dtype.hasobject]:
        raise TypeError(f"{', '.join(objects)}: arrays of objects are not written")
    values: dict[str, Any] = dict(arrays)
    with whole_file(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **values)
