"""View models: a verdict in the words and rows that page, Markdown and terminal show."""

from collections.abc import Sequence
from dataclasses import dataclass

from crossgrade.decide import (
    Certificate,
    Guard,
    Loss,
    PolicyCost,
    Verdict,
    confidence,
    error_rate,
    exact,
    growth_mark,
    sentences,
    shown_first,
)
from crossgrade.domain import Fingerprint
from crossgrade.pricing.thrift import best_share
from crossgrade.report import _format as fmt
from crossgrade.report._agents import agent_head, agent_lines, agent_rows
from crossgrade.report._headline import headline, needed_for, needed_of
from crossgrade.routing import Policy
from crossgrade.stats import METHOD_VERSION, Retention

WHOLE = "whole workload"
_STATUS_ORDER = {"fail": 0, "warn": 1, "pass": 2}


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A captioned table of text; `numeric` are the columns to align right."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    numeric: frozenset[int] = frozenset()
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictView:
    """Everything a report shows of one verdict, in the order of reading."""

    workload: str
    name: str
    headline: str
    sentence: str
    facts: tuple[tuple[str, str], ...]
    reasons: tuple[str, ...]
    would_change: tuple[str, ...]
    retention: Table
    groups: Table
    costs: Table
    alarms: Table
    passed: Table
    requirements: Table
    agents: Table
    losses: tuple[Loss, ...]
    losses_note: str
    methods: tuple[str, ...]
    provenance: tuple[tuple[str, str], ...]

    @property
    def losses_have_text(self) -> bool:
        """Whether any loss has an answer to read."""
        texts = ((loss.incumbent_output, loss.candidate_output) for loss in self.losses)
        return any(text is not None for pair in texts for text in pair)


def policy_words(policy: Policy) -> str:
    """Return in words which model answers under a policy."""
    if policy.kind == "keep" or policy.candidate is None:
        return f"{policy.incumbent} answers everything"
    what = "everything" if policy.kind == "switch" else fmt.listed(policy.segments)
    if policy.fact == "score":
        what = f"requests with {what}"
    if policy.max_bytes is not None:
        what += f" up to {policy.max_bytes:,} bytes a request"
    if policy.plain_only:
        what += " of text without tools"
    if what == "everything":
        return f"{policy.candidate} answers everything"
    return f"{policy.candidate} answers {what}; {policy.incumbent} the rest"


def view(verdict: Verdict) -> VerdictView:
    """Return the view model of a verdict."""
    return VerdictView(
        workload=verdict.workload,
        name=verdict.name,
        headline=headline(verdict),
        sentence=verdict.sentence,
        facts=_facts(verdict),
        reasons=sentences(verdict.reasons),
        would_change=sentences(verdict.would_change),
        retention=_retention(verdict),
        groups=_groups(verdict),
        costs=_costs(verdict),
        alarms=_guards(
            [each for each in verdict.guards if each.status != "pass"], "Guards that did not pass"
        ),
        passed=_guards([each for each in verdict.guards if each.status == "pass"], "Guards that passed"),
        requirements=_requirements(verdict),
        agents=_agents(verdict),
        losses=verdict.losses,
        losses_note=_losses_note(verdict),
        methods=_methods(verdict),
        provenance=_provenance(verdict),
    )


def _agents(verdict: Verdict) -> Table:
    return Table(
        title="Agents' runs, with trials without a verdict as failures and left out",
        head=agent_head(verdict),
        rows=agent_rows(verdict),
        numeric=frozenset({2, 3, 4}),
        note=". ".join((*agent_lines(verdict), "")).strip(),
    )


def _facts(verdict: Verdict) -> tuple[tuple[str, str], ...]:
    facts = [
        ("policy", policy_words(verdict.policy)),
        ("floor", f"retention ≥ {_floors(verdict)} at an error rate of {_error_rate(verdict)}"),
        ("samples", _samples(verdict)),
    ]
    if verdict.calls_saved:
        facts.append(("calls saved", f"{verdict.calls_saved:,} planned model calls were not needed"))
    more = needed_of(verdict, labels="samples scored by people")
    if more is not None:
        facts.append(("to settle it", f"about {more}{needed_for(verdict)}"))
    if verdict.method_version != METHOD_VERSION:
        facts.append(("method", f"version {verdict.method_version} of the test; today's is {METHOD_VERSION}"))
    facts += _saving(verdict)
    if verdict.spent_usd is not None:
        facts.append(("evaluation cost", fmt.money(verdict.spent_usd)))
    facts.append(("decided", f"{verdict.decided_at:%Y-%m-%d}"))
    facts.append(("valid until", f"{verdict.valid_until:%Y-%m-%d}"))
    return tuple(facts)


def _samples(verdict: Verdict) -> str:
    """Return how many samples were asked, and how many of them the incumbent answered, if not all."""
    text = f"{verdict.asked:,}" + (f" of {verdict.planned:,} planned" if verdict.run_id else "")
    if verdict.blocks is None:
        return text
    text += f"; {verdict.incumbent} answered N = {verdict.paired:,} of them, one in K = {verdict.blocks.size}"
    return text + (f" after the first {verdict.blocks.pilot}" if verdict.blocks.pilot else "")


def _in_blocks(verdict: Verdict) -> str:
    """Return N and K, which belong beside a saving, where the incumbent answered fewer samples."""
    return "" if verdict.blocks is None else f" (N = {verdict.paired:,}, K = {verdict.blocks.size})"


def _saving(verdict: Verdict) -> list[tuple[str, str]]:
    """Return what the policy saves a month; where it keeps the incumbent, what its best candidate would."""
    month, whose = verdict.saving_per_month_usd, ""
    if month is None:
        return []
    best = shown_first(verdict.certificates, None) if verdict.policy.kind == "keep" else None
    cost = next((each for each in verdict.costs if best and each.policy.candidate == best.candidate), None)
    if cost is not None:
        month, whose = cost.saving_per_month_usd, f"none; with {cost.policy.candidate} it would be "
    shown = fmt.estimate(month, reason=month.value is not None)
    shown += _in_blocks(verdict) if month.value is not None else ""
    facts = [("saving a month", shown if month.value is None else f"{whose}{shown}")]
    way = best_share(verdict.settings.thrifts)
    moved = next((each for each in verdict.costs if each.policy == verdict.policy), None)
    beyond = None if moved is None else moved.beyond_thrift_per_month_usd
    if way is not None and beyond is not None and beyond.value is not None:
        shown = fmt.estimate(beyond, reason=False)
        facts.append((f"against {way.way}", f"{shown}, {way.needs}" if way.needs else shown))
    return facts


def _floors(verdict: Verdict) -> str:
    """Return the floor, and beside it that of the whole where a certificate claims one too."""
    whole = next((each.whole.floor for each in verdict.certificates if each.whole is not None), None)
    floor = exact(verdict.floor)
    return floor if whole is None else f"{floor} where it moves, and ≥ {exact(whole)} over all requests,"


def _error_rate(verdict: Verdict) -> str:
    shared = f" over {verdict.settings.workloads} workloads together" if verdict.settings.siblings else ""
    return f"{error_rate(verdict.alpha)}{shared}"


def standing(certificate: Certificate, claim: Retention | None = None) -> str:
    """Return the outcome of one hypothesis in words, or of one of its claims."""
    if not certificate.tested:
        return "not tested"
    if certificate.excluded:
        return f"left out: {certificate.excluded}"
    if certificate.certified:
        return "certified"
    is_below = any(each.outcome == "fail" for each in certificate.claims if claim in (None, each))
    return "below the floor" if is_below else "not shown"


def _retention(verdict: Verdict) -> Table:
    rows = tuple(
        (
            certificate.candidate,
            (certificate.segment or WHOLE)
            if claim is certificate.retention
            else "the split over all requests",
            f"{claim.n:,}",
            fmt.percent(certificate.share if claim is certificate.retention else 1.0, 0),
            _mean(claim.incumbent_mean),
            _mean(claim.candidate_mean),
            fmt.interval(claim, unit="task" if verdict.agents else "pair"),
            fmt.probability(_shown_p(certificate, claim)),
            standing(certificate, claim) + _e_value(verdict, claim),
        )
        for certificate in verdict.certificates
        for claim in certificate.claims
    )
    correction = "fixed sequence" if is_routed(verdict) else "weighted Holm"
    return Table(
        title="Retention",
        head=("candidate", "on", "n", "traffic", "incumbent", "candidate score", "retention", "p", "result"),
        rows=rows,
        numeric=frozenset({2, 3, 4, 5, 6, 7}),
        note=(
            f"{_bound_note(verdict)} p is of the result shown, "
            f"adjusted for {_counted(verdict)} ({correction}); "
            f"a result needs at most {verdict.alpha:g}.{_grows(verdict)}"
        ),
    )


def _e_value(verdict: Verdict, claim: Retention) -> str:
    """Return the evidence that audits of a growing route would carry on, after the result."""
    grows = verdict.settings.grow and claim.e_pass is not None
    return f", e-value {claim.e_pass:.3g}" if grows else ""


def _grows(verdict: Verdict) -> str:
    if not verdict.settings.grow:
        return ""
    return (
        f" Audits in service carry the e-values on: a step takes {growth_mark(verdict.settings):.3g}. "
        "Bets count no samples once a step has passed, so n differs."
    )


def is_routed(verdict: Verdict) -> bool:
    """Return whether the certificates are of a router's thresholds."""
    return verdict.routing is not None and verdict.routing.kind != "none"


def _bound_note(verdict: Verdict) -> str:
    """Return a note on what the table's bounds are and the confidence of each."""
    levels = [
        share
        for each in verdict.certificates
        for claim in each.claims
        for share in (claim.low_confidence, claim.high_confidence)
    ]
    sure = " to ".join(dict.fromkeys(confidence(each) for each in (min(levels), max(levels))))
    return f"Each bound agrees with the test of its row, at the row's own confidence ({sure})."


def _shown_p(certificate: Certificate, claim: Retention) -> float:
    """The p-value of what is shown: below the floor where that is, else at or above it."""
    return certificate.adjusted_p_below if claim.outcome == "fail" else certificate.adjusted_p


def _counted(verdict: Verdict) -> str:
    here = sum(each.tested for each in verdict.certificates)
    if verdict.settings.siblings:
        there = len(verdict.settings.siblings)
        return f"{here} of this workload and {there} of those that share the error rate"
    return "one hypothesis" if here == 1 else f"all {here} hypotheses"


def _mean(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _groups(verdict: Verdict) -> Table:
    return Table(
        title="By group",
        head=("group", "n", "traffic", "incumbent", "candidate score", "retention", "guard"),
        rows=tuple(
            (
                str(each.segment),
                f"{each.retention.n:,}",
                fmt.percent(each.share, 1),
                _mean(each.retention.incumbent_mean),
                _mean(each.retention.candidate_mean),
                fmt.interval(each.retention),
                each.excluded or "",
            )
            for each in verdict.groups
        ),
        numeric=frozenset({1, 2, 3, 4, 5}),
        note=(
            f"Each bound has {confidence(1 - verdict.alpha)} confidence by itself, uncorrected for the "
            "number of groups. Some of many groups look low or high by chance."
        ),
    )


def _losses_note(verdict: Verdict) -> str:
    """Return a note on which losses are shown and how they were chosen."""
    baseline = verdict.settings.baseline
    if baseline is not None and baseline.withheld:
        return "They are withheld, because results of a sealed baseline are not shown sample by sample."
    if verdict.losses_drawn_from is None:
        return "These are samples that the incumbent won, the largest difference first."
    moves = (
        "among the requests that would move" if verdict.name in {"switch", "split"} else "in this evidence"
    )
    shown, there = len(verdict.losses), verdict.losses_drawn_from
    if shown >= there:
        return f"These are all {fmt.count(there, 'sample')} that the incumbent won {moves}."
    return (
        f"The incumbent won {fmt.count(there, 'sample')} {moves}. "
        f"These {shown} were drawn at random (seed {verdict.seed})."
    )


def _costs(verdict: Verdict) -> Table:
    costs = verdict.costs
    reasons: dict[str, None] = {}
    rows = []
    many, words = fmt.scale(cost.per_request_usd.value for cost in costs)
    known = any(cost.per_request_usd.value is not None for cost in costs)
    for cost in costs if known else ():
        figures = (
            fmt.times(cost.per_request_usd, many),
            fmt.times(cost.per_solved_usd, many),
            fmt.times(cost.saving_per_request_usd, many),
            cost.saving_per_month_usd,
            cost.saving_share,
        )
        reasons.update({each.reason: None for each in figures if each.value is None and each.reason})
        rows.append((policy_words(cost.policy), *(fmt.estimate(figure, reason=False) for figure in figures)))
    if not known:
        note = "No price is known, so neither is any cost or saving. Unknown is not zero."
        return Table(title="Cost", head=("policy",), rows=(), note=note)
    unknown = f" Unknown here: {'; '.join(reasons)}." if reasons else ""
    per, solved = (f"{words}requests", f"{words}solved samples") if words else ("request", "solved sample")
    return Table(
        title="Cost",
        head=("policy", f"per {per}", f"per {solved}", f"saved per {per}", "saved a month", "saved"),
        rows=tuple(rows),
        numeric=frozenset({1, 2, 3, 4, 5}),
        note=f"{_priced(costs)}{_paired(verdict)} Unknown is not zero.{unknown}",
    )


def _paired(verdict: Verdict) -> str:
    """Return on how many samples both models' costs are known, where the incumbent answered fewer."""
    if verdict.blocks is None:
        return ""
    size, n = verdict.blocks.size, verdict.paired
    return f" {verdict.incumbent} answered one sample in K = {size}, N = {n:,} in all."


def _priced(costs: Sequence[PolicyCost]) -> str:
    """Return where the costs come from: measured, with intervals at their level, or stated."""
    figures = [each for cost in costs for each in (cost.per_request_usd, cost.saving_per_request_usd)]
    levels = {each.level for each in figures if each.low is not None}
    stated = any(each.method == "stated" and each.value is not None for each in figures)
    if not levels:
        return (
            "Costs are stated, not measured." if stated else "Costs are measured usage times a dated price."
        )
    words = f"Costs are measured usage times a dated price, with {100 * max(levels):.6g} % intervals."
    return f"{words} Costs without an interval are stated, not measured." if stated else words


def _guards(guards: Sequence[Guard], title: str) -> Table:
    ordered = sorted(guards, key=lambda guard: _STATUS_ORDER[guard.status])
    return Table(
        title=title,
        head=("result", "guard", "on", "seen", "what to do"),
        rows=tuple(
            (
                guard.status,
                guard.name,
                " · ".join(part for part in (guard.candidate, guard.segment) if part) or WHOLE,
                guard.seen,
                guard.advice,
            )
            for guard in ordered
        ),
    )


def _requirements(verdict: Verdict) -> Table:
    words = {True: "met", False: "not met", None: "not known"}
    return Table(
        title="Requirements",
        head=("result", "requirement", "candidate", "required", "seen"),
        rows=tuple(
            (words[check.met], check.name, check.candidate, check.wanted, check.seen)
            for check in verdict.requirements
        ),
    )


def _methods(verdict: Verdict) -> tuple[str, ...]:
    tests = sorted({claim.method for certificate in verdict.certificates for claim in certificate.claims})
    lines = [
        (
            "Retention is the mean score of the policy's answers over the mean score of the incumbent's, on "
            f"the same samples. Certified: the data reject “retention < {exact(verdict.floor)}” at an error "
            f"rate of {_error_rate(verdict)}, all hypotheses corrected as one."
        ),
    ]
    if any(certificate.whole for certificate in verdict.certificates):
        lines.append(
            "A threshold is certified if what moves holds its floor and the split over all requests holds "
            "that of the whole. Each is tested at the error rate, since both must pass (an "
            "intersection-union test)."
        )
    if tests:
        lines.append(f"Tests used: {'; '.join(tests)}.")
    if verdict.mode == "sequential":
        lines.append(
            "Both directions were bet on after every sample; half of the error rate pays for these looks "
            "(Ville's inequality), half for the test at the planned end."
        )
    elif verdict.mode == "anytime":
        lines.append("The bets alone decide, valid at any moment of stopping (Ville's inequality).")
    else:
        lines.append("One look at a fixed number of samples.")
    return tuple(lines)


def fingerprint_words(seen: Fingerprint) -> str:
    """Return the host and version on which a model was measured, and the fingerprint of its answers."""
    version = "no version named" if seen.version is None else f"version {seen.version}"
    return (
        f"{seen.offer}: {seen.model} at {seen.host or seen.provider}, {version}, "
        f"fingerprint {seen.digest[:19]} of {seen.at:%Y-%m-%d}"
    )


def _provenance(verdict: Verdict) -> tuple[tuple[str, str], ...]:
    rows = [
        ("evidence", verdict.evidence_digest),
        ("run", verdict.run_id or "imported results"),
        ("shuffle seed", str(verdict.seed)),
        ("mode", verdict.mode),
        ("decided at", verdict.decided_at.isoformat(timespec="seconds")),
    ]
    rows += [("price", source) for source in verdict.price_sources]
    seen = [each.fingerprint for each in verdict.settings.facts if each.fingerprint is not None]
    rows += [("measured on", fingerprint_words(each)) for each in seen]
    shared = {each.workload: each.run_id or "no results yet" for each in verdict.settings.siblings}
    rows += [("shares the error rate", f"{workload}: {run}") for workload, run in shared.items()]
    return tuple(rows)
