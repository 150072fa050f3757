"""What a verdict says about a router: what it moves, what else could, and how it was trained."""

from collections.abc import Iterator

import numpy as np

from crossgrade.decide._costs import moved_rows, policy_retention
from crossgrade.decide._evidence import BoolColumn, FloatColumn
from crossgrade.decide._guards import sound_view
from crossgrade.decide._records import Certificate, Remark
from crossgrade.decide._sentence import Findings, all_requests, kept_whole
from crossgrade.decide._words import count, exact, listed, percent, retained
from crossgrade.stats import growth_alpha

_KINDS = {
    "table": "a score for each segment",
    "topics": "a score for each segment that was discovered in the texts",
    "text": "a score of each request's text",
}
_WAYS = {"table": "segments", "topics": "discovered segments", "text": "text", "random": "random"}


def router_reasons(found: Findings) -> Iterator[Remark]:
    """Yield what a router's verdict rests on; nothing where no router was asked for."""
    routing = found.view.evidence.routing
    if routing is None:
        return
    report = routing.report
    gains = "; ".join(
        f"{_WAYS[each.kind]} against {_WAYS[each.against]}: {each.mean:+.4f} in score, "
        f"standard error {each.standard_error:.4f}"
        for each in report.gains
    )
    trained = f"trained on {count(report.trained_on, 'other sample')} ({gains})"
    if routing.router is None:
        floor = found.view.settings.whole_floor
        whole = "" if floor is None else f" What moves is tested at the floor of the whole, {exact(floor)}."
        yield Remark(
            "router-left-out", f"No router is worth it, {trained}. These samples decide without one.{whole}"
        )
        return
    yield Remark("router", f"The router is {_KINDS[report.kind]}, {trained}.")
    if report.discovered:
        yield _discovered(found, tuple(each.name for each in report.discovered))
    policy = None if found.chosen is None else found.chosen.policy
    if policy is not None and policy.fact == "score":
        yield from _moved(found, found.certificate(str(policy.candidate), policy.segments[0]))
    yield from _next(found)


def _discovered(found: Findings, known: tuple[str, ...]) -> Remark:
    """Return the discovered segments, with the share of each that moves, unless declared groups are shown."""
    view = found.view
    policy = None if found.chosen is None else found.chosen.policy
    moved = None if policy is None or policy.fact != "score" else moved_rows(view, policy)
    shares = {
        str(part.label): view.share_of(part.rows)
        if moved is None
        else view.share_of(part.rows & moved) / view.share_of(part.rows)
        for part in view.parts
        if part.rows.any() and part.label in known
    }
    names = sorted(shares, key=lambda name: -shares[name]) or list(known)
    parts = ", ".join(f"{name} {percent(shares[name])}" if shares else name for name in names)
    what = "Their shares of the requests are" if moved is None else "The policy moves this share of each"
    what = what if shares else "They are"
    return Remark(
        "discovered-segments",
        f"No segments were given. {len(names)} were discovered in the training samples' texts, named by the "
        f"words that set them apart. {what}: {parts}.",
        segments=tuple(names),
    )


def _moved(found: Findings, one: Certificate) -> Iterator[Remark]:
    """Yield what the split keeps beside simpler ways to move as much, and segments it moves at a loss."""
    assert found.chosen is not None
    candidate = one.candidate
    view = sound_view(found.view, found.guards, candidate)
    rows = view.paired(candidate, view.whole.rows)
    moved = moved_rows(view, found.chosen.policy)[rows]
    weight = view.traffic_weights(rows)[rows]
    b, c = view.incumbent[rows], view.candidate(candidate)[rows]
    alone = found.certificate(candidate, None).retention.value or 0.0
    kept = policy_retention(view, found.chosen.policy, found.certificates)
    share = float(weight[moved].sum() / weight.sum())
    ways = [f"moving as many at random {1 - share * (1 - alone):.3f}"]
    routing = view.evidence.routing
    if routing is not None and routing.table_score is not None:
        table = _top(routing.table_score[rows], weight, share)
        by = "discovered segments" if routing.report.discovered else "segments"
        ways.append(f"moving as many by {by} alone {_ratio(b, np.where(table, c, b), weight):.3f}")
    yield Remark(
        "router-compared",
        f"Over {all_requests(found, candidate)} the split keeps {kept.value:.3f} of {found.incumbent}'s "
        f"score; {listed(tuple(ways))}, {candidate} alone {alone:.3f} "
        f"(estimates from {count(int(rows.sum()), 'pair')}).",
        candidate=candidate,
    )
    below = []
    for part in view.parts:
        inside = part.rows[rows] & moved
        if inside.any() and _ratio(b[inside], c[inside], weight[inside]) < view.settings.floor:
            below.append(str(part.label))
    if below:
        yield Remark(
            "moved-below-the-floor",
            "The floor holds for what moves together. By itself it may not hold on "
            f"{listed(tuple(below))}: the estimates are below it.",
            candidate=candidate,
            segments=tuple(below),
        )


def _next(found: Findings) -> Iterator[Remark]:
    """Yield the first threshold that is not certified."""
    names = {part.label for part in found.view.thresholds}
    for one in found.certificates:
        if one.segment in names and not one.certified:
            yield Remark(
                "router-stops",
                f"The next step, {one.segment} ({percent(one.share)} of requests), is not certified: "
                f"{one.candidate} keeps {retained(one.retention)} there{kept_whole(found, one)}.",
                candidate=one.candidate,
                segments=(str(one.segment),),
            )
            if found.view.grows:
                yield _grows(found, one)
            return


def _grows(found: Findings, one: Certificate) -> Remark:
    """Return how far the evidence of the next threshold is, which audits in service would carry on."""
    settings = found.view.settings  # a router's, whose share of alpha is that of the first start
    mark = 1 / (settings.alpha * settings.alpha_share)
    return Remark(
        "router-grows",
        f"Audits in service can carry this evidence on: its e-value is {one.retention.e_pass or 1.0:.3g} "
        f"of the {mark:.3g} that a step takes. That is why bets alone tested the thresholds, at "
        f"{percent(growth_alpha(1.0, 1))} of the error rate.",
        candidate=one.candidate,
        segments=(str(one.segment),),
    )


def _ratio(b: FloatColumn, s: FloatColumn, weight: FloatColumn) -> float:
    """Return E[s] / E[b] under these weights, NaN where the incumbent scores nothing."""
    total = float(b @ weight)
    return float(s @ weight) / total if total > 0 else float("nan")


def _top(score: FloatColumn, weight: FloatColumn, share: float) -> BoolColumn:
    """Return the rows with the highest scores that are together this share of the weight."""
    order = np.argsort(-np.nan_to_num(score, nan=-np.inf), kind="stable")
    found = np.zeros(len(score), dtype=np.bool_)
    found[order[np.cumsum(weight[order]) <= share * weight.sum()]] = True
    return found & np.isfinite(score)
