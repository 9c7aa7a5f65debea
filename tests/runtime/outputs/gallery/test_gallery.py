"""The gallery in a real browser: sorted, filtered, opened, by mouse and keyboard; and no name is ever more than text."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dlcv.runtime.card.card import ModelCard
from dlcv.runtime.masks import encode_mask
from dlcv.runtime.outputs.gallery import page as page_module
from dlcv.runtime.outputs.gallery.page import PageTile, write_page
from dlcv.runtime.run.inference import InferSettings, Summary, infer

WriteTile = Callable[[Path, NDArray[np.uint8]], None]
KEYS = ["a.png", "b.png", "sub/c.png", "sub/d.png", "sub/deep/e.png", "sub/deep/f.png"]
HOSTILE = [
    "</script><img src=x onerror=alert(1)>.png",
    "<script>alert(2)</script>/x.png",
    '"><svg onload=alert(3)>.png',
    "<!--<script>.png",
    "%41#?&amp; 'x'.png",
    "javascript:alert(4)/new\nline.png",
]
CARD = ModelCard(
    model="m", task="segmentation", classes=("land", "water", "never"), palette=((200, 60, 0), (0, 60, 200), (9, 9, 9)),
    input_size_hw=(4, 4), mean_rgb=(0.0, 0.0, 0.0), std_rgb=(1.0, 1.0, 1.0), head="probs",
)  # fmt: skip


def gallery_of(tiles: Path, engine: Path, out: Path, **options: Any) -> tuple[Path, Summary]:
    settings = InferSettings.of(
        sources=(str(tiles),), engine=engine, output=out, device="cpu", quiet=True, gallery=True, **options
    )
    return out / "gallery/index.html", infer(settings)


def names(browser: Any) -> list[str]:
    found: list[str] = browser.texts(".tile .name")
    return found


@pytest.fixture
def segmented(tile_folder: Path, tiny_graph: Callable[[str], Path], tmp_path: Path) -> Path:
    """The page of six tiles and one that failed, with overlays beside."""
    (tile_folder / "broken.png").write_text("no image")
    page, summary = gallery_of(tile_folder, tiny_graph("probs"), tmp_path / "out", overlay=True)
    assert (summary.done, summary.failed) == (6, 1)
    return page


def confidences(out: Path) -> dict[str, float]:
    lines = (out / "gallery/tiles.csv").read_text().splitlines()[1:]
    return {line.split(",")[0]: float(line.split(",")[3]) for line in lines}


def test_least_confident_first_and_failed_last(browser: Any, segmented: Path) -> None:
    browser.open(segmented)
    known = confidences(segmented.parent.parent)
    assert names(browser) == [*sorted(KEYS, key=lambda key: (known[key], key)), "broken.png"]
    assert browser.texts("#counts b")[:2] == ["6", "1"]
    assert browser.texts(".failed .reason")[0].startswith("not an image: expected JPEG")
    browser.wait("[...document.querySelectorAll('.stack img')].every((i) => i.complete && i.naturalWidth > 0)")
    assert browser.js("document.querySelectorAll('.stack img').length") == 12, "an image and its classes each"
    assert browser.problems == []


def test_filters(browser: Any, segmented: Path) -> None:
    browser.open(segmented)
    facts = json.loads(browser.js("document.getElementById('facts').textContent"))
    rarest = min(
        range(len(facts["classes"])), key=lambda k: sum(k in dict(t.get("classes", [])) for t in facts["tiles"])
    )
    having = {t["key"] for t in facts["tiles"] if rarest in dict(t.get("classes", []))}
    browser.click(f".class[data-index='{rarest}']")
    assert set(names(browser)) == having
    assert len(having) < 6, "a class that every tile has would prove nothing"
    browser.key("0")
    assert len(names(browser)) == 7
    browser.key("f")
    assert names(browser) == ["broken.png"]
    browser.key("f")
    browser.key("/")
    for letter in "deep":
        browser.key(letter)
    assert set(names(browser)) == {"sub/deep/e.png", "sub/deep/f.png"}
    browser.js("document.getElementById('find').value = 'nowhere'; document.getElementById('find').oninput()")
    assert not browser.js("document.getElementById('nothing').hidden")
    browser.click("#clear")
    assert len(names(browser)) == 7
    browser.js("document.getElementById('sort').value = 'name'; document.getElementById('sort').onchange()")
    assert names(browser) == sorted([*KEYS, "broken.png"])
    assert browser.problems == []


def test_keyboard_through_the_tiles(browser: Any, segmented: Path) -> None:
    browser.open(segmented)
    shown = names(browser)
    title = "document.querySelector('#large h2').textContent"
    browser.key("ArrowRight")
    browser.key("ArrowRight")
    browser.key("Enter")
    browser.wait("document.getElementById('large').open")
    assert browser.js(title) == shown[1]
    assert browser.texts("#large .links a") == ["mask", "overlay"]
    browser.wait("(document.querySelector('#large .stack img') || {}).naturalWidth === 64")
    assert browser.js("document.querySelector('#large .stack img').src").endswith(f"overlays/{shown[1]}.jpg")
    browser.key("ArrowRight")
    assert browser.js(title) == shown[2]
    for _ in shown:
        browser.key("ArrowRight")
    assert browser.js(title) == "broken.png", "the last; there is no further"
    browser.key("ArrowLeft")
    browser.key("m")
    assert browser.js("document.querySelector('#large .mask').style.opacity") == "0", "the image alone"
    browser.key("Escape")
    browser.wait("!document.getElementById('large').open")
    name = "(document.activeElement.querySelector('.name') || {}).textContent"
    browser.wait(f"{name} === {json.dumps(shown[-2])}")  # the focus is where one was
    assert browser.problems == []


def test_light_and_dark(browser: Any, segmented: Path) -> None:
    paper = "getComputedStyle(document.documentElement).backgroundColor"
    browser.open(segmented)
    light = browser.js(paper)
    browser.key("t")
    assert browser.js(paper) != light
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    browser.open(segmented)
    assert browser.js(paper) != light


def test_a_page_that_was_sent_away_still_shows_its_tiles(browser: Any, segmented: Path, tmp_path: Path) -> None:
    alone = tmp_path / "mail" / "gallery.html"
    alone.parent.mkdir()
    shutil.copy(segmented, alone)
    browser.open(alone)
    browser.wait("[...document.querySelectorAll('.stack img')].every((i) => i.complete && i.naturalWidth > 0)")
    browser.click(".tile")
    browser.wait("document.querySelectorAll('#large .stack img').length === 2")  # no overlay there: the thumbnails
    assert all("ERR_FILE_NOT_FOUND" in problem for problem in browser.problems)


@pytest.mark.parametrize("embedded", [True, False])
def test_hostile_names_are_text(
    browser: Any, tmp_path: Path, tiny_graph: Callable[[str], Path], tile_folder: Path, embedded: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    if not embedded:
        monkeypatch.setattr(page_module, "EMBEDDED_BYTES", 0)
    folder, data = tmp_path / "hostile", (tile_folder / "a.png").read_bytes()
    for name in HOSTILE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    (folder / "<b>failed<script>alert(5)</script>.png").mkdir(parents=True)
    (folder / "<b>failed<script>alert(5)</script>.png/x.png").write_text("no image")
    page, summary = gallery_of(folder, tiny_graph("probs"), tmp_path / "out", overlay=True)
    assert (summary.done, summary.failed) == (6, 1)
    browser.open(page)
    assert set(names(browser)) == {*HOSTILE, "<b>failed<script>alert(5)</script>.png/x.png"}
    browser.wait("[...document.querySelectorAll('.stack img')].every((i) => i.complete && i.naturalWidth > 0)")
    for position in range(6):
        browser.js(f"openTile({position})")
        browser.wait("(document.querySelector('#large .stack img') || {}).naturalWidth === 64")
    assert browser.js("document.querySelectorAll('script').length") == 2, "the page's own"
    assert browser.js("document.querySelectorAll('svg, b svg, .name b, .name img').length") == 0
    assert (browser.problems, browser.dialogs) == ([], [])


def test_the_policy_stops_a_script_that_is_not_the_pages(browser: Any, segmented: Path) -> None:
    browser.open(segmented)
    browser.js("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.ran = 1\">')")
    browser.js(
        "(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 2'; document.body.append(s); })()"
    )
    browser.js("fetch('https://example.org/').catch(() => 0)")
    browser.told("script-src")
    browser.told("default-src 'none'")
    assert browser.js("window.ran") is None
    for directive in ("script-src", "default-src 'none'"):  # the script, and the address
        assert any(directive in problem for problem in browser.problems), browser.problems


def test_classification(browser: Any, tmp_path: Path, colour_folder: Path, colour_engine: Path) -> None:
    (colour_folder / "broken.png").write_text("no image")
    page, summary = gallery_of(colour_folder, colour_engine, tmp_path / "out")
    assert (summary.done, summary.failed) == (5, 1)
    browser.open(page)
    known = confidences(tmp_path / "out")
    assert names(browser) == [*sorted(known, key=lambda key: (known[key], key)), "broken.png"]
    assert browser.texts(".what span")[0] in ("red", "green", "blue", "grey")
    browser.click(".class[data-index='0']")
    assert set(names(browser)) == {"red.png", "wide.png"}
    browser.click(".class[data-index='1']")
    assert set(names(browser)) == {"red.png", "wide.png", "green.png"}, "of either class"
    assert browser.js("document.querySelectorAll('.mask').length") == 0
    assert browser.problems == []


def test_5000_tiles_open_and_a_page_of_them_is_drawn(browser: Any, tmp_path: Path) -> None:
    folder = tmp_path / "gallery"
    folder.mkdir()
    data = encode_mask(np.zeros((8, 8), np.uint8), CARD.palette)
    with open(folder / "one.png", "wb") as file:
        file.write(data + bytes(page_module.EMBEDDED_BYTES))  # as much as 5,000 real ones: the page refers to files
    tiles = (
        PageTile(
            f"folder/{number:05}.png", width=512, height=512, confidence=number / 5000, classes=((0, 200_000), (1, 62_144)),
            image="gallery/one.png", mask="gallery/one.png", output=f"folder/{number:05}.png.png",
        )
        for number in range(5000)
    )  # fmt: skip
    write_page(folder / "index.html", CARD, tiles)
    assert (folder / "index.html").stat().st_size < 5000 * 300, "under 300 bytes a tile"
    start = time.monotonic()
    browser.open(folder / "index.html")
    assert browser.js("document.querySelectorAll('.tile').length") == 120
    assert time.monotonic() - start < 20, "about a second on a quiet machine"
    assert browser.texts("#where") == ["1\u2013120 of 5\u202f000"]
    browser.key("]")
    assert browser.texts("#where") == ["121\u2013240 of 5\u202f000"]
    assert names(browser)[0] == "folder/00120.png"
    browser.js("openTile(239)")
    browser.key("ArrowRight")
    assert browser.js("document.querySelector('#large h2').textContent") == "folder/00240.png", "over the page's end"
    browser.key("Escape")
    assert browser.js("document.querySelectorAll('.tile').length") == 120
    browser.js("document.getElementById('find').value = '4999'; document.getElementById('find').oninput()")
    assert names(browser) == ["folder/04999.png"]
    assert browser.problems == []


def test_nothing_from_outside_stands_in_the_page_as_html(tmp_path: Path) -> None:
    """Without a browser: what the page is made of, for machines that have none."""
    (tmp_path / "gallery").mkdir()
    card = CARD.changed(classes=("</script><script>alert(1)</script>", "b", "c"))
    tile = PageTile("<script>alert(2)</script>", reason="<img src=x onerror=alert(3)>")
    write_page(tmp_path / "gallery/index.html", card, [tile])
    text = (tmp_path / "gallery/index.html").read_text("ascii", errors="ignore")
    assert "alert(" in text
    assert "<script>alert" not in text
    assert "<img" not in text
    block = text.split('id="facts">')[1].split("</script>")[0]
    assert json.loads(block)["tiles"][0]["key"] == tile.key
    assert "://" not in text.split("<body>")[0], "no address of a network"


def test_no_page_of_a_run_that_has_not_ended(
    segmented: Path, tile_folder: Path, tiny_graph: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dlcv.runtime.run import course

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    (tile_folder / "new.png").write_bytes((tile_folder / "a.png").read_bytes())
    monkeypatch.setattr(course.Course, "_note", stop)
    with pytest.raises(KeyboardInterrupt):
        gallery_of(tile_folder, tiny_graph("probs"), segmented.parent.parent, overlay=True, resume=True)
    assert not segmented.exists(), "an old page would not show what the folder holds"
