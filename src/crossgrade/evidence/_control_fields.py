"""Fields 12 to 16: access, logging, operation, changes and approvals."""

from collections.abc import Iterator
from dataclasses import replace

from crossgrade.domain import DOSSIER_FIELDS, AccessRule, Dossier, DossierFact, DossierField
from crossgrade.evidence._input import DossierInput, field_of
from crossgrade.identity import DossierBasis, changed_parts

_MOST_KEYS = 50

_COMPARED = range(1, 15)
"""The fields whose content is compared: those after them are about the dossier itself."""

_LIVE = frozenset({12, 13, 14})
"""Fields that count what happens every day. Only their status is compared; the basis has the access rules."""


def access(given: DossierInput) -> DossierField:
    """Return field 12: the rules in force, and who can meet them, at the moment of the dossier."""
    facts = given.access
    gaps = [f"holders of tokens of {issuer} are known to their issuer only" for issuer in facts.issuers]
    if not facts.routes:
        gaps.append("no route serves this workload")
    found = field_of(12, given, measured=_access_facts(given), gaps=gaps)
    return replace(found, evidence_id="access policy", digest=facts.rules_digest or facts.keys_digest)


def _access_facts(given: DossierInput) -> Iterator[DossierFact]:
    facts = given.access
    for route in facts.routes:
        if not route.gated:
            whom = [f"tiers {', '.join(route.tiers)}"] if route.tiers else []
            whom += [f"teams {', '.join(route.teams)}"] if route.teams else []
            text = f"not gated: open to {' and '.join(whom) or 'every caller whom the gateway admits'}"
            yield DossierFact(label=f"route {route.name}", text=text)
            continue
        rules = [rule for rule in facts.rules if rule.reaches(route.name, route.workload)]
        text = f"gated by {len(rules)} rule{'s' if len(rules) != 1 else ''}; the first that matches decides"
        yield DossierFact(label=f"route {route.name}", text=text)
        for rule in rules:
            yield DossierFact(label=f"rule {rule.name}", text=_rule_words(rule))
    if facts.rules_digest is not None:
        yield DossierFact(label="rules in force", text=facts.rules_digest)
    names = [
        f"{name} ({', '.join(filter(None, (identifier, team, tier)))})"
        for name, identifier, team, tier in facts.keys[:_MOST_KEYS]
    ]
    more = len(facts.keys) - len(names)
    listed = "; ".join(names) + (f"; and {more} more" if more > 0 else "")
    yield DossierFact(label="live keys", text=listed or "none")
    yield DossierFact(label="suspended callers", text=str(facts.suspended))
    if facts.open_on_loopback:
        yield DossierFact(label="without a key", text="requests from the gateway's own machine are admitted")


def _rule_words(rule: AccessRule) -> str:
    """Return what a rule grants or denies to whom."""
    selectors = {
        "programme": (rule.programme,) if rule.programme else (),
        "issuers": rule.issuers,
        "tiers": rule.tiers,
        "teams": rule.teams,
        "models": rule.models,
    }
    whom = ", ".join(f"{name} {' or '.join(given)}" for name, given in selectors.items() if given)
    needs = [] if rule.evidence == "none" else [f"a valid {rule.evidence}"]
    if rule.login is not None:
        needs.append("a login" + (f" within {rule.login.max_age_s} s" if rule.login.max_age_s else ""))
    words = f"{'allows' if rule.allow else 'denies'} {whom or 'everyone'}"
    needed = f", needs {' and '.join(needs)}" if needs else ""
    return f"{words}{needed}{f' ({rule.because})' if rule.because else ''}"


def logging(given: DossierInput) -> DossierField:
    """Return field 13: what the ledger records, and what its verification found just now."""
    facts = given.ledger
    measured = [
        DossierFact(
            label=f"route {route.name}",
            text={
                "off": "requests are not entered into the ledger",
                "queue": "requests are entered, and do not wait for it",
                "require": "no request is sent before it is entered",
            }[route.ledger],
        )
        for route in given.access.routes
    ]
    measured.append(
        DossierFact(label="decisions", text=f"entered into a Merkle log, which has {facts.size:,} so far")
    )
    result = facts.problem or ("; ".join(facts.findings[:5]) if facts.findings else "it verifies")
    measured.append(DossierFact(label="last verification", text=f"{given.now:%Y-%m-%d %H:%M} UTC: {result}"))
    if facts.root is not None:
        measured.append(DossierFact(label="checkpoint", text=f"size {facts.size:,}, root {facts.root}"))
    kept = "encrypted beside their entries" if facts.keeps_texts else "not kept: entries commit to them"
    measured.append(DossierFact(label="texts of requests", text=kept))
    gaps = [] if facts.signer else ["the ledger is not signed: make its keys with `crossgrade audit init`"]
    if not facts.witnesses:
        gaps.append("no witness cosigns the ledger, so that its operator could rewrite it")
    unstated = ["how long the ledger is kept is not stated"]
    found = field_of(13, given, measured=measured, gaps=gaps, unstated=unstated)
    signer = "" if facts.signer is None else f" {facts.signer}"
    return replace(found, evidence_id=f"ledger{signer}", digest=facts.root)


def operation(given: DossierInput) -> DossierField:
    """Return field 14: what the configuration watches, and what is stated of incidents and owners."""
    facts = given.operation
    known = [
        DossierFact(
            label="watch",
            text=f"live pairs every {facts.watching.interval_s:g} s; on an alarm a route steps back to "
            f"{given.workload.incumbent.name}",
        ),
        DossierFact(label="alarms so far", text=str(facts.alarms)),
    ]
    known += [
        DossierFact(label=f"route {route.name}", text=f"shadows {route.shadow.rate:.0%} of its requests")
        for route in given.access.routes
        if route.shadow is not None
    ]
    unstated = ["incident process, contacts, and who is liable and gives support are not stated"]
    return field_of(14, given, known=known, unstated=unstated)


_TRIGGERS = (
    "weights, engine, prompt template or settings of a model; the access rules; another verdict on the "
    "route; the end of its evidence"
)


def changes(given: DossierInput, models: Dossier) -> DossierField:
    """Return field 15: what differs from the last approved dossier, or from the last one.

    `models` is the dossier so far, with everything that is compared.
    """
    before = given.approved or given.earlier
    if before is None:
        facts = [DossierFact(label="since the last dossier", text="this is the first one")]
    else:
        which = "approved dossier" if given.approved is not None else "dossier"
        found = _differences(before, models)
        label = f"since the {which} of {before.made_at.date()}"
        facts = [DossierFact(label=label, text=each) for each in found or ["nothing changed"]]
    facts.append(DossierFact(label="it expires with a change of", text=_TRIGGERS))
    facts.append(DossierFact(label="it expires on", text=f"{models.valid_until:%Y-%m-%d %H:%M} UTC"))
    return field_of(15, given, measured=facts)


def approvals(given: DossierInput, models: Dossier) -> DossierField:
    """Return field 16: earlier approvals as long as nothing changed, and the one that is given now."""
    facts: list[DossierFact] = []
    gaps: list[str] = []
    authors: list[str] = []
    at = given.now
    earlier = None if given.earlier is None else given.earlier.field(16)
    if given.earlier is not None and earlier is not None and earlier.status == "stated":
        found = _differences(given.earlier, models)
        if found:
            gaps.append(f"what was approved before has changed: {found[0]}")
        else:
            facts += [each for each in earlier.facts if each.label != "stated"]
            authors.append(earlier.author or "")
            at = earlier.at or at
    if given.approval is not None:
        by = given.approval
        condition = f", on condition that {by.condition}" if by.condition else ""
        text = f"approved on {given.now.date()}{condition}"
        facts.append(DossierFact(label=f"{by.name}, {by.role}", text=text))
        authors.append(by.name)
        at = given.now
    stated = field_of(16, given)
    if not facts:
        return replace(stated, status="missing", gaps=(*gaps, "no approval is recorded"))
    if len(facts) == 1:
        gaps.append("one person approved it: no independent challenge is recorded")
    return replace(
        stated,
        status="stated",
        facts=(*facts, *stated.facts),
        gaps=tuple(gaps),
        author=", ".join(filter(None, authors)),
        at=at,
    )


def basis_changes(then: DossierBasis, now: DossierBasis) -> Iterator[str]:
    """Yield in sentences which models, and which parts of them, are others than in an earlier basis."""
    for name in then:
        if name not in now:
            yield f"{name} is no model of the workload any more"
    for name, parts in now.items():
        if name not in then:
            yield f"{name} is a new model of the workload"
        else:
            yield from (f"{part} of {name} changed" for part in changed_parts(then[name], parts))


def _differences(before: Dossier, after: Dossier) -> list[str]:
    """Return in sentences what an earlier dossier holds for or says otherwise."""
    found = list(basis_changes(before.basis, after.basis))
    if before.verdict_id != after.verdict_id:
        found.append(f"the verdict is {after.verdict_id or 'gone'}, and was {before.verdict_id or 'none'}")
    for number in _COMPARED:
        then, now = before.field(number), after.field(number)
        name = f"field {number} ({DOSSIER_FIELDS[number]})"
        if then.status != now.status:
            found.append(f"{name} was {then.status} and is {now.status}")
        elif number not in _LIVE and (then.facts, then.gaps) != (now.facts, now.gaps):
            found.append(f"{name} says something else")
    return found
