"""What all pictures have in common, and the files that are kept of one."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import matplotlib as mpl
import pytest

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


def test_neighbouring_colours_differ_in_lightness_or_hue_for_everyone() -> None:
    assert len(set(COLOURS)) == 7
    assert "#F0E442" not in COLOURS, "yellow is lost on white"


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
