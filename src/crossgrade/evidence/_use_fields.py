"""Fields 5 to 11: what the models are for, what was measured about them, and what has to be stated."""

import math
from collections.abc import Iterator
from dataclasses import replace

from crossgrade.decide import Verdict
from crossgrade.domain import DossierFact, DossierField
from crossgrade.evidence._input import DossierInput, field_of
from crossgrade.stats import Retention


def intended_use(given: DossierInput) -> DossierField:
    """Return field 5: what the configuration knows of the workload, and what is stated."""
    workload = given.workload
    facts = [DossierFact(label="workload", text=f"{workload.name}, samples in {workload.dataset.name}")]
    if workload.requests_per_month is not None:
        facts.append(DossierFact(label="volume", text=f"{workload.requests_per_month:,} requests a month"))
    if workload.requirements.evidence != "plain":
        facts.append(DossierFact(label="evidence class", text=workload.requirements.evidence))
    unstated = ["users, excluded uses, what the answers decide, and who oversees them are not stated"]
    return field_of(5, given, known=facts, unstated=unstated)


def capability(given: DossierInput) -> DossierField:
    """Return field 6 from the newest verdict, which must not have expired."""
    verdict = given.verdict
    if verdict is None:
        gap = "there is no verdict on this workload: run `crossgrade evaluate` and `crossgrade decide`"
        return field_of(6, given, gaps=[gap])
    if verdict.valid_until <= given.now:
        gap = f"the verdict of {verdict.decided_at.date()} expired on {verdict.valid_until.date()}"
        return field_of(6, given, known=_verdict_facts(given, verdict), gaps=[gap])
    found = field_of(6, given, measured=_verdict_facts(given, verdict))
    return replace(
        found,
        evidence_id=given.verdict_id,
        digest=verdict.evidence_digest,
        at=verdict.decided_at,
        expires=verdict.valid_until,
    )


def _verdict_facts(given: DossierInput, verdict: Verdict) -> Iterator[DossierFact]:
    yield DossierFact(label="verdict", text=f"{verdict.name}: {verdict.sentence}")
    yield DossierFact(
        label="test",
        text=f"{given.workload.scorer.kind} scorer, incumbent {verdict.incumbent}, "
        f"at least {verdict.floor:.0%} of its score at an error rate of {verdict.alpha:.3g}",
    )
    for one in verdict.certificates:
        if not one.tested:
            continue
        kept = one.retention
        found = "certified" if one.certified else "shown to be below" if one.shown_below else "not certified"
        yield _kept(one.segment or "the whole", one.candidate, kept, f": {found}")
    failed = [guard.name for guard in verdict.guards if guard.status == "fail"]
    yield DossierFact(label="guards that failed", text=", ".join(failed) or "none")


def _kept(part: str, model: str, kept: Retention, after: str) -> DossierFact:
    """Return what a model keeps of the incumbent's score on a part of the traffic."""
    if kept.value is None:
        return DossierFact(label=part, text=f"no value ({kept.reason or 'no data'}){after}", model=model)
    ends = ["?" if end is None else f"{end:.3f}" for end in (kept.low, kept.high)]
    text = f"keeps {kept.value:.3f} ({ends[0]} to {ends[1]}) of the incumbent's score, n {kept.n}{after}"
    finite = [None if end is None or not math.isfinite(end) else end for end in (kept.low, kept.high)]
    return DossierFact(label=part, text=text, model=model, value=kept.value, low=finite[0], high=finite[1])


def safety(given: DossierInput) -> DossierField:
    """Return field 7. Only rates with enough labels of people are measured."""
    found = given.safety
    missing = () if found.facts else ("no safety rate with enough labels of people is known of these models",)
    field = field_of(7, given, measured=found.facts, gaps=(*missing, *found.gaps))
    return replace(
        field, evidence_id=found.evidence_id, digest=found.digest, at=found.at if found.facts else field.at
    )


def red_team(given: DossierInput) -> DossierField:
    """Return field 8, which has to be stated."""
    return field_of(8, given, unstated=["no red-team exercise is stated: who, when, how, findings, fixes"])


def bias(given: DossierInput) -> DossierField:
    """Return field 9: what the newest verdict found on each declared group, or what is stated."""
    verdict = given.verdict
    groups = () if verdict is None or verdict.valid_until <= given.now else verdict.groups
    facts = [
        _kept(each.segment, each.candidate, each.retention, "")
        for each in groups
        if each.retention.value is not None and each.segment is not None
    ]
    unstated = ["no groups of affected persons were compared, and nobody states that no persons are affected"]
    found = field_of(9, given, measured=facts, unstated=() if facts else unstated)
    if not facts or verdict is None:
        return found
    return replace(found, evidence_id=given.verdict_id, digest=verdict.evidence_digest, at=verdict.decided_at)


def security(given: DossierInput) -> DossierField:
    """Return field 10, which has to be stated."""
    unstated = ["no threat model, list of components or known vulnerabilities is stated"]
    return field_of(10, given, unstated=unstated)


def privacy(given: DossierInput) -> DossierField:
    """Return field 11: where requests go as far as it is known, and what is stated."""
    facts = []
    for each in given.models:
        offer = each.variant.offer
        where = "this machine" if offer.provider == "local" and offer.base_url is None else offer.provider
        region = "" if offer.region is None else f", region {offer.region}"
        facts.append(DossierFact(label="requests go to", text=f"{where}{region}", model=offer.name))
    unstated = ["retention, erasure, sub-processors and the legal basis are not stated"]
    return field_of(11, given, known=facts, unstated=unstated)
