"""Archives of arrays hold what was given, and nothing that runs code when it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dlcv.train.explain.tables import write_arrays


def test_an_archive_holds_the_arrays_and_no_more(tmp_path: Path) -> None:
    write_arrays(tmp_path / "a.npz", {"x": np.arange(3), "names": np.array(["caf\udce9", "b"])})
    with np.load(tmp_path / "a.npz", allow_pickle=False) as arrays:
        assert sorted(arrays) == ["names", "x"]
        assert arrays["names"].tolist() == ["caf\udce9", "b"]


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"^odd: arrays of objects are not written$"):
        write_arrays(tmp_path / "a.npz", {"x": np.arange(3), "odd": np.array([{}])})
    assert not list(tmp_path.iterdir())
