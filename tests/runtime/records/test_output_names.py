"""What the outputs of tiles are called."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from dlcv.runtime.errors import UsageError
from dlcv.runtime.records.output_names import check_names, name_of, output_name
from dlcv.runtime.tiles.tile_list import Tile


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("{path}.png", "a/b.jpg.png"),
        ("{folder}/{stem}.png", "a/b.png"),
        ("{stem}_mask{suffix}.png", "b_mask.jpg.png"),
        ("flat/{name}.png", "flat/b.jpg.png"),
        ("{folder}/./{name}", "a/b.jpg"),
    ],
)
def test_name_templates(template: str, name: str) -> None:
    assert output_name("a/b.jpg", template) == name


def test_a_tile_at_the_top_has_the_folder_dot() -> None:
    assert output_name("b.jpg", "{folder}/{stem}.png") == "b.png"


@pytest.mark.parametrize(
    "template", ["{nothing}", "{}", "{path", "{path.x}", "{path!z}", "{stem.__class__}.png", "{stem[0]}.png"]
)
def test_a_template_that_cannot_be_used(template: str) -> None:
    with pytest.raises(UsageError, match=r"cannot be used \(.*\); fields are \{path\} \(a/b\.jpg\)"):
        output_name("a/b.jpg", template)


@pytest.mark.parametrize("template", ["", "../{name}", "/tmp/{name}", "{folder}/../../{name}", "{folder}/"])
def test_a_template_that_leaves_the_output_folder(template: str) -> None:
    with pytest.raises(UsageError, match=r"which is not a file below the output folder$"):
        output_name("a/b.jpg", template)


@pytest.mark.parametrize(("template", "large"), [("{path}.jpg", False), ("{path}.TIF", False), ("{path}.jpg", True)])
def test_a_name_of_another_format_is_refused(template: str, large: bool) -> None:
    what = "a GeoTIFF" if large else "a PNG file"
    with pytest.raises(UsageError, match=rf"for 'a/t\.tif', whose mask is {what}; end the template in \.png"):
        check_names([Tile(Path("x"), "a/t.tif", large=large)], template)


def test_a_large_images_mask_may_be_called_a_tiff() -> None:
    assert name_of(Tile(Path("x"), "t.tif", large=True), "{stem}_mask.tif") == "t_mask.tif"


def test_two_tiles_of_one_output_are_refused() -> None:
    tiles = [Tile(Path("x"), "a/t.jpg"), Tile(Path("y"), "b/t.jpg")]
    check_names(tiles)
    with pytest.raises(UsageError, match=r"gives a/t\.jpg and b/t\.jpg one output, t\.png; use \{path\} in it"):
        check_names(tiles, "{stem}.png")


@pytest.mark.parametrize(
    "key", ["a.jpg", "a/b.jpg", "./a.jpg", "a//b.jpg", "a/./b.jpg", ".hidden/a.jpg", "a..jpg", "..a/b..", "a.b/c"]
)
def test_the_quick_name_is_the_thorough_one(key: str) -> None:
    assert output_name(key) == output_name(key, "{folder}/{name}.png") == str(PurePosixPath(f"{key}.png"))


@pytest.mark.parametrize("key", ["../a.jpg", "a/../b.jpg", "/a.jpg"])
def test_no_name_leads_out(key: str) -> None:
    with pytest.raises(UsageError, match="not a file below the output folder"):
        output_name(key)
