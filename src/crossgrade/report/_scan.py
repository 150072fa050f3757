"""A scan of traffic in words: the lines of a terminal, and one HTML page with the treemap of spend."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

from crossgrade.decide import WANTED_TRIALS
from crossgrade.pricing.thrift import Thrift
from crossgrade.report._chart import Rectangle, treemap
from crossgrade.report._format import UNKNOWN, money, percent
from crossgrade.report._html import render
from crossgrade.stats import Interval, Proportion
from crossgrade.workloads.traffic import Finding, Move, Scan, Sums

_WIDTH, _HEIGHT = 1000.0, 420.0
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_SAID_ELSEWHERE = {"score", "net_value_usd"}
NET_VALUE_WORDS = (
    "Net value: the dollars that finding out may bring in the first year. It is 12 × the saving a month × "
    "how often open models win at this kind of work, less what the test and its labels cost. The saving is "
    "the one beyond what today's model could save by itself, by batch or by its cache. It is an upper "
    "bound: nobody has measured yet whether the cheaper model is good enough."
)
"""What the workloads are ranked by."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """A workload's rectangle in the treemap; its class is the shade of what a move may save."""

    name: str
    title: str
    rank: str
    amount: str
    box: str
    shade: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanRow:
    """One workload in words, as a terminal and the page show it."""

    name: str
    reason: str
    requests: str
    incumbent: str
    ends: tuple[tuple[str, str], ...]
    tokens: str
    cached: str
    lengths: str
    latency: str
    errors: str
    features: str
    spend: str
    per_month: str
    growth: str
    sessions: str
    agent: str | None
    thrifts: tuple[str, ...]
    moves: tuple[tuple[str, str, str, str, str], ...]
    evidence: str
    saves: str
    share: str
    cumulated: str
    net_value: str
    net_value_why: str
    unknown: tuple[str, ...]


def scan_rows(scan: Scan) -> list[ScanRow]:
    """Return the workloads in words, in their order, with their shares of spend and what these add up to."""
    rows, held = [], 0.0
    for finding, share in zip(scan.findings, scan.shares, strict=True):
        held += share or 0.0
        rows.append(_row(finding, share, held if scan.spend_usd else None))
    return rows


def _row(finding: Finding, share: float | None, held: float | None) -> ScanRow:
    """Return a workload in words; what is not known says why."""
    lengths = (
        f"in {_lengths(finding.input_quantiles)} · out {_lengths(finding.output_quantiles)}"
        if finding.input_quantiles
        else UNKNOWN
    )
    likelihood = finding.likelihood
    return ScanRow(
        name=finding.name,
        reason=finding.reason,
        requests=f"{finding.requests:,}",
        incumbent=_models(finding),
        ends=_ends(finding),
        tokens=f"{finding.input_tokens:,} in, {finding.output_tokens:,} out (n = {finding.tokens_n:,})",
        cached=percent(finding.cached_share),
        lengths=lengths,
        latency=_latency(finding),
        errors=_share(finding.errors.value, finding.errors.low, finding.errors.high, finding.errors.n),
        features=_features(finding),
        spend=_spend(finding),
        per_month=_dollars(finding.spend_per_month_usd),
        growth=_growth(finding.growth),
        sessions=_sessions(finding),
        agent=_agent(finding),
        thrifts=tuple(map(_thrift, finding.thrifts)),
        moves=tuple(_move(move, finding) for move in finding.moves),
        evidence=(
            f"the best open model wins {percent(likelihood.value, 0)} against the best closed one "
            f"({likelihood.category.replace('_', ' ')}, text arena, {likelihood.as_of})"
        ),
        saves=_dollars(finding.moves[0].saving_per_month_usd) if finding.moves else UNKNOWN,
        share=percent(share, 0),
        cumulated=percent(held, 0),
        net_value=UNKNOWN if finding.needs_evidence == "agentic" else money(finding.net_value_usd),
        net_value_why=_net_value(finding),
        unknown=tuple(
            f"{name.replace('_', ' ')}: {why}"
            for name, why in finding.unknown.items()
            if name not in _SAID_ELSEWHERE
        )
        + _left_out(finding),
    )


def scan_totals(scan: Scan) -> list[tuple[str, str]]:
    """Return the figures of the whole log."""
    rows = ", ".join(f"{n:,} {name}" for name, n in scan.rows.items())
    facts = [
        ("records", f"{rows or 'none'} in {scan.files} file{'s' * (scan.files != 1)}"),
        ("requests", f"{scan.requests:,}, each once"),
        (
            "tokens",
            f"{scan.input_tokens:,} in, {scan.output_tokens:,} out (stated by {scan.tokens_n:,} requests)",
        ),
        ("spend", f"{money(scan.spend_usd)} ({scan.spend_n:,} of {scan.requests:,} requests have a cost)"),
        ("prices", f"of {scan.prices_on}; logged costs come first"),
    ]
    if scan.first and scan.last:
        facts.insert(2, ("time", f"{scan.first:%Y-%m-%d %H:%M} to {scan.last:%Y-%m-%d %H:%M} UTC"))
    if scan.same_id or scan.same_moment:
        facts.append(
            ("merged", f"{scan.same_id:,} rows by their id, {scan.same_moment:,} by time and tokens")
        )
    if scan.conflicts:
        facts.append(("conflicts", f"{scan.conflicts:,} rows share an id and differ in tokens: kept apart"))
    if scan.model is not None:
        facts.append(("model", f"{scan.model} where the log names none, as asked"))
    if scan.sums:
        facts.append(("usage export", _sums(scan.sums)))
    return facts


def render_scan(scan: Scan) -> str:
    """Return the scan as one self-contained HTML page; raises MissingExtraError without `report`."""
    page = render(
        "scan.html.j2",
        title="Where the money goes, and what could move",
        totals=scan_totals(scan),
        tiles=_tiles(scan.findings),
        by_spend=any(finding.spend_usd for finding in scan.findings),
        rows=scan_rows(scan),
        net_value_words=NET_VALUE_WORDS,
        problems=[(kind, n, scan.examples.get(kind, ())) for kind, n in scan.problems.items()],
        sources=sorted(scan.price_sources.items()),
    )
    # Names come out of logs: nothing in them may steer a terminal, or turn the direction of writing.
    return _UNSEEN.sub("�", page)


def _net_value(finding: Finding) -> str:
    """Return in words how the net value is computed, from the move that it belongs to."""
    if finding.needs_evidence == "agentic":
        return f"{UNKNOWN} (its test is trials of your agent, which no scan prices with another model)"
    if finding.net_value_usd is None:
        return f"{UNKNOWN} ({finding.unknown.get('net_value_usd', 'no move is known')})"
    likely, labels = finding.likelihood.value, finding.labels_cost_usd
    saving, test = max(
        (
            (move.counted_usd, move.test_cost_usd)
            for move in finding.moves
            if move.counted_usd is not None and move.test_cost_usd is not None
        ),
        key=lambda move: 12 * move[0] * likely - move[1],
    )
    return (
        f"{money(finding.net_value_usd)} in the first year: 12 × {money(saving)} saved a month × "
        f"{percent(likely, 0)} likely, less {money(test)} for the test and {money(labels)} for "
        f"{finding.samples:,} labels"
    )


def _tiles(findings: Sequence[Finding]) -> list[Tile]:
    """Return the treemap: by spend, or where no cost is known by tokens."""
    by_spend = any(finding.spend_usd for finding in findings)
    weighed = [
        (
            finding,
            (finding.spend_usd or 0) if by_spend else float(finding.input_tokens + finding.output_tokens),
        )
        for finding in findings
    ]
    weighed = sorted((each for each in weighed if each[1] > 0), key=lambda each: -each[1])
    places = treemap([weight for _, weight in weighed], _WIDTH, _HEIGHT)
    total = sum(weight for _, weight in weighed)
    tiles = []
    ranks = {finding.name: rank for rank, finding in enumerate(findings, start=1)}
    for (finding, weight), place in zip(weighed, places, strict=True):
        saved = max(
            (move.share_saved for move in finding.moves if move.share_saved is not None), default=None
        )
        shown = money(weight) if by_spend else f"{weight:,.0f} tokens"
        rank = f"{ranks[finding.name]}."
        tiles.append(
            Tile(
                name=finding.name,
                title=f"{finding.name}: {shown}, {percent(weight / total)} of the whole",
                rank=rank,
                amount=f"{shown} · {percent(weight / total, 0)}",
                box=_box(place),
                shade="unknown" if saved is None else f"s{min(4, max(0, int(saved * 5)))}",
            )
        )
    return tiles


def _box(place: Rectangle) -> str:
    """Return a rectangle as a style, in per cent of the figure: the page may be of any width."""
    sides = (
        ("left", place.x, _WIDTH),
        ("top", place.y, _HEIGHT),
        ("width", place.width, _WIDTH),
        ("height", place.height, _HEIGHT),
    )
    return ";".join(f"{name}:{100 * length / whole:.2f}%" for name, length, whole in sides)


def _models(finding: Finding) -> str:
    total = sum(finding.models.values())
    shown = [f"{name} {percent(n / total, 0)}" for name, n in list(finding.models.items())[:3]]
    more = len(finding.models) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _ends(finding: Finding) -> tuple[tuple[str, str], ...]:
    """Return the last day of each model that ends, and what it served, the first to end first."""
    total = sum(finding.models.values())
    return tuple(
        (day.isoformat(), f"{model} on {day} ({percent(finding.models[model] / total, 0)} of the requests)")
        for model, day in finding.ends.items()
    )


def _left_out(finding: Finding) -> tuple[str, ...]:
    """Return which requests no sample can stand for, where there are any."""
    n = sum(finding.left_out.values())
    if not n:
        return ()
    why = ", ".join(f"{cause} {count:,}" for cause, count in finding.left_out.items())
    share = percent(n / finding.requests)
    return (f"quality: no sample can stand for {share} of the requests ({why}): they stay where they are",)


def _thrift(each: Thrift) -> str:
    """Return a way to pay less without a move, in words."""
    way = each.way if each.keeps_answers else f"{each.offer} ({each.way})"
    if each.saves_usd_per_month is None:
        return f"{way}: {UNKNOWN}{f' ({each.reason})' if each.reason else ''}"
    return f"{way}: saves {money(each.saves_usd_per_month)} a month {each.needs}"


def _sums(sums: Sums) -> str:
    return (
        f"{sums.requests:,} requests in sums, {sums.input_tokens:,} tokens in, {sums.output_tokens:,} out: "
        "compared, not added"
    )


def _move(move: Move, finding: Finding) -> tuple[str, str, str, str, str]:
    kind = {True: "open", False: "proprietary", None: "openness unknown"}[move.open_weights]
    saved = move.saving_per_month_usd
    shown = _dollars(saved)
    if move.share_saved is not None:
        shown += f" ({percent(move.share_saved, 0)}, n = {move.n:,})"
    if move.beyond_thrift_usd is not None:
        shown += f", {money(move.beyond_thrift_usd)} over the best that today's model could do"
    return (
        f"{move.offer} ({kind})",
        shown,
        f"{UNKNOWN} (it needs trials)" if finding.needs_evidence == "agentic" else money(move.test_cost_usd),
        f"{move.price_source}, {move.price_on}",
        move.conformity,
    )


def _spend(finding: Finding) -> str:
    if finding.spend_usd is None:
        return UNKNOWN
    logged = finding.spend_logged_n
    source = "logged" if logged >= finding.spend_n else "at list prices" if not logged else "part logged"
    known = "" if finding.spend_n == finding.requests else f", of {finding.spend_n:,} requests"
    return f"{money(finding.spend_usd)} ({source}{known})"


def _sessions(finding: Finding) -> str:
    agentic = finding.agentic
    shown = (
        "whether tools were called is unknown"
        if agentic.value is None
        else f"{_of_requests(agentic)} call tools"
    )
    if not finding.sessions_n:
        return f"none named or inferred; {shown}"
    inferred = finding.sessions_inferred_n
    how = f" ({inferred:,} by how their conversations begin)" if inferred else ""
    mean, cost = finding.calls_per_session, finding.cost_per_session_usd
    return (
        f"{finding.sessions_n:,} requests{how} in {finding.sessions:,} sessions, {mean.value:.1f} and "
        f"{_dollars(cost)} each; {shown}"
    )


def _agent(finding: Finding) -> str | None:
    """Return that an agent sends the requests, what a run of it takes, and what follows from it."""
    if finding.needs_evidence != "agentic":
        return None
    needs = "a move needs trials of your agent (`requirements.evidence: agentic`)"
    loops = f"tools in loops: {_of_requests(finding.loops)} requests read what a tool gave"
    runs = finding.runs
    if runs is None:
        return f"{loops}; {needs}"
    number = f"{runs.runs:,} run{'s' * (runs.runs != 1)}"
    return f"{loops}, {number} of {runs.calls:.1f} calls and {money(runs.usd)} each; {needs}"


def trials_words(finding: Finding) -> str:
    """Return what runs trials of the agent that sends the requests, and what 400 of them cost as logged."""
    usd = None if finding.runs is None else finding.runs.usd
    cost = "" if usd is None else f", about {money(WANTED_TRIALS * usd)} with the model of the log"
    return (
        "`crossgrade init --template coding-agent` writes a workload that runs trials of an agent. Put in "
        f"yours, and plan {WANTED_TRIALS} trials of each model{cost}"
    )


def _lengths(quantiles: dict[str, float] | object) -> str:
    assert isinstance(quantiles, dict)
    return " / ".join(f"{quantiles[name]:,.0f}" for name in ("p50", "p95", "p99"))


def _features(finding: Finding) -> str:
    if finding.features:
        return ", ".join(finding.features)
    return "text alone" if finding.texts else f"{UNKNOWN} (the log carries no texts)"


def _latency(finding: Finding) -> str:
    if finding.latency_p50_s.value is None:
        return f"{UNKNOWN} (the log does not say)"
    return f"p50 {_seconds(finding.latency_p50_s)} · p95 {_seconds(finding.latency_p95_s)}"


def _seconds(value: Interval) -> str:
    if value.value is None:
        return UNKNOWN
    ends = ("?" if end is None or isnan(end) else f"{end:,.2f}" for end in (value.low, value.high))
    return f"{value.value:,.2f} s [{', '.join(ends)}]"


def _share(value: float | None, low: float, high: float, n: int) -> str:
    return UNKNOWN if value is None else f"{percent(value)} [{percent(low)}, {percent(high)}] of {n:,}"


def _of_requests(share: Proportion) -> str:
    """Return `40 % [31 %, 50 %] of 120`; a session counts as one in the interval."""
    ends = f"[{percent(share.low, 0)}, {percent(share.high, 0)}]"
    return f"{percent(share.value, 0)} {ends} of {share.n:,}"


def _dollars(value: Interval) -> str:
    if value.value is None:
        return f"{UNKNOWN} ({value.reason})" if value.reason else UNKNOWN
    if value.low is None or value.high is None:
        return f"{money(value.value)} (no interval: {value.reason})" if value.reason else money(value.value)
    return f"{money(value.value)} [{money(value.low)}, {money(value.high)}]"


def _growth(value: Interval) -> str:
    if value.value is None:
        return f"{UNKNOWN} ({value.reason})"
    high = "∞" if value.high is None else f"{value.high:.2f}"
    return (
        f"× {value.value:.2f} [{value.low:.2f}, {high}]" if value.low is not None else f"× {value.value:.2f}"
    )
