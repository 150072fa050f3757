"""`crossgrade watch`: whether what was certified still holds for live traffic."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import note, print_json, print_table
from crossgrade.cli._spending import Dollars

if TYPE_CHECKING:
    from crossgrade.domain import Reason
    from crossgrade.project import Project
    from crossgrade.store import Alarm
    from crossgrade.watch import ConformStanding, Ending, Look, OfferLook, SealedStanding, ThresholdEvidence

EXIT_ALARM = 1
_SEEN = "retention (no error rate)"
_HEADERS = (
    "route", "segment", "status", "by", "audits", "held", "floor", _SEEN, "e_claim", "e_change",
    "waiting", "valid_until", "reason",
)  # fmt: skip
_NUMBERS = ("audits", "held", "floor", _SEEN, "e_claim", "e_change", "waiting")
_SEALED_HEADERS = (
    "route", "segment", "sealed", "rounds", "asked", "of", "floor", _SEEN, "e_claim", "e_change", "waiting",
    "cost", "next round",
)  # fmt: skip
_SEALED_NUMBERS = ("rounds", "asked", "of", "floor", _SEEN, "e_claim", "e_change", "waiting", "cost")
_CONFORM_HEADERS = (
    "model",
    "routes",
    "is what was measured",
    "days",
    "e-value",
    "cost",
    "next look",
    "reason",
)
_CONFORM_NUMBERS = ("days", "e-value", "cost")
_GROWTH_HEADERS = ("route", "score from", "of traffic", "e-value", "of", "n", "state", "saves a month")
_GROWTH_WORDS = {
    "growing": "growing",
    "held": "held, nothing moves yet",
    "complete": "complete, the last threshold moves",
    "waiting": "waiting for scores",
    "aborted": "aborted, nothing moves until `crossgrade route promote`",
    "unmeasurable": "unmeasurable",
}
_GROWTH_NUMBERS = ("score from", "of traffic", "e-value", "of", "n", "saves a month")


@click.command()
@click.option("--once", is_flag=True, help="Look once and exit: 1 where an alarm was raised, else 0.")
@click.option(
    "--label-file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="CSV file of pairs that wait for people: take the scores filled in, write the next. Looks once.",
)
@click.option(
    "--renew",
    "budget_usd",
    type=Dollars(),
    metavar="USD",
    help="Test new offers that could save enough, for at most this in 30 days.",
)
@config_option
@json_option
def command(
    label_file: Path | None, config_path: str, *, budget_usd: Decimal | None, once: bool, as_json: bool
) -> int | None:
    """Check live pairs against certificates; step routes back on alarm.

    Scores the pairs that the gateway's shadow left in the store, and looks at dates, prices and
    versions, every `watch.interval_s` seconds. Once an incumbent has ended, it asks the candidate
    about sealed samples, where `watch.sealed` is set. With `watch.conform` it asks the models each day
    whether they are still what `crossgrade conform` saw. An alarm takes the traffic back to the incumbent,
    is recorded, and is posted to `watch.webhook_url`.

    The evidence is in `e_claim` and `e_change`, each beside the e-value that raises an alarm. The
    retention is that of the audits so far. It has no error rate, so no alarm rests on it.

    Once a day it looks for new offers, as `crossgrade onboard` without a model does, and says once
    which could save enough. With `--renew` it tests those that `models` names, the cheapest test for its
    saving first, and records verdicts. Nothing is applied unless `watch.renew.canary` is true.
    """
    from crossgrade.errors import UsageError
    from crossgrade.project import Project
    from crossgrade.watch import look

    if label_file is not None and budget_usd is not None:
        raise UsageError(
            "`--label-file` looks once at pairs", code="options-conflict", hint="leave out one of the two"
        )
    looks_for_offers = label_file is None
    once = once or label_file is not None
    if as_json and not once:
        raise UsageError("`--json` prints one look", code="option-missing", hint="add `--once`")
    with Project.open(config_path) as project:
        found = look(project, label_file=label_file)
        if not once:
            _go_on(project, found, config_path, budget_usd)  # until interrupted
        offers = _offers(project, budget_usd) if looks_for_offers else None
    if as_json:
        from crossgrade.cli._renewals import offers_record

        print_json({"look": found, "offers": offers_record(offers)}, schema_version=2)
    else:
        _print(found)
    _tell(found, label_file)
    if offers is not None:
        from crossgrade.cli._renewals import tell_offers

        tell_offers(offers)
    return EXIT_ALARM if found.alarms else None


def _offers(project: "Project", budget_usd: Decimal | None) -> "OfferLook":
    """Look for new offers once; Ctrl-C during a test leaves what it paid for."""
    from crossgrade.cli._interrupt import ends_at_second_interrupt
    from crossgrade.evaluate import GRACE_S
    from crossgrade.watch import look_for_offers

    with ends_at_second_interrupt(GRACE_S) as arm:
        return look_for_offers(project, budget_usd=budget_usd, on_asked=arm)


def _go_on(project: "Project", found: "Look", config_path: str, budget_usd: Decimal | None) -> None:
    """Look again and again, until interrupted; the store's troubles pass, so they are told and outlived."""
    from crossgrade.cli._renewals import log_offers
    from crossgrade.domain import Reason
    from crossgrade.errors import CrossgradeError
    from crossgrade.watch import Look, OfferWatch, look

    _print(found)
    warned: set[tuple[str, int | str]] = set()
    with OfferWatch(config_path, budget_usd) as offers:
        while True:
            _log(found, warned)
            for each in offers.found():
                log_offers(each)
            time.sleep(project.config.watching.interval_s)
            try:
                found = look(project)
            except CrossgradeError as error:
                found = Look(at=datetime.now(UTC), problems=[Reason(error.code, error.message)])


def _print(found: "Look") -> None:
    if not found.standings and not found.growth:
        note("no route in force moves traffic: nothing to watch", code="nothing-to-watch")
        return
    rows = []
    for each in found.standings:
        shown = {
            _SEEN: each.retention,
            "e_claim": _evidence(each.e_claim, each.e_claim_at),
            "e_change": _evidence(each.e_change, each.e_change_at),
        }
        row = [shown[header] if header in shown else getattr(each, header) for header in _HEADERS]
        rows.append([_shown(cell) for cell in row])
    if rows:
        print_table(_HEADERS, rows, right=_NUMBERS)
    sealed = [_sealed_row(each) for each in found.sealed if each.baseline_id is not None]
    if sealed:
        print_table(_SEALED_HEADERS, sealed, right=_SEALED_NUMBERS)
    if found.conform:
        print_table(_CONFORM_HEADERS, [_conform_row(each) for each in found.conform], right=_CONFORM_NUMBERS)
    if any(each.steps for each in found.growth):
        steps = [_growth_row(each.route, step) for each in found.growth for step in each.steps]
        print_table(_GROWTH_HEADERS, steps, right=_GROWTH_NUMBERS)


def _sealed_row(each: "SealedStanding") -> list[object]:
    """Return how a claim stands on sealed samples, without the result of any of them."""
    cells = [
        each.route,
        each.segment,
        each.status,
        each.rounds,
        each.asked,
        each.samples,
        each.floor,
        each.retention,
        _evidence(each.e_claim, each.e_claim_at),
        _evidence(each.e_change, each.e_change_at),
        each.waiting,
        "unknown" if each.cost_usd is None else f"${each.cost_usd:,.4f}",
        None if each.next_round_at is None else each.next_round_at.isoformat(timespec="minutes"),
    ]
    return [_shown(cell) for cell in cells]


def _conform_row(each: "ConformStanding") -> list[object]:
    """Return how a model stands beside what was measured."""
    cells = [
        each.model,
        ", ".join(each.routes),
        each.status,
        each.days,
        _evidence(each.e_value, each.threshold),
        "unknown" if each.cost_usd is None else f"${each.cost_usd:,.4f}",
        None if each.next_at is None else each.next_at.isoformat(timespec="minutes"),
        each.reason,
    ]
    return [_shown(cell) for cell in cells]


def _growth_row(route: str, step: "ThresholdEvidence") -> list[object]:
    saving = step.saving_per_month_usd
    return [
        route,
        f"{step.least_score:.4f}",
        f"{step.share:.1%}",
        f"{step.e_value:.3g}",
        f"{step.e_value_at:.3g}",
        f"{step.n:,}",
        "moves" if step.moves else "passed" if step.passed else "",
        "" if saving is None else f"${saving:,.0f}",
    ]


def _growth_sentences(found: "Look") -> Iterator[str]:
    """Say of each growing route what its audits cost, and what its next step needs and saves."""
    for each in found.growth:
        missed = ", ".join(f"{count:,} {reason}" for reason, count in sorted(each.missed.items()))
        until = "" if each.counted_until is None else f" up to {each.counted_until}"
        cost = "an unknown sum" if each.cost_usd is None else f"${each.cost_usd:,.2f}"
        yield (
            f"route {each.route}: {_GROWTH_WORDS[each.status]}, start {each.start}; "
            f"{each.audits:,} audits counted{until}{f', of which missed: {missed}' if missed else ''}; "
            f"cost {cost} since {each.since:%Y-%m-%d}"
        )
        if each.later:
            yield f"route {each.route}: {each.later:,} more audits count once their day (UTC) is over"
        if each.late:
            why = "arrived after their day was counted, and do not count"
            yield f"route {each.route}: {each.late:,} requests {why}"
        step = each.next_step
        if step is not None:
            saving = step.saving_per_month_usd
            yield (
                f"route {each.route}: next, score from {step.least_score:.4f} ({step.share:.1%} of traffic), "
                f"has an e-value of {step.e_value:.3g} and needs {step.e_value_at:g}"
                f"{'' if saving is None else f'; then the route saves ${saving:,.0f} a month'}"
            )
        if each.reason is not None:
            yield f"route {each.route}: {each.reason}"


def _evidence(e_value: float | None, alarm_at: float | None) -> str | None:
    """Return an e-value beside the one that raises an alarm."""
    return None if e_value is None or alarm_at is None else f"{e_value:.3g} of {alarm_at:,.4g}"


def _shown(cell: object) -> object:
    if isinstance(cell, float):
        return f"{cell:.3g}"
    return f"{cell:%Y-%m-%d}" if hasattr(cell, "strftime") else cell


def _log(found: "Look", warned: set[tuple[str, int | str]]) -> None:
    """Write alarms, problems and new warnings to stderr as lines of a log."""
    from crossgrade.telemetry import log_line

    at = found.at.timestamp()
    for alarm in found.alarms:
        line = log_line(
            "alarm", at=at, level="error", route=alarm.route, segment=alarm.segment, kind=alarm.kind,
            verdict_id=alarm.verdict_id, alarm=alarm.id, detail=alarm.detail,
        )  # fmt: skip
        note(line)
    for route in found.grown:
        note(log_line("grown", at=at, level="info", route=route))
    for each in found.endings:
        if (each.model, each.within) not in warned:
            warned.add((each.model, each.within))
            line = log_line(
                "model_ends", at=at, level="warning", model=each.model, days=each.days,
                retires_on=each.retires_on.isoformat(), routes=each.routes, successor=each.successor,
            )  # fmt: skip
            note(line)
    for why in _unmeasured(found):
        if (why.text, why.code) not in warned:
            warned.add((why.text, why.code))
            note(log_line("unmeasured", at=at, level="warning", code=why.code, error=why.text))
    for problem in found.problems:
        note(log_line("watch_problem", at=at, level="warning", code=problem.code, error=problem.text))


def _tell(found: "Look", label_file: Path | None) -> None:
    for sentence in _growth_sentences(found):
        note(sentence, code="growth")
    for route in found.grown:
        note(f"route {route}: moves more, as its evidence allows", code="grown")
    for alarm in found.alarms:
        note(f"{found.at.isoformat(timespec='seconds')} ALARM {_sentence(alarm)}: stepped back", code="alarm")
    for each in found.endings:
        note(_ending(each), code="model-ends")
    for why in _unmeasured(found):
        note(why.text, code=why.code)
    for problem in found.problems:
        note(f"problem: {problem.text}", code=problem.code)
    if label_file is not None and not found.labels and not found.waiting:
        note(f"no pairs wait for people; {label_file} has no rows", code="no-pairs-wait")
    elif found.labels or found.waiting:
        note(f"{found.labels} labels read; {found.waiting} pairs wait for people", code="labels-read")


def _unmeasured(found: "Look") -> "list[Reason]":
    """Return of each route why nothing measures its claims, once its incumbent has ended."""
    from crossgrade.domain import Reason

    seen = {
        (each.route, each.reason_code): each.reason
        for each in found.sealed
        if each.baseline_id is None and each.reason_code not in {problem.code for problem in found.problems}
    }
    return [Reason(code or "", f"route {route}: {text}") for (route, code), text in seen.items()]


def _ending(each: "Ending") -> str:
    """Say when a model ends, and what there is to do."""
    when = f"ended on {each.retires_on}"
    if each.days > 0:
        when = f"ends on {each.retires_on}, in {each.days} day{'s' * (each.days != 1)}"
    instead = "" if each.successor is None else f"; a newer model of its provider is {each.successor}"
    return f"{each.model} {when}: certify another for {', '.join(each.routes)}{instead}"


def _sentence(alarm: "Alarm") -> str:
    """Say in words what an alarm is about."""
    where = alarm.route if alarm.segment is None else f"{alarm.route}, segment {alarm.segment}"
    seen = alarm.detail
    words = {
        "claim": "its certificate is not right: e-value {e_value:.3g} of {threshold:.0f}, {audits} audits",
        "change": "quality fell: e-value {e_value:.3g} of {threshold:.0f}, {audits} audits",
        "sealed": "fell below {floor} on sealed samples ({test}): e-value {e_value:.3g} of {threshold:.0f}, "
        "{audits} answers",
        "expired": "its certificate expired on {valid_until}",
        "price": "{model} costs {per_mtok_usd_now} dollars per million tokens, not {per_mtok_usd_then}",
        "retired": "{model} retires on {retires_on}",
        "version": "{model} is served as {served}; {measured} was measured",
        "fingerprint": "{model} no longer answers as it did when it was measured: e-value {e_value:.3g} of "
        "{threshold:,.0f}, day {day}",
    }
    return f"{alarm.kind}, route {where}: {words[alarm.kind].format(**seen)}"
