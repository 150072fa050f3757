"""Charts as inline SVG in the page's own colours, and the layout of a treemap.

Every chart is drawn twice, for a wide page and for a phone. Every text is placed with an estimate of its
box, so that labels do not overlap.
"""

import math
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import NamedTuple

_CHARACTER, _WIDE_CHARACTER = 0.6, 1.05
"""Width of a character as a share of the font's size; generous, because the font is the reader's."""

_FAR = (11, 24, 38, 54, 72)
"""Distances of a label from its dot, the nearest first; from the second on a line leads to it."""


class _Size(NamedTuple):
    name: str
    width: float
    height: float
    font: float


_WIDE, _NARROW = _Size("wide", 960, 360, 14), _Size("narrow", 330, 290, 12)


class Box(NamedTuple):
    """A rectangle in the chart's own units."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: "Box") -> bool:
        """Whether the two share any area."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis: its ends, its ticks with their words, and what it measures."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    title: str
    log: bool = False

    def share(self, value: float) -> float:
        """Return where a value stands between the ends: 0 to 1, cut there."""
        ends = (self.low, self.high, value)
        low, high, at = (math.log10(max(each, 1e-300)) for each in ends) if self.log else ends
        return min(1.0, max(0.0, (at - low) / (high - low)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line through points; `kind` is its colour's class, `label` stands at its end."""

    points: tuple[tuple[float, float], ...]
    kind: str
    label: str = ""
    dashed: bool = False
    strong: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dot:
    """A point with a label and, where they are known, intervals along both axes."""

    x: float
    y: float
    kind: str
    label: str = ""
    title: str = ""
    hollow: bool = False
    x_ends: tuple[float, float] | None = None
    y_ends: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A straight line across the whole chart, at a value of x or of y, with its label."""

    at: float
    label: str = ""
    upright: bool = False
    kind: str = "incumbent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """What a chart shows; `title` says it to those who cannot see it."""

    title: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...] = ()
    dots: tuple[Dot, ...] = ()
    rules: tuple[Rule, ...] = ()


def linear_ticks(low: float, high: float, most: int = 6) -> tuple[float, ...]:
    """Return round values from `low` to `high`, `most` at the most."""
    if not high > low:
        return (low,)
    rough = (high - low) / most
    power = 10 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return tuple(round(step * n, 12) for n in range(first, math.floor(high / step + 1e-9) + 1))


def log_ticks(low: float, high: float, most: int = 7) -> tuple[float, ...]:
    """Return powers of ten from `low` to `high`, every second or third where they are many."""
    first, last = math.ceil(math.log10(low) - 1e-9), math.floor(math.log10(high) + 1e-9)
    step = max(1, math.ceil((last - first + 1) / most))
    return tuple(10.0**n for n in range(first, last + 1, step))


def text_width(text: str, font: float) -> float:
    """Estimate how wide a text is."""
    wide = sum(unicodedata.east_asian_width(each) in "WF" for each in text)
    return font * (_WIDE_CHARACTER * wide + _CHARACTER * (len(text) - wide))


def draw(chart: Chart) -> str:
    """Return the chart as HTML: one drawing for wide pages and print, one for phones."""
    return f'<div class="chart">{"".join(_drawn(chart, size) for size in (_WIDE, _NARROW))}</div>'


@dataclass(frozen=True, slots=True)
class _Frame:
    """The area inside the axes, and how values become places in it."""

    chart: Chart
    size: _Size
    area: Box

    def x(self, value: float) -> float:
        return self.area.left + self.chart.x.share(value) * (self.area.right - self.area.left)

    def y(self, value: float) -> float:
        return self.area.bottom - self.chart.y.share(value) * (self.area.bottom - self.area.top)


def _drawn(chart: Chart, size: _Size) -> str:
    font = size.font
    left = max(text_width(words, font) for _, words in chart.y.ticks) + 10
    ends = [text_width(line.label, font) for line in chart.lines if line.label]
    right = max([*(end + 10 for end in ends), text_width(chart.x.ticks[-1][1], font) / 2, 12])
    upright = any(rule.upright and rule.label for rule in chart.rules)
    area = Box(left, font * (3.4 if upright else 2.2), size.width - right, size.height - font * 3.4)
    frame = _Frame(chart, size, area)
    parts = (*_axes(frame), *_rules(frame), *_lines(frame), *_dots(frame))
    return (
        f'<svg class="{size.name}" viewBox="0 0 {_n(size.width)} {_n(size.height)}" font-size="{_n(font)}"'
        f' role="img" aria-label="{escape(chart.title)}">{"".join(parts)}</svg>'
    )


def _axes(frame: _Frame) -> Iterator[str]:
    chart, area, font = frame.chart, frame.area, frame.size.font
    yield _text(2, font * 0.9, chart.y.title)
    for value, words in chart.y.ticks:
        y = frame.y(value)
        yield f'<path class="grid" d="M{_n(area.left)} {_n(y)}H{_n(area.right)}"/>'
        yield _text(area.left - 6, y + font * 0.35, words, "end")
    yield f'<path class="base" d="M{_n(area.left)} {_n(area.bottom)}H{_n(area.right)}"/>'
    free = -math.inf
    for value, words in chart.x.ticks:
        x, half = frame.x(value), text_width(words, font) / 2
        if x - half < free:
            continue
        free = x + half + font * 0.6
        yield f'<path class="base" d="M{_n(x)} {_n(area.bottom)}v4"/>'
        yield _text(x, area.bottom + font * 1.55, words, "middle")
    yield _text((area.left + area.right) / 2, area.bottom + font * 2.95, chart.x.title, "middle")


def _rules(frame: _Frame) -> Iterator[str]:
    area, font = frame.area, frame.size.font
    for rule in frame.chart.rules:
        if rule.upright:
            x = frame.x(rule.at)
            yield f'<path class="rule {rule.kind}" d="M{_n(x)} {_n(area.top - 4)}V{_n(area.bottom)}"/>'
            half = text_width(rule.label, font) / 2
            at = min(max(x, area.left + half), frame.size.width - half - 2)
            yield _text(at, area.top - font * 0.6, rule.label, "middle")
        else:
            y = frame.y(rule.at)
            yield f'<path class="rule {rule.kind}" d="M{_n(area.left)} {_n(y)}H{_n(area.right)}"/>'
            yield _text(area.right, _beside(frame, y), rule.label, "end")


def _beside(frame: _Frame, y: float) -> float:
    """Return the base line of a rule's label: above the rule, or below it at the top of the chart."""
    font = frame.size.font
    return y - font * 0.4 if y - font * 1.4 > frame.area.top else y + font * 1.2


def _lines(frame: _Frame) -> Iterator[str]:
    heights = _apart([frame.y(line.points[-1][1]) for line in frame.chart.lines if line.label], frame)
    for line in frame.chart.lines:
        path = " ".join(f"{_n(frame.x(x))} {_n(frame.y(y))}" for x, y in line.points)
        look = f"line {line.kind}{' strong' if line.strong else ''}{' dashed' if line.dashed else ''}"
        yield f'<polyline class="{look}" points="{path}"/>'
        if line.label:
            y = heights.pop(0) + frame.size.font * 0.35
            yield _text(frame.x(line.points[-1][0]) + 7, y, line.label, kind=f"end {line.kind}")


def _apart(wanted: Sequence[float], frame: _Frame) -> list[float]:
    """Return heights next to the wanted ones, in the same order, none within a line of another."""
    gap = frame.size.font * 1.2
    order = sorted(range(len(wanted)), key=lambda at: wanted[at])
    placed = [wanted[at] for at in order]
    for before, at in pairwise(range(len(placed))):
        placed[at] = max(placed[at], placed[before] + gap)
    over = placed[-1] - (frame.area.bottom - frame.size.font * 0.6) if placed else 0.0
    if over > 0:
        placed[-1] -= over
        for at in range(len(placed) - 2, -1, -1):
            placed[at] = min(placed[at], placed[at + 1] - gap)
    heights = dict(zip(order, placed, strict=True))
    return [heights[at] for at in range(len(wanted))]


def _dots(frame: _Frame) -> Iterator[str]:
    dots, font = frame.chart.dots, frame.size.font
    taken = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in ((frame.x(d.x), frame.y(d.y)) for d in dots)]
    for rule in frame.chart.rules:
        if rule.upright:
            continue
        y = frame.y(rule.at)
        taken.append(Box(frame.area.left, y - 1, frame.area.right, y + 1))
        if rule.label:
            y, width = _beside(frame, frame.y(rule.at)), text_width(rule.label, font)
            taken.append(Box(frame.area.right - width, y - font, frame.area.right, y + font * 0.3))
    labels: list[str] = []
    for dot in dots:
        x, y = frame.x(dot.x), frame.y(dot.y)
        look = f"{dot.kind} hollow" if dot.hollow else dot.kind
        yield f'<g class="{look}"><title>{escape(dot.title or dot.label)}</title>'
        if dot.x_ends is not None:
            low, high = map(frame.x, dot.x_ends)
            yield f'<path class="ends" d="M{_n(low)} {_n(y)}H{_n(high)}"/>'
        if dot.y_ends is not None:
            low, high = map(frame.y, dot.y_ends)
            yield f'<path class="ends" d="M{_n(x)} {_n(low)}V{_n(high)}"/>'
        yield f'<circle cx="{_n(x)}" cy="{_n(y)}" r="5"/></g>'
        labels += _dot_label(dot, (x, y), frame, taken)
    yield from labels


def _dot_label(dot: Dot, at: tuple[float, float], frame: _Frame, taken: list[Box]) -> Iterator[str]:
    """Place a dot's label where it lies on nothing; leave it out where there is no such place."""
    if not dot.label:
        return
    font, width = frame.size.font, text_width(dot.label, frame.size.font)
    room = Box(frame.area.left, frame.area.top - font, frame.size.width, frame.area.bottom)
    for far, (right, down) in _places():
        x, y = at[0] + right * far, at[1] + down * far
        left = x if right > 0 else x - width if right < 0 else x - width / 2
        box = Box(left - 3, y - font * 0.65, left + width + 3, y + font * 0.65)
        inside = room.left <= box.left and box.right <= room.right
        inside = inside and room.top <= box.top and box.bottom <= room.bottom
        if inside and not any(box.meets(other) for other in taken):
            taken.append(box)
            if far > _FAR[0]:
                yield f'<path class="lead" d="M{_n(at[0])} {_n(at[1])}L{_n(x)} {_n(y)}"/>'
            yield _text(left, y + font * 0.35, dot.label, kind=f"name {dot.kind}")
            return


def _places() -> Iterator[tuple[float, tuple[float, float]]]:
    """Iterate over where a label may stand: right first, then above, below and left, ever further away."""
    around = (
        (1.0, 0.0),
        (0.7, -1.0),
        (0.7, 1.0),
        (-1.0, 0.0),
        (0.0, -1.3),
        (0.0, 1.3),
        (-0.7, -1.0),
        (-0.7, 1.0),
    )
    for far in _FAR:
        for place in around:
            yield far, place


def _text(x: float, y: float, words: str, anchor: str = "start", kind: str = "") -> str:
    side = "" if anchor == "start" else f' text-anchor="{anchor}"'
    look = f' class="{kind}"' if kind else ""
    return f'<text x="{_n(x)}" y="{_n(y)}"{side}{look}>{escape(words)}</text>' if words else ""


def _n(value: float) -> str:
    """Return a coordinate with one decimal at the most: a page of many charts stays small."""
    return f"{value:.1f}".removesuffix(".0")


def spark(lines: Iterable[tuple[str, Sequence[tuple[float, float]]]], rule: float) -> str:
    """Return a small drawing without axes: lines of points in [0, 1] each way, and a dashed rule."""
    drawn = ""
    for kind, points in lines:
        path = " ".join(f"{_n(200 * x)},{_n(40 - 40 * y)}" for x, y in points)
        drawn += f'<polyline class="line {kind}" points="{path}"/>'
    y = _n(40 - 40 * rule)
    return (
        '<svg class="spark" viewBox="0 0 200 40" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="rule incumbent" d="M0 {y}H200"/>{drawn}</svg>'
    )


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle of a treemap; the origin is the map's upper left corner."""

    x: float
    y: float
    width: float
    height: float


def treemap(weights: Sequence[float], width: float, height: float) -> list[Rectangle]:
    """Return a rectangle for each weight; weights are positive and in falling order.

    This is the squarified layout of M. Bruls, K. Huizing and J. van Wijk, Squarified Treemaps (2000): a row
    along the shorter side grows while its worst ratio of sides improves.
    """
    scale = width * height / sum(weights) if weights else 0.0
    areas = [weight * scale for weight in weights]
    found: list[Rectangle] = []
    x = y = 0.0
    at = 0
    while at < len(areas):
        left, below = width - x, height - y
        side = min(left, below)
        end = at + 1
        while end < len(areas) and _worst(areas[at : end + 1], side) <= _worst(areas[at:end], side):
            end += 1
        thick = sum(areas[at:end]) / side if side > 0 else 0.0
        along = 0.0
        for area in areas[at:end]:
            length = area / thick if thick else 0.0
            if left >= below:
                found.append(Rectangle(x, y + along, thick, length))
            else:
                found.append(Rectangle(x + along, y, length, thick))
            along += length
        x, y = (x + thick, y) if left >= below else (x, y + thick)
        at = end
    return found


def _worst(areas: Sequence[float], side: float) -> float:
    """Return the largest ratio of sides of a row's rectangles."""
    total = sum(areas)
    square, sides = total * total, side * side
    return max(max(sides * area / square, square / (sides * area)) for area in areas)
