"""Areas in proportion: rectangles of a treemap, as square as they can be."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rectangle:
    """A rectangle inside the map; the origin is its upper left corner."""

    x: float
    y: float
    width: float
    height: float


def treemap(weights: Sequence[float], width: float, height: float) -> list[Rectangle]:
    """Return a rectangle for each weight; weights are positive and fall.

    The squarified layout of M. Bruls, K. Huizing and J. van Wijk, Squarified Treemaps (2000): a row
    along the shorter side grows as long as its worst ratio of sides gets better.
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
    """Return the largest ratio of sides in a row of areas along a side."""
    total = sum(areas)
    square, sides = total * total, side * side
    return max(max(sides * area / square, square / (sides * area)) for area in areas)
