"""Erases the texts of some samples, of their answers, prompts and raters' notes. Scores stay as numbers."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

import msgspec
import numpy as np
import zstandard
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Table, and_, delete, select, update

from crossgrade.decide import Evidence
from crossgrade.errors import StoreError
from crossgrade.store import _tables as t
from crossgrade.store._database import Database
from crossgrade.store._label_records import label_item_id
from crossgrade.store._ledger import LedgerLog
from crossgrade.store._ledger_events import LedgerEvent, decision, document_digest
from crossgrade.store._verdicts import decode_verdict, encode_verdict, pack_evidence, unpack_evidence

_LOOKUP = 500
_VERDICTS = 100
"""How many verdicts an entry names."""

_Column = TypeVar("_Column", bound=NDArray[np.object_] | None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Erased:
    """The result: the number of `answers` removed, and (rows erased, rows in all) of each verdict by id."""

    answers: int
    verdicts: Mapping[str, tuple[int, int]]


def erase_samples(
    database: Database,
    ledger: LedgerLog,
    workload: str,
    samples: Collection[str],
    requests: Collection[str],
) -> Erased:
    """Remove some samples of a workload from its runs, and their texts from its verdicts.

    `requests` are digests of requests about them, whose answers are removed even if no run has used them.
    A verdict's numbers and the digest of its evidence stay unchanged, so that it can still be computed
    again. The ledger has an entry of it, without names of samples. Either everything is removed or nothing.
    """
    with database.erasing() as connection:
        runs = list(connection.execute(select(t.runs.c.id).where(t.runs.c.workload == workload)).scalars())
        answers = sum(_erase_answers(connection, run, list(samples)) for run in runs)
        for part in _parts(list(requests)):
            used = select(t.answers.c.response_id).where(t.answers.c.response_id.is_not(None))
            connection.execute(
                delete(t.responses).where(
                    t.responses.c.request_digest.in_(part), t.responses.c.id.not_in(used)
                )
            )
        _blank_prompts(connection, workload, frozenset(samples))
        verdicts, digests = _blank_verdicts(connection, workload, frozenset(samples))
        ledger.record(connection, _events(workload, len(samples), answers, digests))
    return Erased(answers=answers, verdicts=verdicts)


def _erase_answers(connection: Connection, run: str, samples: list[str]) -> int:
    found = 0
    for part in _parts(samples):

        def of_samples(table: Table, part: list[str] = part) -> ColumnElement[bool]:
            return and_(table.c.run_id == run, table.c.sample_id.in_(part))

        _blank_notes(connection, run, of_samples(t.answers))
        query = select(t.answers.c.response_id).where(of_samples(t.answers))
        responses = [each for each in connection.execute(query).scalars() if each is not None]
        connection.execute(delete(t.scores).where(of_samples(t.scores)))
        found += connection.execute(delete(t.answers).where(of_samples(t.answers))).rowcount
        connection.execute(delete(t.samples).where(of_samples(t.samples)))
        for some in _parts(responses):
            kept = set(
                connection.execute(
                    select(t.answers.c.response_id).where(t.answers.c.response_id.in_(some))
                ).scalars()
            )
            gone = [each for each in some if each not in kept]
            connection.execute(delete(t.responses).where(t.responses.c.id.in_(gone)))
    return found


def _blank_notes(connection: Connection, run: str, of_samples: ColumnElement[bool]) -> None:
    """Remove what raters wrote about a run's answers. Their scores stay."""
    query = select(t.answers.c.sample_id, t.answers.c.epoch).where(of_samples).distinct()
    items = [label_item_id(run, row.sample_id, str(row.epoch)) for row in connection.execute(query)]
    for part in _parts(items):
        of_items = and_(t.label_actions.c.subject == f"run:{run}", t.label_actions.c.item.in_(part))
        connection.execute(update(t.label_actions).where(of_items).values(note=""))


def _blank_prompts(connection: Connection, workload: str, samples: frozenset[str]) -> None:
    """Remove the texts of recorded prompts that show some of the samples as examples."""
    steps = t.tuning_steps.c
    query = select(steps.id, steps.detail).join(t.tunings, steps.tuning_id == t.tunings.c.id)
    for row in connection.execute(query.where(t.tunings.c.workload == workload)).all():
        detail = msgspec.json.decode(row.detail)
        if samples.isdisjoint(detail.get("examples") or ()):
            continue
        for variant in (detail.get("candidate"), detail.get("incumbent")):
            if variant is not None:
                variant["prompt"] |= {"user": "", "system": None}
        text = msgspec.json.encode(detail, order="deterministic").decode()
        connection.execute(update(t.tuning_steps).where(steps.id == row.id).values(detail=text))


def _blank_verdicts(
    connection: Connection, workload: str, samples: frozenset[str]
) -> tuple[dict[str, tuple[int, int]], dict[str, str]]:
    """Return (rows erased, rows in all) and the digest of the new document of each verdict that changed."""
    found: dict[str, tuple[int, int]] = {}
    digests: dict[str, str] = {}
    table = t.verdicts
    query = select(table.c.id, table.c.verdict, table.c.evidence).where(table.c.workload == workload)
    for row in connection.execute(query).all():
        if row.evidence is None:
            continue
        try:
            evidence = unpack_evidence(row.evidence)
            verdict = decode_verdict(row.verdict)
        except (zstandard.ZstdError, msgspec.MsgspecError, KeyError, ValueError) as error:
            raise StoreError(
                f"the evidence of verdict {row.id} is damaged ({error})", code="evidence-damaged"
            ) from error
        of_person = np.array([each in samples for each in evidence.sample_ids], np.bool_)
        if not of_person.any():
            continue
        found[row.id] = (int(of_person.sum()), evidence.n)
        losses = tuple(each for each in verdict.losses if each.sample_id not in samples)
        document = encode_verdict(replace(verdict, losses=losses))
        digests[row.id] = document_digest(document)
        connection.execute(
            update(table)
            .where(table.c.id == row.id)
            .values(verdict=document, evidence=pack_evidence(_blanked(evidence, of_person)))
        )
    return found, digests


def _events(workload: str, samples: int, answers: int, digests: Mapping[str, str]) -> list[LedgerEvent]:
    """Return the entries about an erasure: one, or more where it changed many verdicts."""
    items = list(digests.items())
    parts = [dict(items[start : start + _VERDICTS]) for start in range(0, len(items), _VERDICTS)] or [{}]
    facts = {"workload": workload, "samples": samples, "answers": answers}
    return [decision("erasure", **facts, verdicts=part) for part in parts]


def _blanked(evidence: Evidence, rows: NDArray[np.bool_]) -> Evidence:
    def blank(column: _Column) -> _Column:
        if column is None:
            return column
        emptied = column.copy()
        emptied[rows] = None
        return emptied

    return replace(
        evidence,
        input=blank(evidence.input),
        target=blank(evidence.target),
        incumbent=replace(evidence.incumbent, output=blank(evidence.incumbent.output)),
        candidates=tuple(replace(each, output=blank(each.output)) for each in evidence.candidates),
    )


def _parts(values: list[str]) -> list[list[str]]:
    return [values[start : start + _LOOKUP] for start in range(0, len(values), _LOOKUP)]
