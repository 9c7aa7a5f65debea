"""What all pictures have in common, and the files that are kept of one."""

from __future__ import annotations

import itertools
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.errors import MissingPackageError
from dlcv.train.pictures.keep import keep
from dlcv.train.pictures.style import COLOURS, ink_on, new_figure, shortened, styled


def test_long_names_keep_their_ends() -> None:
    assert shortened("a" * 28) == "a" * 28
    assert shortened("first-class-of-many-words-the-last") == "first-class-o\N{HORIZONTAL ELLIPSIS}words-the-last"
    assert shortened("two\nlines") == "two\N{REPLACEMENT CHARACTER}lines"


def test_ink_can_be_read() -> None:
    assert [ink_on(rgb) for rgb in ((1, 1, 1), (0, 0, 0), (0.03, 0.19, 0.42), (0.42, 0.68, 0.84))] == [
        "black", "white", "white", "black",
    ]  # fmt: skip


# linear RGB as it is seen without one kind of cone; Machado, Oliveira and Fernandes 2009, severity 1
PROTANOPIA = [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]


@pytest.mark.parametrize("seen", [np.eye(3), PROTANOPIA, DEUTERANOPIA])
def test_any_two_colours_lie_apart_for_the_colour_blind_too(seen: Any) -> None:
    linear = seen_linear(COLOURS) @ np.array(seen, np.float32).T
    lab = cv2.cvtColor(np.clip(linear, 0, 1)[None], cv2.COLOR_LRGB2LAB)[0]
    distances = [np.linalg.norm(lab[a] - lab[b]) for a, b in itertools.combinations(range(len(COLOURS)), 2)]
    # a difference of 2.3 in CIELAB is just noticed beside each other; lines and points lie apart, so several times that
    assert min(distances) > 15


def seen_linear(colours: Sequence[str]) -> NDArray[np.float32]:
    """`#rrggbb` -> linear RGB, float32 (n, 3), 0..1."""
    srgb = np.array([list(bytes.fromhex(colour[1:])) for colour in colours], np.float32) / 255
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4).astype(np.float32)


def test_a_users_own_settings_do_not_count() -> None:
    before = mpl.rcParams["font.size"]
    with mpl.rc_context({"font.size": 40, "axes.grid": False}):
        size = styled(lambda: mpl.rcParams["font.size"])()
        assert size == 11
        assert mpl.rcParams["font.size"] == 40, "and are left as they were"
    assert mpl.rcParams["font.size"] == before


def test_without_matplotlib_the_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(
        MissingPackageError, match=r"^matplotlib is needed to draw; install it with: pip install 'dlcv-edge\[report\]'$"
    ):
        styled(lambda: None)()


@styled
def nothing_but_text(text: str) -> mpl.figure.Figure:
    figure = new_figure(2, 1)
    figure.text(0, 0, text)
    return figure


def test_a_picture_is_kept_with_its_data(tmp_path: Path) -> None:
    table = (("class", "IoU"), [("caf\udce9, \u6d77", 0.123456789), ("b", math.nan)])
    picture = keep(tmp_path, "odd", nothing_but_text("\u6d77"), title="T", caption="C", table=table)
    assert picture.png.read_bytes().startswith(b"\x89PNG")
    assert picture.data == tmp_path / "odd.csv"
    assert picture.data.read_text("utf-8") == 'class,IoU\n"caf\\udce9, \u6d77",0.123457\nb,\n'
    assert keep(tmp_path, "alone", nothing_but_text("x"), title="T", caption="C").data is None
