"""The report of a probe: one HTML page without script or network, its figures drawn as inline SVG."""

import math
from collections.abc import Callable, Sequence
from html import escape
from itertools import pairwise

from crossgrade._version import __version__
from crossgrade.decide import bound_words
from crossgrade.longcontext._result import DEPTH_BINS, LengthCertificate, ProbeResult, RungReport
from crossgrade.longcontext._search import EffectiveLength

_STYLE = """
:root{color-scheme:light dark;--page:#fbfaf8;--card:#fff;--ink:#1d2330;--muted:#5d6675;--line:#d9dce3;
--good:#17734a;--bad:#b3261e;--open:#8a6100;--floor:#3a56b0}
@media (prefers-color-scheme:dark){:root{--page:#14171d;--card:#1b2028;--ink:#e8eaf0;--muted:#a3acba;
--line:#353c48;--good:#5cc896;--bad:#ff8a80;--open:#e3b341;--floor:#93a8f5}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:62rem;margin:0 auto;padding:1.5rem 1.25rem 4rem}h1{font-size:1.15rem;margin:0}
h2{font-size:1.4rem}h2,p{margin:.3rem 0}
.answer{background:var(--card);border:1px solid var(--line);border-left:6px solid var(--tone);
border-radius:10px;padding:1rem 1.5rem;margin-top:1rem}.good{--tone:var(--good)}.open{--tone:var(--open)}
.muted,figcaption,footer{color:var(--muted);font-size:.87rem}
figure{margin:1.2rem 0;background:var(--card);border:1px solid var(--line);border-radius:10px;padding:.75rem}
svg{display:block;width:100%;height:auto;font-family:inherit}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.86rem;margin-top:1rem}
th,td{padding:.3rem .6rem;border-bottom:1px solid var(--line);text-align:right}
td{font-variant-numeric:tabular-nums}th{color:var(--muted);font-weight:600}
td:first-child,th:first-child{text-align:left}
@media print{:root{--page:#fff;--card:#fff}body{font-size:11pt}figure,tr{break-inside:avoid}}
"""
_WIDTH, _LEFT, _RIGHT = 820, 74, 24
_TOP, _PLOT, _ROW = 20, 240, 30


def render_probe(result: ProbeResult) -> str:
    """Return the report of a probe as one self-contained HTML page."""
    name = escape(result.offer)
    drawn = [rung for rung in result.rungs if rung.share.n]
    figures = f"{_curve(result, drawn)}{_heat(drawn)}" if drawn else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="generator" content="crossgrade {__version__}"><title>Context of {name}</title>'
        f"<style>{_STYLE}</style></head><body><main><h1>How long a context of {name} holds</h1>"
        f"{_answer(result)}{figures}{_table(result)}{_facts(result)}"
        f"<footer><p>Probe {escape(result.probe_id)}, crossgrade {__version__}.</p></footer>"
        "</main></body></html>\n"
    )


def headline(result: ProbeResult) -> str:
    """Say in one sentence what the probe found of the model's own score."""
    floor = f"{100 * result.floor:.0f} % of its score on the gold passages alone"
    return _length_words(result, result.effective, floor, result.reason or result.ending)


def headline_against(result: ProbeResult) -> str | None:
    """Say in one sentence what it found beside the other model, if one was asked."""
    if result.against is None:
        return None
    found = result.effective_against
    floor = f"{100 * result.floor:.0f} % of what {result.against} scores at the same length"
    return _length_words(result, found, floor, (found and found.reason) or result.reason or result.ending)


def _length_words(result: ProbeResult, found: EffectiveLength | None, floor: str, why: str) -> str:
    if found is None or found.tokens is None:
        beside = "" if result.effective is found else f" beside {result.against}"
        return f"{result.offer}: the effective length{beside} is not determined ({why})"
    span = f"{tokens_words(found.low)} to {tokens_words(found.high)}"
    if found.high >= max((rung.tokens for rung in result.rungs), default=0):
        span += " or more"
    if found.at_least:
        return f"{result.offer} holds {floor} up to {tokens_words(found.tokens)} tokens, the longest tested"
    if found.at_most:
        at = tokens_words(found.tokens)
        return f"{result.offer} is under {floor} at {at} tokens already, the shortest tested"
    return f"{result.offer} first falls under {floor} at about {tokens_words(found.tokens)} tokens ({span})"


def certificate_words(certificate: LengthCertificate) -> str:
    """Say what a certificate's test found."""
    retention = certificate.retention
    word = {"pass": "certified", "fail": "refuted"}.get(str(retention.outcome), "undecided")
    value = "unknown" if retention.value is None else f"{retention.value:.2f}"
    bounds = bound_words(retention)
    value += f", {bounds}" if bounds else ""
    beside = f" of {certificate.against} at that length" if certificate.against else ""
    return (
        f"{word} at {certificate.tokens:,} tokens: retention {value}{beside} on {retention.n} fresh "
        f"haystacks, error rate {retention.alpha:g}, prompts of {certificate.body_bytes:,} bytes and more"
    )


def tokens_words(tokens: float) -> str:
    """A length in tokens as people write it: 2,048, 96k, 1M."""
    if tokens >= 1_000_000:
        return f"{tokens / 1_000_000:.3g}M"
    return f"{tokens / 1000:.3g}k" if tokens >= 10_000 else f"{tokens:,.0f}"


def _answer(result: ProbeResult) -> str:
    tone = "good" if result.certified else "open"
    lines = "".join(f"<p>{escape(certificate_words(each))}</p>" for each in result.certificates)
    if not result.certificates:
        lines = "<p>No length is certified.</p>"
    beside = headline_against(result)
    more = f"<h2>{escape(beside)}</h2>" if beside else ""
    return f'<div class="answer {tone}"><h2>{escape(headline(result))}</h2>{more}{lines}</div>'


def _scale(rungs: Sequence[RungReport]) -> tuple[float, float]:
    """Return the offset and the width of an octave on the axis of lengths."""
    first, last = (math.log2(rungs[at].tokens) for at in (0, -1))
    return first - 0.3, (_WIDTH - _LEFT - _RIGHT) / (last - first + 0.6)


def _line(  # noqa: PLR0917 -- two points and a look
    x1: float, y1: float, x2: float, y2: float, stroke: str, more: str = ""
) -> str:
    at = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {at} stroke="var(--{stroke})"{more}/>'


def _text(x: float, y: float, words: str, *, anchor: str = "end", fill: str = "muted", size: int = 12) -> str:
    at = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" fill="var(--{fill})"'
    return f"<text {at}>{words}</text>"


def _box(  # noqa: PLR0917 -- a place, a size and a look
    x: float, y: float, width: float, height: float, look: str, title: str = ""
) -> str:
    at = f'x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}"'
    return f"<rect {at} {look}>{_title(title) if title else ''}</rect>"


def _title(words: str) -> str:
    return f"<title>{words}</title>"


def _curve(result: ProbeResult, rungs: Sequence[RungReport]) -> str:
    start, octave = _scale(rungs)
    bottom, right = _TOP + _PLOT, _WIDTH - _RIGHT

    def x(tokens: float) -> float:
        return min(max(_LEFT + (math.log2(max(tokens, 1)) - start) * octave, _LEFT), right)

    def y(share: float) -> float:
        return bottom - share * _PLOT

    parts = []
    for s in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_line(_LEFT, y(s), right, y(s), "line"))
        parts.append(_text(_LEFT - 8, y(s) + 4, f"{100 * s:.0f} %"))
    found = result.effective
    if found is not None:
        low, high, floor = x(found.low), x(found.high), y(found.floor)
        parts += [
            _box(low, _TOP, max(high - low, 2), _PLOT, 'fill="var(--floor)" opacity=".12"'),
            _line(_LEFT, floor, right, floor, "floor", ' stroke-width="1.5" stroke-dasharray="5 4"'),
        ]
        if found.tokens is not None:
            at = x(found.tokens)
            parts.append(_line(at, _TOP, at, bottom, "floor", ' stroke-width="2"'))
    points = " ".join(f"{x(r.tokens):.1f},{y(r.share.value or 0):.1f}" for r in rungs)
    parts.append(f'<polyline points="{points}" fill="none" stroke="var(--muted)" stroke-width="1.5"/>')
    bars = [(x(r.tokens), y(result.floor * (r.against.value or 0))) for r in rungs if r.against is not None]
    if bars:
        path = " ".join(f"{at:.1f},{bar:.1f}" for at, bar in bars)
        dots = 'stroke-dasharray="1 6" stroke-linecap="round"'
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="var(--open)" stroke-width="2.5" {dots}/>'
        )
    for rung in rungs:
        parts += _dot(rung, x(rung.tokens), y, None if found is None else found.floor)
    if found is not None:
        # Last, with a rim of the card's colour, so that no interval runs through the words.
        place = f'x="{right:.1f}" y="{y(found.floor) - 5:.1f}" text-anchor="end" font-size="12"'
        rim = 'stroke="var(--card)" stroke-width="4" paint-order="stroke"'
        parts.append(f'<text {place} {rim} fill="var(--floor)">floor {100 * found.floor:.0f} %</text>')
    parts += _ticks(rungs, x, bottom + 18)
    return _figure(
        parts,
        bottom + 40,
        "Share of right answers by length",
        "Share of right answers by prompt length (tokens), with 95 % intervals. Dashed: the floor. "
        "Shaded: where the effective length lies."
        + (f" Dotted: {100 * result.floor:.0f} % of what {result.against} has there." if bars else ""),
    )


def _dot(rung: RungReport, x: float, y: Callable[[float], float], floor: float | None) -> list[str]:
    share = rung.share.value or 0
    colour = "ink"
    if floor is not None and rung.share.high < floor:
        colour = "bad"
    elif floor is not None and rung.share.low >= floor:
        colour = "good"
    title = f"{rung.tokens:,} tokens: {100 * share:.0f} % of {rung.share.n}"
    return [
        _line(
            x, y(rung.share.low), x, y(rung.share.high), colour, ' stroke-width="2.2" stroke-linecap="round"'
        ),
        f'<circle cx="{x:.1f}" cy="{y(share):.1f}" r="4.5" fill="var(--{colour})">{_title(title)}</circle>',
    ]


def _heat(rungs: Sequence[RungReport]) -> str:
    start, octave = _scale(rungs)
    gaps = [math.log2(b.tokens / a.tokens) for a, b in pairwise(rungs)]
    width = min(0.92 * octave * min([0.6, *gaps]), 90.0)
    parts = []

    def x(tokens: float) -> float:
        return _LEFT + (math.log2(tokens) - start) * octave

    for depth in range(DEPTH_BINS):
        at = _TOP + depth * _ROW
        label = f"{100 * depth // DEPTH_BINS}\u2013{100 * (depth + 1) // DEPTH_BINS} %"
        parts.append(_text(_LEFT - 8, at + 19, label))
        for rung in rungs:
            parts += _cell(rung, depth, label, x(rung.tokens), at, width)
    bottom = _TOP + DEPTH_BINS * _ROW
    parts += _ticks(rungs, x, bottom + 16)
    return _figure(
        parts,
        bottom + 38,
        "Share of right answers by length and depth",
        "Per cent of right answers by length and by depth of the answer (0 %: the start of the documents). "
        "Pale: few answers. Depth is drawn anew for each question, whatever the length.",
    )


def _cell(rung: RungReport, depth: int, label: str, x: float, y: float, width: float) -> list[str]:  # noqa: PLR0917 -- a place and a size
    right, n = rung.depths[depth]
    left = x - width / 2
    if not n:
        return [_box(left, y, width, _ROW - 3, 'fill="none" stroke="var(--line)"')]
    share = right / n
    colour = f"color-mix(in oklab, var(--good) {100 * share:.0f}%, var(--bad))"
    title = f"{rung.tokens:,} tokens, depth {label}: {right:.0f} of {n}"
    look = f'fill="{colour}" opacity="{0.35 + 0.65 * min(1, n / 10):.2f}"'
    cell = [_box(left, y, width, _ROW - 3, look, title)]
    if width > 34:
        cell.append(_text(x, y + 18, f"{100 * share:.0f}", anchor="middle", fill="page", size=11))
    return cell


def _ticks(rungs: Sequence[RungReport], x: Callable[[float], float], y: float) -> list[str]:
    ticks, last = [], -100.0
    for rung in rungs:
        at = x(rung.tokens)
        if at - last >= 44:
            ticks.append(_text(at, y, tokens_words(rung.tokens), anchor="middle"))
            last = at
    return ticks


def _figure(parts: Sequence[str], height: float, title: str, caption: str) -> str:
    head = f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-label="{escape(title)}">'
    return f"<figure>{head}{''.join(parts)}</svg><figcaption>{escape(caption)}</figcaption></figure>"


def _table(result: ProbeResult) -> str:
    head = (
        "tokens",
        "right",
        "95 % interval",
        *([result.against] if result.against else []),
        "answers",
        "haystacks",
        "failures",
        "first token",
        "answer",
        "memory",
    )
    rows = [
        (
            f"{r.tokens:,}",
            "-" if r.share.value is None else f"{100 * r.share.value:.0f} %",
            f"{100 * r.share.low:.0f} to {100 * r.share.high:.0f} %",
            *([_share(r.against.value)] if r.against else []),
            str(r.share.n),
            str(r.haystacks),
            "refused" if r.refused else str(r.failures),
            _milliseconds(r.ttft_ms),
            _milliseconds(r.latency_ms),
            "-" if r.memory_mib is None else f"{r.memory_mib:,.0f} MiB",
        )
        for r in result.rungs
    ]
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    titles = "".join(f"<th>{escape(each)}</th>" for each in head)
    return f'<div class="scroll"><table><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table></div>'


def _facts(result: ProbeResult) -> str:
    spent = result.spent
    cost = "unknown cost" if spent.cost_usd is None else f"${spent.cost_usd:.4f}"
    kinds = ", ".join(f"{kind} {right:.0f} of {n}" for kind, (right, n) in result.kind_shares.items())
    lines = [
        (
            f"Spent: {spent.calls:,} calls, {spent.input_tokens:,} input tokens ({spent.cached_tokens:,} of "
            f"them read from a cache), {spent.output_tokens:,} output tokens, {cost}."
        ),
        (
            f"Gold passages alone: {_share(result.base.value)} of {result.base.n}; no documents at all: "
            f"{_share(result.no_documents.value)} of {result.no_documents.n}."
        ),
        f"Questions at length: {kinds or 'none'}.",
        (
            f"Haystack: {result.documents:,} documents, {result.pool_tokens:,} tokens, unique share of a "
            f"prompt at least {100 * result.unique_share:.0f} %. Tokenizer: {result.tokenizer} "
            f"({'exact lengths' if result.exact else 'calibrated lengths'})."
        ),
        (
            f"Answered by: {result.model or 'unknown'}; "
            f"{result.runtime or 'engine and context setting not revealed'}."
        ),
        *result.notes,
    ]
    return "".join(f'<p class="muted">{escape(line)}</p>' for line in lines)


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.0f} %"


def _milliseconds(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f} ms"
