"""Plots as SVG, written out: lines over a logarithmic axis, and stacked bars. Text is escaped by `runtime/pages.py:tag`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dlcv.runtime.pages import Html, joined, tag

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#666666")
"""Of Okabe and Ito (2008), which people who do not see all colours can tell apart; the yellow, too faint on white, is left out."""
DASHES = ("none", "6 3", "2 2", "8 3 2 3")
WIDTH, HEIGHT = 720, 380
LEFT, RIGHT, TOP, BOTTOM = 70, 20, 20, 50
LINE, ROW = 18, 40
"""Heights of a line of text and of a row with a bar, in pixels."""
LETTER = 7
"""Width of a letter of a small text, about."""
NUMBERS = 540
"""Where the numbers beside bars begin."""
MOST_LETTERS = 110
"""Of a small text across a plot."""


@dataclass(frozen=True)
class Point:
    """A value with its interval; `label` is shown beside it."""

    x: float
    y: float
    low: float
    high: float
    label: str = ""


def line_plot(lines: Mapping[str, Sequence[Point]], x_title: str, y_title: str, x_ticks: Sequence[float] = ()) -> Html:
    """Lines with points and intervals over two logarithmic axes; values are above 0.

    Args:
        lines: by name, for the legend below.
        x_title, y_title: of the axes, with the unit.
        x_ticks: where the x axis is marked; empty: 1, 2, 5, 10 and so on.
    """
    points = [point for line in lines.values() for point in line]
    across = _scale([point.x for point in points], LEFT, WIDTH - RIGHT)
    up = _scale([value for point in points for value in (point.low, point.high)], HEIGHT - BOTTOM, TOP)
    parts = [_axes(across, up, x_ticks or _ticks([p.x for p in points]), _ticks([v for p in points for v in (p.low, p.high)]), x_title, y_title)]  # fmt: skip
    for index, line in enumerate(lines.values()):
        parts.append(_line(line, across, up, *_look(index)))
    parts.append(_labels(points, across, up))
    return _svg(HEIGHT + LINE * len(lines), *parts, _legend(list(lines), HEIGHT), title=f"{y_title} against {x_title}")


def stacked_bars(bars: Mapping[str, Mapping[str, float]], unit: str) -> Html:
    """A bar for each name, cut into parts that have a colour each; all values in `unit`, at least 0."""
    most = max((sum(parts.values()) for parts in bars.values()), default=0.0) or 1.0
    names = list(dict.fromkeys(name for parts in bars.values() for name in parts))
    across = WIDTH - RIGHT - 20
    drawn, y = [], TOP
    for bar, parts in bars.items():
        drawn.append(tag("text", bar, x="20", y=str(y + 12), class_="label"))
        x = 20.0
        for name, value in parts.items():
            width = across * value / most
            colour = COLOURS[names.index(name) % len(COLOURS)]
            title = tag("title", f"{bar}: {name} {value:.4g} {unit}")
            drawn.append(tag("rect", title, x=_n(x), y=str(y + LINE), width=_n(width), height="20", fill=colour))
            if width > 48:
                drawn.append(tag("text", f"{value:.3g}", x=_n(x + 5), y=str(y + LINE + 14), class_="inside"))
            x += width
        drawn.append(
            tag("text", f"{sum(parts.values()):.4g} {unit}", x=str(WIDTH - RIGHT), y=str(y + 12), text_anchor="end")
        )
        y += 2 * LINE + 18
    legend = [
        tag("g", tag("rect", x="20", y=str(y + LINE * index), width="14", height="12", fill=COLOURS[index % len(COLOURS)]),
            tag("text", name, x="40", y=str(y + LINE * index + 11)))
        for index, name in enumerate(names)
    ]  # fmt: skip
    return _svg(y + LINE * len(names) + 8, *drawn, *legend, title=f"stages, in {unit}")


def ratio_plot(rows: Sequence[Point], title: str) -> Html:
    """A row a ratio: a dot at `x` with a bar from `low` to `high`, over a linear axis that has a mark at 1; `y` is not used."""
    low, high = min(1.0, *(row.low for row in rows)), max(1.0, *(row.high for row in rows))
    room = max(0.05, (high - low) * 0.05)
    low, high = low - room, high + room

    def across(value: float) -> float:
        return 20 + (NUMBERS - 40) * (value - low) / (high - low)

    bottom, one = TOP + len(rows) * ROW, _n(across(1.0))
    drawn: list[Html] = [tag("line", x1=one, x2=one, y1=str(TOP), y2=str(bottom), class_="one")]
    drawn.append(tag("text", "1: the same", x=one, y=str(bottom + 14), text_anchor="middle"))
    for index, row in enumerate(rows):
        y = TOP + index * ROW
        middle = str(y + LINE + 4)
        numbers = f"{row.x:.3f} ({row.low:.3f} to {row.high:.3f})"
        bar = {"y1": middle, "y2": middle, "stroke": COLOURS[0], "stroke_width": "4"}
        drawn += [
            tag("text", tag("title", row.label), _short(row.label), x="20", y=str(y + 12), class_="small"),
            tag("text", numbers, x=str(NUMBERS), y=str(y + LINE + 8)),
            tag("line", x1=_n(across(row.low)), x2=_n(across(row.high)), **bar),
            tag("circle", cx=_n(across(row.x)), cy=middle, r="6", fill=COLOURS[1]),
        ]
    return _svg(bottom + 24, *drawn, title=title)


def _short(text: str) -> str:
    """What fits into a plot's width, with its beginning and its end."""
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 30]}…{text[-29:]}"


def _look(index: int) -> tuple[str, str]:
    """Colour and dash; lines of one colour differ in the dash."""
    return COLOURS[index % len(COLOURS)], DASHES[index // len(COLOURS) % len(DASHES)]


def _line(
    line: Sequence[Point], across: Callable[[float], float], up: Callable[[float], float], colour: str, dash: str
) -> Html:
    places = " ".join(f"{_n(across(point.x))},{_n(up(point.y))}" for point in line)
    parts = [tag("polyline", points=places, fill="none", stroke=colour, stroke_width="2", stroke_dasharray=dash)]
    for point in line:
        x, y = _n(across(point.x)), _n(up(point.y))
        parts.append(
            tag("line", x1=x, x2=x, y1=_n(up(point.low)), y2=_n(up(point.high)), stroke=colour, stroke_width="1")
        )
        parts.append(
            tag(
                "circle",
                tag("title", f"{point.label} {point.x:.4g}, {point.y:.4g}".strip()),
                cx=x,
                cy=y,
                r="4",
                fill=colour,
            )
        )
    return tag("g", *parts)


def _labels(points: Sequence[Point], across: Callable[[float], float], up: Callable[[float], float]) -> Html:
    """Beside their points; one that would lie over another is left to the point's title."""
    parts: list[Html] = []
    boxes: list[tuple[float, float, float]] = []
    for point in points:
        x, y, wide = across(point.x), up(point.y) - 6, LETTER * len(point.label)
        right = x + 7 + wide > WIDTH - RIGHT  # where it would leave the plot
        left = x - 7 - wide if right else x + 7
        if point.label and not any(abs(y - b) < LINE and left < end and start < left + wide for start, end, b in boxes):
            boxes.append((left, left + wide, y))
            anchor, away = ("end", -7) if right else ("start", 7)
            parts.append(tag("text", point.label, class_="small", x=_n(x + away), y=_n(y), text_anchor=anchor))
    return tag("g", *parts)


def _axes(
    across: Callable[[float], float], up: Callable[[float], float], xs: Sequence[float], ys: Sequence[float], x_title: str, y_title: str
) -> Html:  # fmt: skip
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM
    parts = [tag("rect", x=str(LEFT), y=str(TOP), width=str(right - LEFT), height=str(bottom - TOP), class_="frame")]
    for value in xs:
        x = _n(across(value))
        parts.append(tag("line", x1=x, x2=x, y1=str(TOP), y2=str(bottom), class_="grid"))
        parts.append(tag("text", f"{value:g}", x=x, y=str(bottom + 16), text_anchor="middle"))
    for value in ys:
        y = up(value)
        parts.append(tag("line", x1=str(LEFT), x2=str(right), y1=_n(y), y2=_n(y), class_="grid"))
        parts.append(tag("text", f"{value:g}", x=str(LEFT - 6), y=_n(y + 4), text_anchor="end"))
    parts.append(tag("text", x_title, x=str((LEFT + right) // 2), y=str(bottom + 38), text_anchor="middle"))
    middle = (TOP + bottom) // 2
    parts.append(
        tag("text", y_title, x="16", y=str(middle), text_anchor="middle", transform=f"rotate(-90 16 {middle})")
    )
    return tag("g", *parts)


def _legend(names: Sequence[str], y: int) -> Html:
    parts = []
    for index, name in enumerate(names):
        colour, dash = _look(index)
        middle = str(y + LINE * index + 8)
        parts.append(
            tag(
                "line",
                x1=str(LEFT),
                x2=str(LEFT + 34),
                y1=middle,
                y2=middle,
                stroke=colour,
                stroke_width="2",
                stroke_dasharray=dash,
            )
        )
        parts.append(tag("circle", cx=str(LEFT + 17), cy=middle, r="4", fill=colour))
        parts.append(tag("text", name, x=str(LEFT + 42), y=str(y + LINE * index + 12)))
    return tag("g", *parts)


def _scale(values: Sequence[float], start: float, end: float) -> Callable[[float], float]:
    """Value -> place on a logarithmic axis, with some room at both ends."""
    low, high = math.log(min(values)), math.log(max(values))
    room = max(0.08 * (high - low), 0.1)
    low, high = low - room, high + room
    return lambda value: start + (end - start) * (math.log(value) - low) / (high - low)


def _ticks(values: Sequence[float]) -> list[float]:
    """1, 2, 5, 10 and so on within the values; where these are close together, even steps."""
    low, high = min(values), max(values)
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    found = [
        digit * 10.0**power
        for power in powers
        for digit in (1, 2, 5)
        if low / 1.05 <= digit * 10.0**power <= high * 1.05
    ]
    if len(found) >= 2:
        return found
    step = 10.0 ** math.floor(math.log10(max(high - low, high / 20)))
    return [step * k for k in range(math.ceil(low / step), math.floor(high / step) + 1)] or [float(f"{low:.2g}")]


def _svg(height: int, *parts: str, title: str) -> Html:
    return tag("svg", joined(*parts), viewBox=f"0 0 {WIDTH} {height}", role="img", aria_label=title)


def _n(value: float) -> str:
    return f"{value:.1f}"
