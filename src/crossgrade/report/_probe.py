"""The page of a context probe, and the sentences that say what it found."""

from collections.abc import Sequence

from crossgrade.decide import (
    DEPTH_BINS,
    EffectiveLength,
    LengthCertificate,
    ProbeResult,
    RungReport,
    bound_words,
)
from crossgrade.report import _format as fmt
from crossgrade.report._chart import Axis, Chart, Dot, Line, Rule, draw
from crossgrade.report._html import PagePart, render_page
from crossgrade.report._rows import Key
from crossgrade.report._view import Table

_SHARES = tuple((each / 4, f"{25 * each} %") for each in range(5))
_DEPTHS = ("c1", "c2", "c3", "c4", "incumbent")
_ROOM = 1.15
"""Room on both sides of the lengths, as a factor."""
_FEW = 10
"""Answers below which a share at one length and depth says little."""


def render_probe(result: ProbeResult) -> str:
    """Return the report of a probe as one HTML page; raises MissingExtraError without `report`."""
    drawn = [rung for rung in result.rungs if rung.share.n]
    figures = [_curve(result, drawn), _by_depth(drawn)] if drawn else []
    return render_page(
        f"Context of {result.offer}",
        above=f"How long a context of {result.offer} holds",
        headline=_short(result),
        lead=" ".join(f"{each}." for each in _found(result)),
        facts=_facts(result),
        sections=[
            PagePart(title="Certificates", lines=_certificates(result)),
            *figures,
            PagePart(title="By length", table=_table(result)),
            PagePart(title="What it rests on", lines=tuple(map(fmt.sentence, _conditions(result)))),
        ],
    )


def headline(result: ProbeResult) -> str:
    """Return in one sentence what the probe found about the model's own score."""
    floor = f"{100 * result.floor:.0f} % of its score on the gold passages alone"
    return _length_words(result, result.effective, floor, result.reason or result.ending)


def headline_against(result: ProbeResult) -> str | None:
    """Return in one sentence how the model compares with the other model (None if none was asked)."""
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
    """Return the finding of a certificate's test in words."""
    retention = certificate.retention
    word = {"pass": "certified", "fail": "refuted"}.get(str(retention.outcome), "undecided")
    value = "unknown" if retention.value is None else f"{retention.value:.2f}"
    bounds = bound_words(retention)
    value += f", {bounds}" if bounds else ""
    beside = f" of {certificate.against} at that length" if certificate.against else ""
    return (
        f"{word} at {certificate.tokens:,} tokens: retention{beside} {value} on {retention.n} fresh "
        f"haystacks, error rate {retention.alpha:g}, prompts of {certificate.body_bytes:,} bytes and more"
    )


def tokens_words(tokens: float) -> str:
    """Return a length in tokens as people write it: 2,048, 96k, 1M."""
    if tokens >= 1_000_000:
        return f"{tokens / 1_000_000:.3g}M"
    return f"{tokens / 1000:.3g}k" if tokens >= 10_000 else f"{tokens:,.0f}"


def _short(result: ProbeResult) -> str:
    """Return the headline: at most ten words with one number."""
    certified = result.certified
    if certified is not None:
        return f"Certified up to {tokens_words(certified.tokens)} tokens"
    if any(each.retention.outcome == "fail" for each in result.certificates):
        return f"{tokens_words(result.certificates[0].tokens)} tokens are too long"
    return "No length is certified"


def _found(result: ProbeResult) -> list[str]:
    beside = headline_against(result)
    return [headline(result), *([beside] if beside else [])]


def _certificates(result: ProbeResult) -> tuple[str, ...]:
    lines = [f"{_capital(certificate_words(each))}." for each in result.certificates]
    return tuple(lines) or ("No length is certified.",)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]


def _facts(result: ProbeResult) -> list[tuple[str, str]]:
    spent = result.spent
    return [
        ("Model", result.offer),
        ("Floor", fmt.percent(result.floor, 0)),
        ("Calls", f"{spent.calls:,}"),
        ("Input tokens", f"{spent.input_tokens:,}"),
        ("Cost", "unknown" if spent.cost_usd is None else fmt.money(spent.cost_usd)),
        ("Measured", f"{result.measured_at:%Y-%m-%d}"),
    ]


def _drawn(
    title: str,
    rungs: Sequence[RungReport],
    *,
    lines: Sequence[Line],
    dots: Sequence[Dot],
    rules: Sequence[Rule] = (),
) -> str:
    """Draw shares of right answers over the lengths tested."""
    lengths = Axis(
        low=rungs[0].tokens / _ROOM,
        high=rungs[-1].tokens * _ROOM,
        ticks=tuple((rung.tokens, tokens_words(rung.tokens)) for rung in rungs),
        title="tokens of a prompt",
        log=True,
    )
    shares = Axis(low=0, high=1, ticks=_SHARES, title="right answers")
    return draw(
        Chart(title=title, x=lengths, y=shares, lines=tuple(lines), dots=tuple(dots), rules=tuple(rules))
    )


def _curve(result: ProbeResult, rungs: Sequence[RungReport]) -> PagePart:
    found = result.effective
    points = tuple((rung.tokens, rung.share.value or 0.0) for rung in rungs)
    lines = [Line(points=points, kind="plain")]
    keys = [
        Key(kind="plain", words=f"{result.offer}, with its 95 % interval", shape="dot"),
        Key(kind="certified", words="at or above the floor with confidence", shape="dot"),
        Key(kind="below", words="below the floor with confidence", shape="dot"),
    ]
    against = [rung for rung in rungs if rung.against is not None]
    if against:
        bar = tuple((r.tokens, result.floor * ((r.against and r.against.value) or 0.0)) for r in against)
        lines.append(Line(points=bar, kind="c2", dashed=True))
        keys.append(
            Key(
                kind="c2",
                words=f"{fmt.percent(result.floor, 0)} of what {result.against} has there",
                shape="dash",
            )
        )
    rules = []
    if found is not None:
        rules.append(Rule(at=found.floor, label=f"floor {fmt.percent(found.floor, 0)}"))
        if found.tokens is not None:
            rules.append(Rule(at=found.tokens, label="effective length", upright=True))
    return PagePart(
        title="Share of right answers by length",
        chart=_drawn(
            "Share of right answers by length",
            rungs,
            lines=lines,
            dots=[_dot(rung, None if found is None else found.floor) for rung in rungs],
            rules=rules,
        ),
        keys=tuple(keys),
        caption=_effective_words(found),
    )


def _effective_words(found: EffectiveLength | None) -> str:
    if found is None or found.tokens is None or found.at_least or found.at_most:
        return "The effective length is where the curve first falls below the floor."
    low, high = tokens_words(found.low), tokens_words(found.high)
    return (
        "The effective length is where the curve first falls below the floor. It lies between "
        f"{low} and {high} tokens with {fmt.percent(found.level, 0)} probability."
    )


def _dot(rung: RungReport, floor: float | None) -> Dot:
    share = rung.share.value or 0.0
    kind = "plain"
    if floor is not None and rung.share.high < floor:
        kind = "below"
    elif floor is not None and rung.share.low >= floor:
        kind = "certified"
    return Dot(
        x=rung.tokens,
        y=share,
        kind=kind,
        title=f"{rung.tokens:,} tokens: {100 * share:.0f} % of {rung.share.n}",
        y_ends=(rung.share.low, rung.share.high),
    )


def _by_depth(rungs: Sequence[RungReport]) -> PagePart:
    ends = [f"{100 * each // DEPTH_BINS} to {100 * (each + 1) // DEPTH_BINS} %" for each in range(DEPTH_BINS)]
    lines, dots = [], []
    for depth in range(DEPTH_BINS):
        at = [(rung.tokens, *rung.depths[depth]) for rung in rungs if rung.depths[depth][1]]
        if not at:
            continue
        lines.append(Line(points=tuple((tokens, right / n) for tokens, right, n in at), kind=_DEPTHS[depth]))
        dots += [
            Dot(
                x=tokens,
                y=right / n,
                kind=_DEPTHS[depth],
                title=f"{tokens:,} tokens, depth {ends[depth]}: {right:.0f} of {n}",
                hollow=n < _FEW,
            )
            for tokens, right, n in at
        ]
    return PagePart(
        title="By depth of the answer",
        chart=_drawn("Share of right answers by length and depth", rungs, lines=lines, dots=dots),
        keys=tuple(
            Key(kind=kind, words=f"depth {words}", shape="line")
            for kind, words in zip(_DEPTHS, ends, strict=True)
        ),
        caption="Depth 0 % is the start of the documents. A hollow dot has fewer than "
        f"{_FEW} answers. Depth is drawn anew for each question.",
    )


def _table(result: ProbeResult) -> Table:
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
    return Table(
        title="By length",
        head=head,
        rows=tuple(
            (
                f"{r.tokens:,}",
                fmt.percent(r.share.value, 0),
                f"{100 * r.share.low:.0f} to {100 * r.share.high:.0f} %",
                *([fmt.percent(r.against.value, 0)] if r.against else []),
                str(r.share.n),
                str(r.haystacks),
                "refused" if r.refused else str(r.failures),
                _measured(r.ttft_ms, "ms"),
                _measured(r.latency_ms, "ms"),
                _measured(r.memory_mib, "MiB"),
            )
            for r in result.rungs
        ),
        numeric=frozenset(range(len(head))),
    )


def _conditions(result: ProbeResult) -> list[str]:
    spent = result.spent
    kinds = ", ".join(f"{kind} {right:.0f} of {n}" for kind, (right, n) in result.kind_shares.items())
    lengths = "exact" if result.exact else "calibrated"
    return [
        f"Gold passages alone: {_share(result.base.value)} of {result.base.n} are right",
        f"Without any documents: {_share(result.no_documents.value)} of {result.no_documents.n} are right",
        f"Questions at length: {kinds or 'none'}",
        (
            f"The haystack has {fmt.count(result.documents, 'document')} and {result.pool_tokens:,} tokens. "
            f"At least {fmt.percent(result.unique_share, 0)} of a prompt is unique"
        ),
        f"The tokenizer is {result.tokenizer}, so lengths are {lengths}",
        (
            f"The model that answered is {result.model or 'unknown'}, on "
            f"{result.runtime or 'an engine that it does not name'}"
        ),
        (
            f"{spent.cached_tokens:,} of the input tokens were read from a cache, and "
            f"{spent.output_tokens:,} output tokens were generated"
        ),
        f"This is probe {result.probe_id}",
        *result.notes,
    ]


def _share(value: float | None) -> str:
    return "unknown" if value is None else f"{100 * value:.0f} %"


def _measured(value: float | None, unit: str) -> str:
    return "-" if value is None else f"{value:,.0f} {unit}"
