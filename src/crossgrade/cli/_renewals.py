"""What commands say of new offers: which could save how much, what their tests cost, and what these found."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from crossgrade.cli._output import note, print_table

if TYPE_CHECKING:
    from crossgrade.domain import Reason
    from crossgrade.project import Proposal, RenewalTest, Renewed, Screening
    from crossgrade.watch import OfferLook

_HEADERS = ("workload", "model", "saves a month", "test costs", "incumbent's answers", "listed", "state")
_RIGHT = ("saves a month", "test costs", "listed")


def print_proposals(screening: "Screening") -> None:
    """Print what is proposed as a table on stdout; the rest goes to stderr."""
    rows = [
        (
            each.workload,
            each.offer,
            _saving(each),
            _cost(each),
            each.incumbent_answers,
            None if each.days_listed is None else f"{each.days_listed} d ago",
            _state(each),
        )
        for each in screening.proposals
    ]
    if rows:
        print_table(_HEADERS, rows, right=_RIGHT)
    else:
        note("no new offer could save enough", code="no-new-offers")
    for each in screening.proposals:
        if each.add is not None:
            note(f"to test {each.offer}, add under `models`: {each.add}", code="offer-to-add")
        elif each.blocked is not None:
            note(f"{each.offer} on {each.workload}: {each.blocked.text}", code=each.blocked.code)
    tell_rejected(screening)


def tell_rejected(screening: "Screening") -> None:
    """Say on stderr how many offers were rejected for which reasons, and which workloads failed."""
    counts = screening.rejected_counts
    if counts:
        listed = ", ".join(f"{code} {count:,}" for code, count in counts.items())
        note(f"not proposed: {listed}; `--json` names each", code="offers-rejected")
    for problem in screening.problems:
        note(f"problem: {problem.text}", code=problem.code)


def tell_new(proposals: "Sequence[Proposal]") -> None:
    """Say on stderr which offers of `models` are new and what they could save, and how many others are."""
    for each in proposals:
        if each.named:
            note(
                f"{each.offer} could save {_saving(each)} a month on {each.workload} against {each.against}; "
                f"its test costs {_cost(each)}: `crossgrade onboard {each.offer} -w {each.workload}`",
                code="new-offer",
            )
    others = [each for each in proposals if not each.named]
    if others:
        best = max(others, key=lambda each: each.saving.value or 0.0)
        note(
            f"{len(others):,} new offers of the catalogue could save up to {_saving(best)} a month "
            f"({best.offer} on {best.workload}): `crossgrade onboard` lists them",
            code="new-listed-offers",
        )


def tell_renewed(renewed: "Renewed") -> None:
    """Say on stderr what the tests of new offers found and cost, and why others were not tested."""
    for test in renewed.tests:
        note(_tested(test), code="offer-tested")
        if test.problem is not None:
            note(f"{test.proposal.offer}: {test.problem.text}", code=test.problem.code)
    for proposal, reason in renewed.untested:
        note(f"{proposal.offer} on {proposal.workload} is not tested: {reason.text}", code=reason.code)
    note(
        f"${renewed.left_usd:.2f} of ${renewed.budget_usd:.2f} are left for tests; ${renewed.spent_usd:.2f} "
        "were spent in 30 days",
        code="renew-budget",
    )


def tell_offers(found: "OfferLook") -> None:
    """Say on stderr what a look for new offers found."""
    tell_new(found.new)
    if found.renewed is not None:
        tell_renewed(found.renewed)
    for problem in found.problems:
        note(f"problem: {problem.text}", code=problem.code)


def log_offers(found: "OfferLook") -> None:
    """Write what a look for new offers found to stderr as lines of a log."""
    from crossgrade.telemetry import log_line

    at = found.at.timestamp()
    for each in found.new:
        line = log_line(
            "new_offer", at=at, level="info", offer=each.offer, workload=each.workload,
            saving_usd_per_month=each.saving.value, against=each.against, named=each.named,
        )  # fmt: skip
        note(line)
    for test in () if found.renewed is None else found.renewed.tests:
        line = log_line(
            "offer_tested", at=at, level="info", offer=test.proposal.offer, workload=test.proposal.workload,
            verdict=None if test.verdict is None else test.verdict.verdict.name,
            verdict_id=None if test.verdict is None else test.verdict.id, version=test.version,
            spent_usd=str(test.spent_usd), problem=None if test.problem is None else test.problem.code,
        )  # fmt: skip
        note(line)
    for proposal, reason in () if found.renewed is None else found.renewed.untested:
        line = log_line(
            "offer_untested", at=at, level="info", offer=proposal.offer, workload=proposal.workload,
            code=reason.code, reason=reason.text,
        )  # fmt: skip
        note(line)
    for problem in found.problems:
        note(log_line("watch_problem", at=at, level="warning", code=problem.code, error=problem.text))


def offers_record(found: "OfferLook | None") -> dict[str, Any] | None:
    """Return what a look for new offers found as JSON has it, None if none was made."""
    if found is None:
        return None
    screening = None if found.screening is None else screening_record(found.screening)
    return {
        "new": [{"offer": each.offer, "workload": each.workload} for each in found.new],
        "screening": screening,
        "renewed": renewed_record(found.renewed),
        "problems": [_reason_record(each) for each in found.problems],
    }


def screening_record(screening: "Screening") -> dict[str, Any]:
    """Return a screening as JSON has it."""
    return {
        "proposals": [_proposal_record(each) for each in screening.proposals],
        "rejected": screening.rejected_counts,
        "rejections": [
            {"offer": each.offer, "workload": each.workload, **_reason_record(each.reason)}
            for each in screening.rejected
        ],
        "problems": [_reason_record(each) for each in screening.problems],
    }


def renewed_record(renewed: "Renewed | None") -> dict[str, Any] | None:
    """Return what became of new offers as JSON has it, None if none was to be tested."""
    if renewed is None:
        return None
    return {
        "budget_usd": renewed.budget_usd,
        "spent_usd": renewed.spent_usd,
        "left_usd": renewed.left_usd,
        "tests": [
            {
                "offer": each.proposal.offer,
                "workload": each.proposal.workload,
                "limit_usd": each.limit_usd,
                "spent_usd": each.spent_usd,
                "verdict": None
                if each.verdict is None
                else {"id": each.verdict.id, "name": each.verdict.verdict.name},
                "version": each.version,
                "days_to_verdict": each.days_to_verdict,
                **_reason_record(each.problem),
            }
            for each in renewed.tests
        ],
        "untested": [
            {"offer": proposal.offer, "workload": proposal.workload, **_reason_record(reason)}
            for proposal, reason in renewed.untested
        ],
    }


def _proposal_record(each: "Proposal") -> dict[str, Any]:
    from dataclasses import fields

    own = {field.name: getattr(each, field.name) for field in fields(each) if field.name != "blocked"}
    return {**own, **_reason_record(each.blocked)}


def _reason_record(reason: "Reason | None") -> dict[str, str | None]:
    return {
        "reason": None if reason is None else reason.text,
        "reason_code": None if reason is None else reason.code,
    }


def _tested(test: "RenewalTest") -> str:
    offer, workload = test.proposal.offer, test.proposal.workload
    spent = f"for ${test.spent_usd:.2f}"
    if test.verdict is None:
        return f"{offer} was tried on {workload} {spent}, without a verdict"
    days = "" if test.days_to_verdict is None else f", {test.days_to_verdict} days after it was listed"
    table = "" if test.version is None else f"; route table version {test.version} has its canary"
    verdict = test.verdict
    return f"{offer} on {workload}: {verdict.verdict.name} (verdict {verdict.id}) {spent}{days}{table}"


def _saving(each: "Proposal") -> str:
    value, low, high = each.saving.value, each.saving.low, each.saving.high
    if value is None:
        return "-"
    interval = "" if low is None or high is None else f" ({low:,.2f} to {high:,.2f})"
    return f"${value:,.2f}{interval}"


def _cost(each: "Proposal") -> str:
    if each.test_usd is None:
        return "an unknown sum"
    low, high = each.test_usd
    return f"${low:.2f} to ${high:.2f}"


def _state(each: "Proposal") -> str:
    if not each.named:
        return "not in `models`"
    return "ready" if each.blocked is None else each.blocked.code
