"""The same view as Markdown (job summaries), as plain text (terminals) and as JUnit XML (CI)."""

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Literal
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from crossgrade._columns import columns, paragraph
from crossgrade.catalog.bills import Bills
from crossgrade.decide import PolicyCost, Verdict, certified_by, gate, sentences
from crossgrade.report._agents import agent_head, agent_lines, agent_rows
from crossgrade.report._bills import bill_table
from crossgrade.report._format import estimate, readable, scale, times
from crossgrade.report._lasting import lasting_table, verdict_lasts
from crossgrade.report._view import Table, VerdictView, policy_words, standing, view

_MOST_ROWS = 60


def render_markdown(verdicts: Sequence[Verdict], *, bills: Mapping[str, Bills] | None = None) -> str:
    """Return the report as Markdown, short enough for a job summary."""
    parts: list[str] = []
    for verdict in map(readable, verdicts):
        seen = view(verdict)
        parts += [f"## {_escape(seen.workload)}: {seen.name}", _escape(seen.sentence)]
        parts.append("\n".join(f"- **{label}**: {_escape(value)}" for label, value in seen.facts))
        parts += [f"### {heading}\n\n{_bullets(lines)}" for heading, lines in _lists(seen) if lines]
        tables, own = list(_tables(seen)), (bills or {}).get(verdict.workload)
        lasts = verdict_lasts(verdict, own)
        if lasts is not None:
            tables.insert(2, lasting_table(lasts, verdict))
        if own is not None:
            tables.insert(1, bill_table(own))
        parts += [f"### {table.title}\n\n{_markdown_table(table)}" for table in tables if table.rows]
    return "\n\n".join(parts) + "\n"


def _lists(seen: VerdictView) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return (("Why", seen.reasons), ("What would change it", seen.would_change))


def _tables(seen: VerdictView) -> tuple[Table, ...]:
    return (seen.costs, seen.retention, seen.agents, seen.alarms, seen.requirements, seen.passed)


def _bullets(lines: Sequence[str]) -> str:
    return "\n".join(f"- {_escape(line)}" for line in lines)


def _escape(text: str) -> str:
    """Keep a cell in its cell and markup out of the summary."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def _markdown_table(table: Table) -> str:
    rule = ["---:" if column in table.numeric else "---" for column in range(len(table.head))]
    rows = [table.head, tuple(rule), *(tuple(map(_escape, row)) for row in table.rows[:_MOST_ROWS])]
    text = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    left = len(table.rows) - _MOST_ROWS
    return (
        text + (f"\n\n({left} more rows)" if left > 0 else "") + (f"\n\n{table.note}" if table.note else "")
    )


Tone = Literal["good", "doubtful", "bad"]
"""What a colour means: certified; not settled; below the floor, failed or invalid."""

_VERDICT_TONES: Mapping[str, Tone] = {
    "switch": "good",
    "split": "good",
    "undecided": "doubtful",
    "invalid": "bad",
}
_RESULT_TONES: Mapping[str, Tone] = {"certified": "good", "below the floor": "bad"}
_GUARD_TONES: Mapping[str, Tone] = {"warn": "doubtful", "fail": "bad"}


def render_text(
    verdict: Verdict, *, width: int | None = None, colour: Callable[[str, Tone], str] | None = None
) -> str:
    """Return the verdict as plain text for a terminal: sentence, facts, reasons, guards that did not pass.

    Lines wrap at `width` cells; None: each stays one line. `colour` paints a text in the colour of a tone.
    """
    verdict = readable(verdict)
    seen = view(verdict)

    def painted(text: str, tone: Tone | None) -> str:
        return text if colour is None or tone is None else colour(text, tone)

    label_width = max(len(label) for label, _ in seen.facts)
    lines = [f"{seen.workload}: {painted(seen.name.upper(), _VERDICT_TONES.get(seen.name))}"]
    lines += [*paragraph(seen.sentence, width, first="  "), ""]
    for label, value in seen.facts:
        lines += paragraph(value, width, first=f"  {label:<{label_width}}  ")
    for heading, entries in _lists(seen):
        if entries:
            lines += ["", f"  {heading.lower()}:"]
            lines += [line for entry in entries for line in paragraph(entry, width, first="  - ")]
    lines += ["", *_plain_retention(verdict, width, painted)]
    lines += _plain_agents(verdict, width)
    alarms = [guard for guard in verdict.guards if guard.status != "pass"]
    passed = len(verdict.guards) - len(alarms)
    lines += ["", f"  guards: {passed} passed" + (f", {len(alarms)} did not:" if alarms else "")]
    for guard in alarms:
        where = f" on {guard.segment}" if guard.segment else ""
        first, *more = paragraph(f"{guard.name}{where}: {guard.seen}", width, first="        ")
        lines += [f"  {painted(guard.status, _GUARD_TONES[guard.status])}  {first.lstrip()}", *more]
        if guard.advice:
            lines += paragraph(guard.advice, width, first="        do: ")
    return "\n".join(lines) + "\n"


def _plain_agents(verdict: Verdict, width: int | None) -> list[str]:
    """Return both readings of agents' runs, and what is known of the runs; nothing of other evidence."""
    rows = agent_rows(verdict)
    if not rows:
        return []
    shown = range(1 if len(verdict.candidates) == 1 else 0, len(rows[0]))
    cells = [tuple(row[column] for column in shown) for row in (agent_head(verdict), *rows)]
    lines = ["", "  runs of agents:", *columns(cells, right={shown.index(2)}, width=width, indent="  ")]
    for line in agent_lines(verdict):
        lines += paragraph(line, width, first="  - ")
    return lines


def render_cell(verdict: Verdict) -> str:
    """Return a verdict as a piece of HTML for a notebook: sentence, facts and retention; needs no extra."""
    seen = view(readable(verdict))

    def row(cells: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"

    table = seen.retention
    facts = "".join(f"<li>{escape(label)}: {escape(value)}</li>" for label, value in seen.facts)
    rows = "".join(row(each, "td") for each in table.rows[:_MOST_ROWS])
    return (
        f"<p><b>{escape(seen.workload)}: {escape(seen.name.upper())}</b></p><p>{escape(seen.sentence)}</p>"
        f"<ul>{facts}</ul><table><thead>{row(table.head, 'th')}</thead><tbody>{rows}</tbody></table>"
    )


def _plain_retention(
    verdict: Verdict, width: int | None, painted: Callable[[str, Tone | None], str]
) -> list[str]:
    seen = view(verdict).retention
    # candidate, segment, n, retention, result: the columns a reader needs first
    shown = (1, 2, 6, 8) if len(verdict.candidates) == 1 else (0, 1, 2, 6, 8)
    rows = [tuple(row[column] for column in shown) for row in (seen.head, *seen.rows[:_MOST_ROWS])]

    def paint(row: int, column: int, text: str) -> str:
        is_result = row > 0 and shown[column] == 8
        return painted(text, _RESULT_TONES.get(rows[row][column])) if is_result else text

    lines = columns(rows, right={shown.index(2)}, width=width, indent="  ", paint=paint)
    left = len(seen.rows) - _MOST_ROWS
    return lines + ([f"  ({left} more rows; --json has all)"] if left > 0 else [])


def render_junit(verdicts: Sequence[Verdict]) -> str:
    """Return JUnit XML: a suite a workload, a case for the verdict and one for each hypothesis and guard.

    The verdict's case fails exactly when `decide --gate` exits with something else than 0.
    """
    root = Element("testsuites", name="crossgrade")
    for verdict in map(readable, verdicts):
        suite = SubElement(root, "testsuite", name=verdict.workload)
        case = SubElement(suite, "testcase", classname=verdict.workload, name="verdict")
        if gate(verdict) != 0:
            failure = SubElement(case, "failure", message=f"{verdict.name}: {verdict.sentence}")
            failure.text = "\n".join((*sentences(verdict.reasons), *sentences(verdict.would_change)))
        for certificate in verdict.certificates:
            name = f"{certificate.candidate} on {certificate.segment or 'the whole workload'}"
            case = SubElement(suite, "testcase", classname=f"{verdict.workload}.retention", name=name)
            SubElement(case, "system-out").text = standing(certificate)
        for guard in verdict.guards:
            name = " · ".join(part for part in (guard.name, guard.candidate, guard.segment) if part)
            case = SubElement(suite, "testcase", classname=f"{verdict.workload}.guards", name=name)
            if guard.status == "fail":
                SubElement(case, "failure", message=guard.seen).text = guard.advice
            else:
                SubElement(case, "system-out").text = guard.seen
        suite.set("tests", str(len(suite)))
        suite.set("failures", str(sum(len(element.findall("failure")) for element in suite)))
    indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def render_frontier(verdict: Verdict) -> str:
    """Return every policy of a verdict as a table, the cheapest first.

    What is kept is of the incumbent's score over all requests. The intervals are for reading; what is claimed
    are the certificates.
    """
    verdict = readable(verdict)
    every = (*verdict.costs, *verdict.frontier)
    many, words = scale(cost.per_request_usd.value for cost in every)
    rows = []
    for cost in sorted(every, key=_usd):
        policy = cost.policy
        holds = certified_by(policy, verdict.certificates)
        kept = "-" if cost.retention is None else estimate(cost.retention, reason=False)
        chosen = "chosen" if policy == verdict.policy else ""
        figures = (estimate(times(cost.per_request_usd, many), reason=False), kept)
        rows.append((policy_words(policy), *figures, "yes" if holds else "no", chosen))
    head = ("policy", f"per {words}requests" if words else "per request", "keeps", "certified", "")
    return "\n".join(columns([head, *rows], right={1, 2})) + "\n"


def _usd(cost: PolicyCost) -> float:
    return float("inf") if cost.per_request_usd.value is None else cost.per_request_usd.value


def render_floors(verdicts: Sequence[Verdict]) -> str:
    """Return what verdicts at several floors cost and keep, one line each."""
    rows = []
    for verdict in map(readable, verdicts):
        cost = next(each for each in verdict.costs if each.policy == verdict.policy)
        kept = "-" if cost.retention is None else estimate(cost.retention, reason=False)
        saved = estimate(cost.saving_share, reason=False)
        rows.append((f"{verdict.floor:g}", verdict.name, policy_words(verdict.policy), kept, saved))
    head = ("floor", "verdict", "policy", "keeps", "saved")
    return "\n".join(columns([head, *rows], right={0, 3, 4})) + "\n"
