"""Figures as inline SVG: matplotlib draws, colours become the page's CSS variables."""

import io
import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from crossgrade.decide import Certificate, EvidencePoint
from crossgrade.errors import MissingExtraError
from crossgrade.report import _format as fmt
from crossgrade.report._view import WHOLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {
    "#010101": "var(--ink)",
    "#020202": "var(--muted)",
    "#030303": "var(--good)",
    "#040404": "var(--bad)",
    "#050505": "var(--open)",
    "#060606": "var(--line)",
    "#070707": "var(--floor)",
}
"""Placeholder colours that matplotlib writes and `to_svg` turns into the page's own."""

# What repeats in every tag and says nothing: a report of 300 segments stays small.
_SLIMMER = (
    (r"\s*font-family: [^;\"]*;?", ""),
    (r"font:\s*([\d.]+px)[^;\"]*", r"font-size: \1"),
    (r' transform="rotate\(-?0 [^"]*"', ""),
    (r"(\d\.\d\d)\d+", r"\1"),
    (r"(?<=[:;]) ", ""),
    (r"\s*\n\s*", " "),
)
_LEAST_E = 1e-4
MOST_ROWS = 400
MOST_PATHS = 12
"""Hypotheses that a figure shows, as many as have room for a label; the table has all of them."""
_LABEL_STEP = 2.2
_Key = tuple[str, str | None]
_LONGEST_LABEL = 32
_INK, _MUTED, _GOOD, _BAD, _OPEN, _LINE, _FLOOR = COLOURS


@contextmanager
def plain_labels() -> Iterator[None]:
    """Draw labels as they are: never as formulas, and without a word on glyphs that a font here lacks."""
    try:
        from matplotlib import rc_context
    except ImportError as cause:
        raise MissingExtraError("the HTML report", "report") from cause
    with rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")
        yield


def new_figure(width_in: float, height_in: float) -> tuple["Figure", "Axes"]:
    """Return an empty figure in the report's style; sizes in inches."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 10, "axes.linewidth": 0.8, "xtick.color": _MUTED, "ytick.color": _INK}):
        figure = Figure(figsize=(width_in, height_in), layout="constrained")
        axes = figure.add_subplot()
    axes.set_facecolor("none")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(_LINE)
    return figure, axes


def to_svg(figure: "Figure", salt: str, title: str) -> str:
    """Return the figure as SVG that takes its colours from the page; `salt` makes its ids its own."""
    from matplotlib import rc_context

    out = io.StringIO()
    # Text stays text and ids depend on the salt alone, so that the bytes are the same in every process.
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": salt}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = out.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r">\s+<", "><", re.sub(r"<[^>]*>", _slim, svg))
    used = set(re.findall(r'(?:url\(|href=")#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda found: found[0] if found[1] in used else "", svg)
    svg = svg.replace("<g/>", "").replace("<g></g>", "")
    for placeholder, variable in COLOURS.items():
        svg = svg.replace(placeholder, variable)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    # Two figures on one page must not share ids.
    prefix = re.sub(r"\W", "-", salt)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r"url\(#", f"url(#{prefix}-", svg)
    svg = re.sub(r'xlink:href="#', f'xlink:href="#{prefix}-', svg)
    label = title.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def _slim(tag: re.Match[str]) -> str:
    slim = tag[0]
    for pattern, instead in _SLIMMER:
        slim = re.sub(pattern, instead, slim)
    return slim


def _colour(certificate: Certificate) -> str:
    if certificate.excluded or not certificate.tested:
        return _MUTED
    if certificate.certified:
        return _GOOD
    return _BAD if certificate.retention.outcome == "fail" else _OPEN


@plain_labels()
def forest(certificates: Sequence[Certificate], floor: float, salt: str = "forest") -> str:
    """Draw retention with its interval for each candidate and segment, and the floor as a line."""
    drawn = drawn_rows(certificates)
    figure, axes = new_figure(8.2, 0.9 + 0.27 * max(1, len(drawn)))
    left, right = _forest_range(drawn, floor)
    several = len({certificate.candidate for certificate in drawn}) > 1
    for row, certificate in enumerate(reversed(drawn)):
        _forest_row(axes, row, certificate, left, right)
    axes.axvline(floor, color=_FLOOR, linestyle=(0, (4, 3)), linewidth=1.2)
    axes.axvline(1.0, color=_LINE, linewidth=0.8, zorder=0)
    axes.set_xlim(left, right)
    axes.set_ylim(-0.7, len(drawn) - 0.3)
    axes.set_yticks(
        range(len(drawn)),
        [_label(one.candidate, one.segment, several=several) for one in reversed(drawn)],
        color=_INK,
    )
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel(f"retention (dashed: the floor {floor:g})", color=_MUTED)
    label = f"Retention with interval for {len(drawn)} hypotheses against the floor {floor:g}"
    return to_svg(figure, salt, label)


def drawn_rows(certificates: Sequence[Certificate]) -> list[Certificate]:
    """Return what `forest` draws: where there are too many, the wholes and the segments with most traffic."""
    known = [each for each in certificates if each.retention.value is not None]
    ranked = sorted(known, key=lambda each: (each.segment is not None, -each.share))[:MOST_ROWS]
    return [each for each in known if each in ranked]


def _forest_range(drawn: Sequence[Certificate], floor: float) -> tuple[float, float]:
    ends = [floor, 1.0]
    for certificate in drawn:
        retention = certificate.retention
        ends += [end for end in (retention.value, retention.low, retention.high) if end is not None]
    # A broken incumbent can give a retention of 10: clip, the row's text still says it.
    right = min(max(end for end in ends if math.isfinite(end)) + 0.03, 1.6)
    left = max(min(end for end in ends if math.isfinite(end)) - 0.03, 0.0)
    return left, right


def _label(candidate: str, segment: str | None, *, several: bool) -> str:
    where = segment or WHOLE
    label = f"{candidate} · {where}" if several else where
    return label if len(label) <= _LONGEST_LABEL else label[: _LONGEST_LABEL - 1] + "…"


def _forest_row(axes: "Axes", row: int, certificate: Certificate, left: float, right: float) -> None:
    retention = certificate.retention
    colour = _colour(certificate)
    low = left if retention.low is None else retention.low
    high = right if retention.high is None else retention.high
    span = [max(low, left), min(high, right)]
    axes.plot(span, [row, row], color=colour, linewidth=2.2, solid_capstyle="round")
    value = retention.value if retention.value is not None else retention.floor
    whole = certificate.segment is None
    if value <= right:
        shape, size = ("D", 7.0) if whole else ("s", 5.5)
        axes.plot([value], [row], linestyle="", marker=shape, markersize=size, color=colour)
    else:
        axes.plot([right], [row], linestyle="", marker=">", markersize=6, color=colour, clip_on=False)
    axes.annotate(
        f"{fmt.interval(retention)}   n {retention.n:,}",
        (1.01, row),
        xycoords=("axes fraction", "data"),
        va="center",
        fontsize=9,
        color=_MUTED,
        annotation_clip=False,
    )


@plain_labels()
def evidence_path(points: Sequence[EvidencePoint], salt: str = "path") -> str:
    """Draw the two e-values of each hypothesis, as shares of its threshold, over its samples (log scale)."""
    figure, axes = new_figure(8.2, 3.2)
    series = drawn_paths(points)
    several = len({candidate for candidate, _ in series}) > 1
    heights = _spread({key: max(_LEAST_E, *_shares(path[-1])) for key, path in series.items()})
    for key, path in series.items():
        _evidence_line(axes, path, _label(*key, several=several), heights[key])
    axes.axhline(1, color=_FLOOR, linestyle=(0, (4, 3)), linewidth=1.2)
    axes.set_yscale("log")
    axes.set_ylim(1e-4, 10)
    # Plain numbers: matplotlib's own are formulas, which a page without MathJax shows as they are.
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.yaxis.minorticks_off()
    axes.set_xlabel("samples asked", color=_MUTED)
    axes.set_ylabel("e-value / threshold (dashed: certain)", color=_MUTED)
    return to_svg(figure, salt, "Evidence for pass (green) and for fail (red) as samples were asked")


def drawn_paths(points: Sequence[EvidencePoint]) -> dict[_Key, list[EvidencePoint]]:
    """Return what `evidence_path` draws: where there are too many, the wholes and those that took longest."""
    series: dict[_Key, list[EvidencePoint]] = {}
    for point in points:
        series.setdefault((point.candidate, point.segment), []).append(point)
    ranked = sorted(series, key=lambda key: (key[1] is not None, -series[key][-1].n))[:MOST_PATHS]
    return {key: path for key, path in series.items() if key in ranked}


def _shares(point: EvidencePoint) -> tuple[float, float]:
    """Both e-values as shares of the threshold at which the hypothesis is settled."""
    return point.e_pass / point.threshold, point.e_fail / point.threshold


def _spread(ends: Mapping[_Key, float]) -> dict[_Key, float]:
    """Return where the labels of the lines stand: at their ends, but never one on another."""
    heights: dict[_Key, float] = {}
    lowest = math.inf
    ordered = sorted(ends, key=lambda key: -ends[key])
    for at, key in enumerate(ordered):
        room_below = _LEAST_E * _LABEL_STEP ** (len(ordered) - 1 - at)
        lowest = max(min(ends[key], lowest / _LABEL_STEP), room_below)
        heights[key] = lowest
    return heights


def _evidence_line(axes: "Axes", path: Sequence[EvidencePoint], label: str, height: float) -> None:
    whole = path[0].segment is None
    counts = [point.n for point in path]
    for side, colour in ((0, _GOOD), (1, _BAD)):
        values = [max(_shares(point)[side], _LEAST_E) for point in path]
        axes.plot(counts, values, color=colour, linewidth=2.0 if whole else 1.2, alpha=1 if whole else 0.65)
    axes.annotate(
        label,
        (counts[-1], height),
        xytext=(4, 0),
        textcoords="offset points",
        fontsize=8.5,
        color=_MUTED,
        va="center",
        annotation_clip=False,
    )
