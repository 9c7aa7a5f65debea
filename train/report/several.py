"""Several runs on one page: their curves together, what their settings differ in, their best scores and classes side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

from dlcv.runtime.errors import UsageError
from dlcv.runtime.pages import Html, tag
from dlcv.train.pictures.classes import draw_classes_of_runs
from dlcv.train.pictures.curves import draw_curves
from dlcv.train.pictures.keep import keep, write_table
from dlcv.train.pictures.picture import Picture
from dlcv.train.report.page import PAGE, figure, notes, report_folder, section, table, write_page
from dlcv.train.report.record import HEADLINES, PER_CLASS, RunRecord, number
from dlcv.train.report.wording import minutes, ordered, shown_number, shown_setting, words

Say = Callable[[str], None]
_UNKNOWN = "(not kept)"


def write_comparison(runs: Sequence[RunRecord], folder: Path, say: Say) -> Path:
    """Compares runs by what their folders hold; no data is read.

    Args:
        runs: two or more, of one task.
        folder: takes the page, the pictures and their data; made if it is missing.
        say: takes lines for people.

    Returns:
        The page.

    Raises:
        UsageError: when their tasks differ, or the folder holds another page.
        MissingPackageError: without matplotlib.
        OutputError: when a file cannot be written.
    """
    tasks = {run.best.card.task: run.name for run in runs}
    if len(tasks) > 1:
        told = " and ".join(f"{name} ({task})" for task, name in tasks.items())
        raise UsageError(f"{told} have no score in common; compare runs of one task")
    report_folder(folder)
    missing = [f"{run.name} kept no history.csv: it has no curves and no figures here" for run in runs if not run.rows]
    for sentence in missing:
        say(sentence)
    drawn = [run for run in runs if run.rows]
    body = [
        notes(missing),
        section("Best scores", _scores(runs, folder)),
        section("Settings that differ", _differing(runs, folder)),
        section("Curves", *(figure(each, titled=False) for each in _curves(drawn, folder))),
        section("Classes", *map(figure, _classes(drawn, folder)), _class_table(runs)),
    ]
    title = f"{len(runs)} runs compared"
    write_page(folder / PAGE, title, ", ".join(run.name for run in runs), body)
    return folder / PAGE


def differing(runs: Sequence[RunRecord]) -> list[tuple[str, ...]]:
    """Settings of which two runs have different values: the name, then a value a run, `(not kept)` where it has none.

    One that some runs kept alike and others did not keep is none: nobody knows what the others had.
    """
    names = dict.fromkeys(name for run in runs for name in run.settings)
    rows = [
        (name, *(shown_setting(run.settings[name]) if name in run.settings else _UNKNOWN for run in runs))
        for name in ordered(names)
    ]
    return [row for row in rows if len(set(row[1:]) - {_UNKNOWN}) > 1]


def _differing(runs: Sequence[RunRecord], folder: Path) -> Html:
    rows = differing(runs)
    write_table(folder / "settings.csv", ("setting", *(run.name for run in runs)), rows)
    return (
        table(("setting", *(run.name for run in runs)), rows, values="code")
        if rows
        else tag("p", "None: the runs were asked for the same.")
    )


def _scores(runs: Sequence[RunRecord], folder: Path) -> Html:
    """A row a run: the figures of the best epoch, the run's own."""
    columns = list(dict.fromkeys(name for run in runs for name in _figures(run)))
    shown, told = [], []
    for run in runs:
        row = run.best_row()
        figures, epoch = [number(row, name) for name in columns], row.get("epoch")
        shown.append(
            (
                run.name,
                *map(shown_number, figures),
                epoch or "\N{EN DASH}",
                str(len(run.rows)),
                f"{minutes(run.rows):.0f}",
            )
        )
        told.append((run.name, *figures, epoch or "", len(run.rows), minutes(run.rows)))
    header = ("run", *(words(name) for name in columns), "best epoch", "epochs", "minutes")
    write_table(folder / "scores.csv", header, told)
    return table(header, shown)


def _figures(run: RunRecord) -> list[str]:
    """The columns of the history that are scores over all classes, the headline first, and the losses."""
    known = run.rows[0] if run.rows else {}
    each = f"{PER_CLASS[run.headline].lower()}_"
    position = ("epoch", "step", "learning_rate", "seconds", "data_wait", "train_loss", "validation_loss")
    scores = [name for name in known if name not in position and not name.startswith(each)]
    return [*scores, *(name for name in ("train_loss", "validation_loss") if name in known)]


def _curves(runs: Sequence[RunRecord], folder: Path) -> list[Picture]:
    if not runs:
        return []
    curves = [run.curves() for run in runs]
    rows = [
        (each.name, *values)
        for each in curves
        for values in zip(each.epochs, each.train_loss, each.validation_loss, each.score, each.train_score, strict=True)
    ]
    score = HEADLINES[runs[0].headline]
    header = (
        "run",
        "epoch",
        "train_loss",
        "validation_loss",
        f"validation_{runs[0].headline}",
        f"training_{runs[0].headline}",
    )
    caption = f"A colour and a marker a run; solid lines are validation, dashed ones training. Left: mean loss, right: {score}."
    return [keep(folder, "curves", draw_curves(curves), title="Curves", caption=caption, table=(header, rows))]


def _classes(runs: Sequence[RunRecord], folder: Path) -> list[Picture]:
    """Values a class at each run's best epoch; nothing where no history tells one."""
    classes, values = _values(runs)
    if not any(math.isfinite(value) for each in values.values() for value in each):
        return []
    name = PER_CLASS[runs[0].headline]
    rows = ([label, *(each[k] for each in values.values())] for k, label in enumerate(classes))
    caption = f"{name} of each class at each run's best epoch; a class's points lie apart where the runs differ."
    figure_ = draw_classes_of_runs(classes, values, name)
    return [
        keep(
            folder,
            "classes",
            figure_,
            title=f"{name[0].upper()}{name[1:]} of each class",
            caption=caption,
            table=(("class", *values), rows),
        )
    ]


def _class_table(runs: Sequence[RunRecord]) -> Html:
    classes, values = _values(runs)
    rows = [(label, *(shown_number(each[k]) for each in values.values())) for k, label in enumerate(classes)]
    return table((f"{PER_CLASS[runs[0].headline]} of", *values), rows)


def _values(runs: Sequence[RunRecord]) -> tuple[list[str], dict[str, list[float]]]:
    """All classes that a run has, and each run's values for them."""
    classes = list(dict.fromkeys(name for run in runs for name in run.best.card.classes))
    values = {}
    for run in runs:
        own = dict(zip(run.best.card.classes, run.per_class(), strict=True))
        values[run.name] = [own.get(name, math.nan) for name in classes]
    return classes, values
