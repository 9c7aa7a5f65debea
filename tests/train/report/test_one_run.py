"""The report of one run: what is drawn with data and without, that it says what the run said, and the page in a browser."""

from __future__ import annotations

import csv
import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from dlcv.runtime.datasets.masks.description import DatasetDescription
from dlcv.runtime.datasets.split import read_split
from dlcv.runtime.errors import DatasetError, UsageError
from dlcv.train import run
from dlcv.train.cli.explain import main as explain
from dlcv.train.explain.options import ExplainOptions
from dlcv.train.report import drawn
from dlcv.train.report.judged import find_data, judge
from dlcv.train.report.one_run import ReportOptions, write_report
from dlcv.train.report.record import read_run
from dlcv.train.report.wording import shown_number
from dlcv.train.settings.settings import TrainSettings

CPU = ReportOptions(device="cpu")
ALWAYS = {"index.html", "curves.png", "curves.csv", "classes.png", "classes.csv"}
JUDGED = {"confusion.png", "confusion.csv", "confusion-normalised.png", "confusion-normalised.csv", "confused.csv", "evaluation.json"}  # fmt: skip


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def report(segmented_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of the run of masks; nobody changes it."""
    folder, said = tmp_path_factory.mktemp("report") / "report", []
    write_report(read_run(segmented_run), folder, CPU, said.append)
    assert not said, "nothing was missing"
    return folder


def test_a_run_of_masks_gives_everything(report: Path) -> None:
    assert {path.name for path in report.iterdir()} == ALWAYS | JUDGED | {"masks.png", "masks.csv"}


def test_the_evaluation_is_the_runs_own(report: Path, segmented_run: Path) -> None:
    found, best = json.loads((report / "evaluation.json").read_text()), read_run(segmented_run).best
    # convolutions over another number of tiles round differently, and a pixel at a tie may turn
    assert found["mean_iou"] == pytest.approx(best.scores["mean_iou"], abs=2e-3)
    assert np.array(found["confusion"]).sum() == 3 * 96 * 96
    shares = [float(row["share_of_true"]) for row in rows(report / "confused.csv")]
    counts = [int(row["pixels"]) for row in rows(report / "confused.csv")]
    assert counts == sorted(counts, reverse=True)
    assert all(0 < share <= 1 for share in shares)
    assert sum(counts) == np.array(found["confusion"]).sum() - np.trace(found["confusion"])


def test_masks_are_told_as_data(report: Path, segmented_run: Path) -> None:
    found = rows(report / "masks.csv")
    best = read_run(segmented_run).best_epoch
    assert {row["mask"] for row in found} == {"truth", "epoch 1", "epoch 2", "epoch 3", f"best, epoch {best}"}
    assert all(float(row["share_right"]) == 1 for row in found if row["mask"] == "truth")
    shares = [[float(v) for k, v in row.items() if k.startswith("share_") and k != "share_right"] for row in found]
    assert all(sum(each) == pytest.approx(1, abs=1e-5) for each in shares)  # six digits


def test_the_curves_are_told_as_data(report: Path, segmented_run: Path) -> None:
    history = rows(segmented_run / "history.csv")
    found = rows(report / "curves.csv")
    for column, wanted in (("validation_mean_iou", "mean_iou"), ("train_loss", "train_loss")):
        assert [float(row[column]) for row in found] == [float(row[wanted]) for row in history]
    assert all(row["training_mean_iou"] for row in found)


@pytest.fixture(scope="module")
def report_of_classes(classified_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "report"
    write_report(read_run(classified_run), folder, CPU, pytest.fail)
    return folder


def test_a_run_of_classes(classified_run: Path, report_of_classes: Path) -> None:
    assert {path.name for path in report_of_classes.iterdir()} == ALWAYS | JUDGED
    found = json.loads((report_of_classes / "evaluation.json").read_text())
    assert found["accuracy"] == read_run(classified_run).best.scores["accuracy"]
    assert found["images"].startswith("8 validation images in ")
    assert 'id="viewer"' not in (report_of_classes / "index.html").read_text("utf-8"), "there are no masks to slide"


def test_the_split_of_the_run_is_kept_to(classified_run: Path) -> None:
    labelled, _ = find_data(read_run(classified_run), None, None, print)
    assert labelled is not None
    assert [image.name for image in labelled.examples] == read_split(classified_run / "split.csv")[1]


def test_data_that_is_described_by_folders_is_found_by_the_report_and_by_explain(
    scenes: Path, deepglobe: DatasetDescription, tmp_path: Path
) -> None:
    """The probe has names and a description of its own: the checkpoint says what the run's masks were."""
    for image in (scenes / "train").glob("*_sat.jpg"):
        name = image.name.removesuffix("_sat.jpg")
        for kind, source in (("images", image), ("masks", image.with_name(f"{name}_mask.png"))):
            (tmp_path / "data" / kind).mkdir(parents=True, exist_ok=True)
            shutil.copy(source, tmp_path / "data" / kind / f"{name}{source.suffix}")
    described = deepglobe.to_dict() | {"image_folder": "images", "mask_folder": "masks"}
    described |= {"name": "folders", "image_suffix": ".jpg", "mask_suffix": ".png"}
    described["classes"][1]["name"] = "a class of its own"
    (tmp_path / "folders.json").write_text(json.dumps(described))
    settings = TrainSettings(
        data=str(tmp_path / "data"), dataset=str(tmp_path / "folders.json"), width=0.05, epochs=1, batch=4, crop=64,
        workers=0, device="cpu", seed=1,
    )  # fmt: skip
    run.start(settings, tmp_path / "run", overwrite=False, say=lambda _: None).train()
    labelled, where = find_data(read_run(tmp_path / "run"), None, None, pytest.fail)
    assert labelled is not None
    validated = read_split(tmp_path / "run/split.csv")[1]
    assert [tile.name for tile in labelled.examples] == validated
    assert where == f"{len(validated)} validation tiles in {tmp_path / 'data'}"
    arguments = [
        str(tmp_path / "run"),
        "--data",
        str(tmp_path / "data"),
        "--feature-pictures",
        "weights",
        "--device",
        "cpu",
    ]
    result = CliRunner().invoke(explain, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.stderr


def test_data_that_moved_is_found_by_its_option(segmented_run: Path, hostile_data: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(hostile_data, tmp_path / "elsewhere"))
    labelled, where = find_data(read_run(segmented_run), moved, None, pytest.fail)
    assert labelled is not None
    assert where == f"3 validation tiles in {moved}"
    with pytest.raises(DatasetError, match="there is nothing at "):
        find_data(read_run(segmented_run), tmp_path / "gone", None, pytest.fail)


def test_without_data_the_probe_stands_in_and_the_page_says_so(segmented_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(segmented_run, tmp_path / "run"))
    text = (folder / "settings.toml").read_text()
    (folder / "settings.toml").write_text(re.sub("^data = .*$", 'data = "/gone/for/good"', text, flags=re.MULTILINE))
    said: list[str] = []
    page = write_report(read_run(folder), tmp_path / "report", CPU, said.append)
    assert [sentence.split(";")[0] for sentence in said] == [
        "the run's data was not found (there is nothing at /gone/for/good)",
        "confusion and pictures of tiles are therefore of the run's probe, 3 of its validation tiles, and not of all",
    ]
    assert (page.parent / "confusion.png").exists()
    assert "not of all" in page.read_text("utf-8")


def test_without_data_and_probe_what_is_in_the_folder_is_drawn(
    segmented_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[str] = []
    draw = drawn.draw_classes
    monkeypatch.setattr(drawn, "draw_classes", lambda classes, *rest: (names.extend(classes), draw(classes, *rest))[1])
    folder = Path(shutil.copytree(segmented_run, tmp_path / "run"))
    shutil.rmtree(folder / "probe")
    (folder / "settings.toml").unlink()
    (folder / "last.pt").unlink()
    said: list[str] = []
    page = write_report(read_run(folder), tmp_path / "report", CPU, said.append)
    assert {path.name for path in page.parent.iterdir()} == ALWAYS
    assert [name for name in names if "(not counted)" in name] == ["unknown (not counted)"]
    assert said[0].startswith(
        "the run's data was not found (the run kept no settings that name its data); pass --data DIR"
    )
    assert said[1].startswith("without data there is no confusion matrix, and there are no masks to look at: ")
    values = [row["iou"] for row in rows(page.parent / "classes.csv")]
    stored = read_run(folder).best.scores["iou"]
    assert [float(value or "nan") for value in values] == pytest.approx(stored, rel=1e-5, nan_ok=True)


def test_without_a_history_the_rest_is_drawn(classified_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(classified_run, tmp_path / "run"))
    (folder / "history.csv").unlink()
    said: list[str] = []
    page = write_report(read_run(folder), tmp_path / "report", CPU, said.append)
    assert said == ["the run kept no history.csv, so there are no curves"]
    assert {path.name for path in page.parent.iterdir()} == (ALWAYS | JUDGED) - {"curves.png", "curves.csv"}


def test_a_damaged_mask_is_left_out_and_told(segmented_run: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(segmented_run, tmp_path / "run"))
    damaged = sorted((folder / "snapshots/epoch-0002").glob("*.png"))[0]
    damaged.write_bytes(damaged.read_bytes()[:60])
    said: list[str] = []
    run = read_run(folder)
    labelled, where = find_data(run, None, None, said.append)
    assert labelled is not None
    judged = judge(run, labelled, where, tiles=(), device="cpu", say=said.append)
    assert len(said) == 1
    assert said[0].startswith(f"{damaged} is left out: ")
    assert sorted(len(tile.masks) for tile in judged.tiles) == [4, 5, 5]


def test_tiles_by_name(segmented_run: Path) -> None:
    run = read_run(segmented_run)
    labelled, where = find_data(run, None, None, print)
    assert labelled is not None
    name = labelled.examples[2].name
    assert [t.name for t in judge(run, labelled, where, tiles=[name], device="cpu", say=print).tiles] == [name]
    with pytest.raises(UsageError, match="--tile: no tile is called 'gone'; there is "):
        judge(run, labelled, where, tiles=["gone"], device="no device: this is not reached", say=print)


def test_tiles_of_a_classifier_are_refused_before_anything_is_written(classified_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--tile: cnn3 is a classifier, whose report has no masks; leave it out$"):
        write_report(read_run(classified_run), tmp_path / "report", ReportOptions(tiles=("a",), device="cpu"), print)
    assert not (tmp_path / "report").exists()


def test_a_page_of_someone_else_is_not_overwritten(classified_run: Path, tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    with pytest.raises(
        UsageError, match=r"index\.html is there and is no report of dlcv-report; choose another folder"
    ):
        write_report(read_run(classified_run), tmp_path, CPU, print)
    assert (tmp_path / "index.html").read_text() == "mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_report_is_made_again(classified_run: Path, report_of_classes: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(report_of_classes, tmp_path / "report"))
    again = write_report(read_run(classified_run), folder, CPU, print)
    assert again.read_bytes() == (report_of_classes / "index.html").read_bytes()


def test_pictures_of_features_stand_in_their_own_section(classified_run: Path, tmp_path: Path) -> None:
    options = ReportOptions(features=ExplainOptions(kinds=("weights",), device="cpu"), device="cpu")
    text = write_report(read_run(classified_run), tmp_path, options, pytest.fail).read_text("utf-8")
    section = text.split('<section id="features">')[1].split("</section>")[0]
    assert "<h3>First-layer weights</h3>" in section
    assert " Data: <code>features/first-layer.npz</code>." in section
    assert {path.name for path in (tmp_path / "features").iterdir()} == {"first-layer.npz", "first-layer.png"}


def visible_share(browser: Any) -> float:
    """How much of the stack's width shows the layer that lies over, by what the browser itself computes."""
    inset = browser.js("getComputedStyle(document.querySelector('.stack .over')).clipPath")
    return 100 - float(re.findall(r"([0-9.]+)%", inset)[0]) if "%" in inset else 100.0


def open_report(browser: Any, page: Path) -> None:
    browser.open(page)
    browser.wait("[...document.querySelectorAll('img')].every((i) => i.complete && i.naturalWidth > 0)")


def test_in_a_browser_the_page_opens_clean_and_hostile_names_are_text(
    browser: Any, report: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "sent by mail.html"
    shutil.copy(report / "index.html", alone)  # the pictures are inside
    open_report(browser, alone)
    assert browser.texts("h1") == ["script><i>run"]
    assert browser.texts("h2") == ["Curves", "Classes", "Confusion", "Masks", "Settings"]
    assert browser.js("document.querySelectorAll('script').length") == 2, "the page's own, and its facts"
    assert browser.js("document.querySelectorAll('h1 i, td b, li b script, option img').length") == 0
    assert "</script><script>alert(1)</script> $x^$ & <b>" in browser.texts("#viewer .legend li")
    assert browser.texts("#tile option")[0] == '<img src=x onerror=alert(2)> & "it\'s" <script>'
    assert browser.js("document.querySelectorAll('figure img').length") == 5
    assert (browser.problems, browser.dialogs) == ([], [])


def test_in_a_browser_the_slider_moves_and_changes_what_is_seen(browser: Any, report: Path, tmp_path: Path) -> None:
    open_report(browser, report / "index.html")
    assert visible_share(browser) == 50
    browser.js("document.getElementById('stack').scrollIntoView()")
    seen = []
    for place in ("Home", "End"):
        browser.js("document.getElementById('split').focus()")
        browser.key(place)
        browser.wait(f"document.getElementById('split').value === '{0 if place == 'Home' else 100}'")
        browser.look(tmp_path / f"{place}.png")
        seen.append((tmp_path / f"{place}.png").read_bytes())
    assert visible_share(browser) == 100
    assert seen[0] != seen[1], "the picture of the window is another"
    browser.key("ArrowLeft")
    browser.wait("document.getElementById('split').value === '99'")
    assert visible_share(browser) == 99
    assert browser.js("document.getElementById('split').getAttribute('aria-valuetext')").endswith(
        "over the left 99 percent of image"
    )
    assert browser.problems == []


def test_in_a_browser_the_picture_is_dragged(browser: Any, report: Path) -> None:
    open_report(browser, report / "index.html")
    box = "(() => { const s = document.getElementById('stack'); s.scrollIntoView(); const b = s.getBoundingClientRect(); return [b.x, b.y, b.width]; })()"  # fmt: skip
    x, y, width = browser.js(box)
    for kind, share in (("mousePressed", 0.5), ("mouseMoved", 0.25), ("mouseReleased", 0.25)):
        buttons = 0 if kind == "mouseReleased" else 1
        browser.call("Input.dispatchMouseEvent", type=kind, x=x + share * width, y=y + 40, button="left", buttons=buttons, clickCount=1)  # fmt: skip
    assert visible_share(browser) == pytest.approx(25, abs=1)  # the mouse stands on whole pixels
    assert browser.problems == []


def test_in_a_browser_layers_and_tiles_are_chosen(browser: Any, report: Path) -> None:
    open_report(browser, report / "index.html")
    names = browser.texts("#over option")
    assert names[:5] == ["image", "truth", "epoch 1", "epoch 2", "epoch 3"]
    assert names[5].startswith("best, epoch ") and names[6] == "errors of the best"
    source = "document.querySelector('.stack .over').src"
    first = browser.js(source)
    choose = "(() => {{ const s = document.getElementById('{0}'); s.value = {1}; s.onchange(); }})()"
    browser.js(choose.format("over", 1))
    truth = browser.js(source)
    assert truth != first
    browser.js(choose.format("tile", 1))
    assert browser.js(source) not in (first, truth)
    assert browser.js("document.querySelector('.stack .over').alt") == "truth", "the chosen layer stays"
    for number in range(len(names)):
        browser.js(choose.format("over", number))
        browser.wait(
            "(() => { const i = document.querySelector('.stack .over'); return i.complete && i.naturalWidth === 96; })()"
        )
    assert browser.problems == []


def test_in_a_browser_a_narrow_window_needs_no_sideways_scrolling(browser: Any, report: Path) -> None:
    browser.size(400, 800)
    open_report(browser, report / "index.html")
    assert browser.js("document.documentElement.scrollWidth") <= 400


def test_nan_is_a_dash_and_never_a_number(report: Path) -> None:
    assert "nan" not in re.sub('base64,[^"]*', "", (report / "index.html").read_text("utf-8"))
    assert (shown_number(math.nan), shown_number(0.5)) == ("\N{EN DASH}", "0.5000")
    assert "NaN" not in (report / "evaluation.json").read_text()
