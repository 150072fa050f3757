"""What commands say of new offers: which could save how much, what their tests cost, and what these found."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from crossgrade.cli._output import note, print_table

if TYPE_CHECKING:
    from crossgrade.domain import Reason
    from crossgrade.project import Proposal, RenewalTest, Renewed, Screening

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


def tell_new(proposals: "Iterable[Proposal]") -> None:
    """Say on stderr which offers are new and what they could save."""
    for each in proposals:
        then = f"crossgrade onboard {each.offer} -w {each.workload}" if each.named else "crossgrade onboard"
        note(
            f"{each.offer} could save {_saving(each)} a month on {each.workload} against {each.against}; its "
            f"test costs {_cost(each)}: `{then}`",
            code="new-offer",
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
