"""The matrix for people: Markdown, one HTML file, and JSON values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dlcv.benchmarks.parity_suite.matrix import Cell
from dlcv.runtime.pages import Html, joined, page, tag
from dlcv.runtime.tables import markdown_table, score

SCHEMA = 1
HEADER = ["model", "images", "precision", "session", "computes", "score", "torch", "engine", "agreement", "furthest class", "NaN, Inf", "verdict"]  # fmt: skip
STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 78rem; padding: 0 1rem; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-size: 13px; margin: 1rem 0; }
th, td { padding: 3px 10px; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child { text-align: left; } p, ul { max-width: 60rem; }
.holds { background: #0072b233; } .fails { background: #d55e0066; font-weight: 600; } .none { opacity: 0.6; }
"""


def as_markdown(cells: Sequence[Cell], environment: Mapping[str, Any]) -> str:
    """The matrix of agreements, a row for each cell, the classes, and what failed or did not run."""
    parts = [_where(environment), markdown_table(*_matrix(cells)), markdown_table(HEADER, [_row(one) for one in cells])]
    parts += [markdown_table(*_classes(cells, model)) for model in _models(cells) if _ran(cells, model)]
    parts += ["\n".join(f"- {line}" for line in lines_of(cells))] if lines_of(cells) else []
    return "\n\n".join(parts) + "\n"


def as_page(cells: Sequence[Cell], environment: Mapping[str, Any]) -> str:
    """The same as one HTML file."""
    body = joined(
        tag("h1", "Parity"), tag("p", _where(environment)),
        tag("h2", "Agreement with torch"), _html_table(*_matrix(cells)),
        tag("h2", "Each engine"), _html_table(HEADER, [_row(one) for one in cells]),
        *(joined(tag("h2", f"{model}: each class"), _html_table(*_classes(cells, model))) for model in _models(cells) if _ran(cells, model)),
        tag("ul", *(tag("li", line) for line in lines_of(cells))),
    )  # fmt: skip
    return page("Parity", body, STYLE)


def to_dict(cells: Sequence[Cell], environment: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON values."""
    found = [
        {
            "model": one.model, "precision": one.precision, "session": one.way.session, "device": one.way.device,
            "compute": one.way.compute, "computes": one.computes, "images": one.images, "verdict": one.verdict, "reason": one.reason, "problems": list(one.problems),
            "stage": one.stage.to_dict() if one.stage else None,
        }
        for one in cells
    ]  # fmt: skip
    return {"kind": "dlcv-parity-suite", "schema": SCHEMA, "environment": dict(environment), "cells": found}


def lines_of(cells: Sequence[Cell]) -> list[str]:
    """What fails, and what did not run, each with its reason."""
    failed = [f"{_name(one)} fails: {'; '.join(one.problems)}" for one in cells if one.problems]
    return failed + [
        f"{_name(one)} did not run: {one.reason}" for one in cells if one.stage is None and not one.problems
    ]


def _name(one: Cell) -> str:
    return f"{one.model} {one.precision} in {one.way.label}"


def _models(cells: Sequence[Cell]) -> list[str]:
    return list(dict.fromkeys(one.model for one in cells))


def _ran(cells: Sequence[Cell], model: str) -> list[tuple[Cell, Any]]:
    return [(one, one.stage.comparison) for one in cells if one.model == model and one.stage is not None]


def _where(environment: Mapping[str, Any]) -> str:
    words = [
        str(environment.get(name)) for name in ("cpu", "gpu", "system", "commit", "started") if environment.get(name)
    ]
    return f"Against torch in float32 on labelled tiles that were not trained on; {', '.join(words)}."


def _columns(cells: Sequence[Cell]) -> list[tuple[str, Any]]:
    return list(dict.fromkeys((one.precision, one.way) for one in cells))


def _matrix(cells: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
    columns = _columns(cells)
    by_place = {(one.model, one.precision, one.way): one for one in cells}
    rows = [
        [model, *(_short(by_place.get((model, precision, way))) for precision, way in columns)]
        for model in _models(cells)
    ]
    return ["agreement", *(f"{precision}, {way.label}" for precision, way in columns)], rows


def _short(one: Cell | None) -> str:
    if one is None:
        return "-"
    if one.stage is None:
        return "FAILS" if one.problems else "-"
    return f"{one.stage.comparison.agreement:.4f}{' FAILS' if one.problems else ''}"


def _row(one: Cell) -> list[str]:
    start = [one.model, str(one.images or "-"), one.precision, one.way.label, one.computes or "-"]
    if one.stage is None:
        return [*start, *["-"] * 6, one.verdict]
    found, worst = one.stage.comparison, one.stage.worst_class()
    scores = [found.reference.headline_name, score(found.reference.headline), score(found.candidate.headline)]
    fell = f"{worst[0]} {worst[1]:+.4f}" if worst and worst[1] < 0 else "-"
    broken = "-" if one.stage.nan is None else f"{one.stage.nan}, {one.stage.infinite}"
    return [*start, *scores, f"{found.agreement:.6f}", fell, broken, one.verdict]


def _classes(cells: Sequence[Cell], model: str) -> tuple[list[str], list[list[str]]]:
    ran = _ran(cells, model)
    first = ran[0][1]
    header = [
        f"{model}, {first.reference.per_class_name}",
        "torch",
        *(f"{one.precision}, {one.way.label}" for one, _ in ran),
    ]
    rows = [
        [name, score(first.reference.per_class[place]), *(score(found.candidate.per_class[place]) for _, found in ran)]
        for place, name in enumerate(first.classes)
    ]
    return header, rows


def _html_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Html:
    head = tag("tr", *(tag("th", text, scope="col") for text in header))
    return tag("div", tag("table", head, *(tag("tr", *map(_cell, row)) for row in rows)), class_="wide")


def _cell(text: str) -> Html:
    kind = (
        "fails"
        if "FAILS" in text
        else "none"
        if text in ("-", "did not run")
        else "holds"
        if text == "holds"
        else False
    )
    return tag("td", text, class_=kind)
