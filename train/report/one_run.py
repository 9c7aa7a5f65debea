"""The report of one run: its folder in, a page and its pictures out."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlcv.runtime.datasets.labelled import LabelledSet
from dlcv.runtime.errors import UsageError
from dlcv.runtime.files import write_bytes
from dlcv.runtime.pages import Html, json_text, tag
from dlcv.runtime.scoring.comparison import or_none
from dlcv.runtime.scoring.evaluation import NOUNS
from dlcv.train.explain.options import ExplainOptions
from dlcv.train.pictures.confusion import confused_pairs
from dlcv.train.pictures.picture import Picture
from dlcv.train.report.drawn import UNITS, draw_confusions, draw_history, draw_per_class, draw_tiles
from dlcv.train.report.features import feature_pictures
from dlcv.train.report.judged import Judged, find_data, judge
from dlcv.train.report.page import PAGE, figure, notes, report_folder, section, table, write_page
from dlcv.train.report.record import HEADLINES, RunRecord, number
from dlcv.train.report.viewer import palette_style, viewer, viewer_facts, viewer_script
from dlcv.train.report.wording import minutes, ordered, shown_number, shown_setting, words

Say = Callable[[str], None]
_MOST_PAIRS = 12
_SIDE_BY_SIDE = 10
"""Classes up to which two matrices stand beside each other and can be read."""


@dataclass(frozen=True)
class ReportOptions:
    """What a report is made with.

    Attributes:
        data: where the labelled images are now; None where they were.
        dataset: what masks mean; None as the run had it.
        tiles: names of the tiles to look at; empty takes some.
        features: which pictures of features are drawn, too; None draws none.
        device: `auto`, `cpu`, `cuda`.
    """

    data: Path | None = None
    dataset: str | None = None
    tiles: tuple[str, ...] = ()
    features: ExplainOptions | None = None
    device: str = "auto"


def write_report(run: RunRecord, folder: Path, options: ReportOptions, say: Say) -> Path:
    """Draws what can be drawn, evaluates the best checkpoint where there is data, and writes the page.

    Args:
        run: see `read_run`.
        folder: takes the page, the pictures and their data; made if it is missing.
        options: see there.
        say: takes lines for people; what is missing is told on the page, too.

    Returns:
        The page.

    Raises:
        DatasetError: when `options.data` cannot be used, or an image cannot be read.
        UsageError: when the folder holds another page, a name is no tile's, or tiles are asked of a classifier.
        MissingPackageError: without matplotlib.
        OutputError: when a file cannot be written.
    """
    if options.tiles and run.best.card.task != "segmentation":
        raise UsageError(f"--tile: {run.best.card.model} is a classifier, whose report has no masks; leave it out")
    report_folder(folder)
    missing: list[str] = []

    def miss(sentence: str) -> None:
        missing.append(sentence)
        say(sentence)

    if not run.rows:
        miss("the run kept no history.csv, so there are no curves")
    history = draw_history(run, folder)
    labelled, where = find_data(run, options.data, options.dataset, miss)
    judged = None
    if labelled is not None:
        judged = judge(run, labelled, where, tiles=options.tiles, device=options.device, say=miss)
    features = _features(run, labelled, folder / "features", options.features, miss)
    body = [
        _key_figures(run, judged),
        notes([*missing, *([judged.note] if judged and judged.note else [])]),
        section("Curves", *(figure(each, titled=False) for each in history)),
        *_of_judged(run, judged, folder),
        section("Features", *(figure(each, page_folder=folder) for each in features)),
        section("Settings", _settings(run)),
    ]
    card = run.best.card
    if judged:
        _write_json(folder / "evaluation.json", run, judged)
    shows = bool(judged and judged.tiles)
    subtitle = f"{card.model}, width {card.width:g}, {card.task} into {len(card.classes)} classes"
    write_page(folder / PAGE, run.name, subtitle, body, palette_style(card) if shows else "", script=shows)
    return folder / PAGE


def _features(
    run: RunRecord, labelled: LabelledSet[Any] | None, folder: Path, options: ExplainOptions | None, say: Say
) -> list[Picture]:
    if options is None:
        return []
    if labelled is None:
        say("without data there are no pictures of features")
        return []
    return feature_pictures(run.folder / "best.pt", labelled, folder, options, say)


def _key_figures(run: RunRecord, judged: Judged | None) -> Html:
    """The best score first, beside what it has to beat."""
    row, name = run.best_row(), HEADLINES[run.headline]
    facts: list[tuple[str, str]] = []
    if judged:
        noun = NOUNS[judged.labelled.task]
        facts.append(
            (
                shown_number(judged.scores.headline),
                f"{name} of best.pt on {len(judged.labelled)} {noun}s, evaluated now",
            )
        )
        facts.append((shown_number(judged.scores.majority), "by always saying the commonest class"))
    if row:
        facts.append((shown_number(number(row, run.headline)), f"{name} while it trained, epoch {row['epoch']}"))
    if run.rows:
        facts.append((str(len(run.rows)), "epochs"))
        facts.append((f"{minutes(run.rows):.0f} min", "of training and validation"))
    return tag("ul", *(tag("li", tag("b", value), tag("span", words)) for value, words in facts), class_="key")


def _of_judged(run: RunRecord, judged: Judged | None, folder: Path) -> Sequence[str]:
    """Classes, confusion and masks."""
    classes = map(figure, draw_per_class(run, judged, folder))
    if judged is None:
        return [section("Classes", *classes)]
    return [
        section("Classes", *classes, _figures(judged)),
        section("Confusion", *_confusion(run, judged, folder)),
        section("Masks", *_masks(run, judged, folder)),
    ]


def _confusion(run: RunRecord, judged: Judged, folder: Path) -> Sequence[str]:
    classes, unit = run.best.card.classes, UNITS[run.best.card.task]
    layout = "pair" if len(classes) <= _SIDE_BY_SIDE else "each"
    pictures = tag("div", *map(figure, draw_confusions(run, judged, folder)), class_=layout)
    pairs = confused_pairs(judged.confusion, classes, _MOST_PAIRS)
    if not pairs:
        return [pictures, tag("p", "No answer is wrong.")]
    rows = [
        (
            f"{pair.true} \N{RIGHTWARDS ARROW} {pair.predicted}",
            f"{pair.count:,}".replace(",", "\u202f"),
            f"{pair.share:.4f}",
        )
        for pair in pairs
    ]
    header = ("true \N{RIGHTWARDS ARROW} predicted", unit, "share of the true class")
    return [pictures, table(header, rows, caption="Confused most")]


def _masks(run: RunRecord, judged: Judged, folder: Path) -> Sequence[str]:
    if not judged.tiles:
        return []
    pictures = [figure(each, titled=False) for each in draw_tiles(run, judged, folder)]
    facts = viewer_script(json_text(viewer_facts(judged.tiles, run.best.card)))
    return [viewer(judged.tiles, run.best.card), *pictures, facts]


def _figures(judged: Judged) -> Html:
    rows = [(words(name), shown_number(value)) for name, value in judged.scores.figures().items()]
    each = judged.scores.per_class_name
    per_class = zip(judged.labelled.classes, judged.scores.per_class, strict=True)
    lines = [(f"{each} {name}", shown_number(value)) for name, value in per_class]
    return table(("figure", "value, 0 to 1"), rows + lines, caption=f"On {judged.where}")


def _settings(run: RunRecord) -> Html:
    card = run.best.card
    rows = [(name, shown_setting(run.settings[name])) for name in ordered(run.settings)]
    rows += [
        ("classes of the model", ", ".join(card.classes)),
        ("input", f"{card.input_size_hw[0]} x {card.input_size_hw[1]} pixels"),
        ("versions", ", ".join(f"{name} {version}" for name, version in card.versions.items())),
        ("folder", str(run.folder)),
    ]
    return table(("setting", "value"), rows, values="code")


def _write_json(path: Path, run: RunRecord, judged: Judged) -> None:
    scores, classes = judged.scores, run.best.card.classes
    per_class = dict(zip(classes, map(or_none, scores.per_class), strict=True))
    values = {
        "run": str(run.folder), "images": judged.where, "classes": list(classes),
        **{name: or_none(value) for name, value in scores.figures().items()},
        scores.per_class_name.lower(): per_class, "confusion": judged.confusion.tolist(),
    }  # fmt: skip
    write_bytes(path, (json.dumps(values, indent=1) + "\n").encode())
