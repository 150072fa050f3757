"""Stores live pairs, which the gateway records, and their audits, which `watch` records."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from itertools import islice
from typing import Any, TypeAlias

from sqlalchemy import Row, and_, func, insert, select, update

from crossgrade.domain import sum_usd
from crossgrade.errors import kind_of
from crossgrade.store import _tables as t
from crossgrade.store._answers import answer_row, as_written, model_answer, money, money_text, storable
from crossgrade.store._database import Database
from crossgrade.store._live import Audit, Draw, Pair, PairAnswer, Side, WaitingPair
from crossgrade.store._served_runs import unmixed

_Row: TypeAlias = dict[str, object]
_SIDES: tuple[Side, Side] = ("incumbent", "candidate")
_MIXED_RUN = "mixed_run"
"""Why a draw does not count although it may have two answers: more than one model answered its run."""


class LivePairs:
    """The live pairs of a store, with their audits."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, pairs: Sequence[Pair]) -> None:
        """Commit pairs in one transaction, either all of them or none."""
        if not pairs:
            return
        answers = [_answer_row(pair, side) for pair in pairs for side in _SIDES]
        with self._database.writing() as connection:
            connection.execute(insert(t.pairs), [_pair_row(pair) for pair in pairs])
            connection.execute(insert(t.pair_answers), answers)

    def recent(
        self, route: str, *, verdict_id: str | None = None, after: str = "", limit: int = 500
    ) -> list[Pair]:
        """Return pairs of a route (under one certificate) with ids above `after`, oldest first."""
        query = select(t.pairs.c.id).where(t.pairs.c.route == route, t.pairs.c.id > after)
        query = _under(query, t.pairs, verdict_id).order_by(t.pairs.c.id).limit(limit)
        return self._read(self._ids(query))

    def newest(self, routes: Sequence[str], *, since: datetime, limit: int) -> list[Pair]:
        """Return pairs of some routes asked at or after `since`, newest first.

        Left out are pairs whose text is gone or was not kept, those that a router's score had a part in, and
        those of mixed runs.
        """
        p = t.pairs.c
        query = (
            select(p.id)
            .where(p.route.in_(routes), p.at >= _utc(since), p.request.is_not(None), p.score.is_(None))
            .where(unmixed(p.run))
            .order_by(p.id.desc())
            .limit(limit)
        )
        return self._read(self._ids(query))[::-1]

    def unscored(
        self,
        route: str,
        scorer_digest: str,
        *,
        verdict_id: str | None = None,
        wanted: Callable[[WaitingPair], bool] = lambda _: True,
        limit: int = 500,
    ) -> list[Pair]:
        """Return pairs of a route that a scorer has not audited yet and that are `wanted`, oldest first.

        Missed ones are left out, and those of mixed runs.
        """
        found = filter(wanted, self.waiting(route, scorer_digest, verdict_id=verdict_id))
        return self._read([each.id for each in islice(found, limit)])

    def waiting(self, route: str, scorer_digest: str, *, verdict_id: str | None = None) -> list[WaitingPair]:
        """Return what all pairs are about that `unscored` would return, without reading any text."""
        p, a = t.pairs.c, t.audits.c
        audited = and_(a.source_id == p.id, a.scorer_digest == scorer_digest)
        query = (
            select(p.id, p.segment, p.at, p.request.is_not(None).label("has_text"))
            .join(t.audits, audited, isouter=True)
            .where(p.route == route, p.missed.is_(None), a.id.is_(None), unmixed(p.run))
        )
        query = _under(query, t.pairs, verdict_id).order_by(p.id)
        with self._database.reading() as connection:
            return [
                WaitingPair(
                    id=row.id,
                    segment=row.segment,
                    at=datetime.fromisoformat(row.at),
                    has_text=bool(row.has_text),
                )
                for row in connection.execute(query)
            ]

    def draws(
        self, route: str, *, verdict_id: str, scorer_digest: str, since: datetime, after: str = ""
    ) -> list[Draw]:
        """Return what was drawn on a route under a certificate, with a scorer's audits, by the pairs' ids.

        These are the pairs asked at or after `since` with ids above `after`, missed ones too. A pair may be
        committed after another one with a higher id, if the store was away. One of a mixed run counts as
        missed.
        """
        p, a = t.pairs.c, t.audits.c
        audited = and_(a.source_id == p.id, a.scorer_digest == scorer_digest)
        query = (
            select(p.id, p.at, p.score, p.probability, p.conversation, p.missed)
            .add_columns(a.id.label("audit"), a.incumbent, a.candidate, unmixed(p.run).label("counts"))
            .join_from(t.pairs, t.audits, audited, isouter=True)
            .where(*_asked(route, verdict_id, since, None), p.id > after)
            .order_by(p.id)
        )
        with self._database.reading() as connection:
            return [
                Draw(
                    pair_id=row.id,
                    at=datetime.fromisoformat(row.at),
                    score=row.score,
                    probability=row.probability,
                    conversation=row.conversation,
                    missed=row.missed if row.counts else _MIXED_RUN,
                    is_audited=row.audit is not None,
                    incumbent=row.incumbent if row.counts else None,
                    candidate=row.candidate if row.counts else None,
                )
                for row in connection.execute(query)
            ]

    def drawn(
        self,
        route: str,
        *,
        verdict_id: str,
        since: datetime,
        before: datetime,
        wanted: Callable[[str], bool] | None = None,
    ) -> int:
        """Return the number of draws with a router's score asked from `since` until before `before`.

        `wanted` receives a pair's id, and returns whether to count the pair (None: all are counted).
        """
        asked = (*_asked(route, verdict_id, since, before), t.pairs.c.score.is_not(None))
        if wanted is not None:
            return sum(map(wanted, self._ids(select(t.pairs.c.id).where(*asked))))
        with self._database.reading() as connection:
            return int(connection.execute(select(func.count()).where(*asked)).scalar_one())

    def audit_cost(self, route: str, *, verdict_id: str, since: datetime) -> Decimal | None:
        """Return what audits of requests asked from `since` on cost, None if unknown.

        These are the answers that no client got, and the scorers' own costs.
        """
        p, answer, a = t.pairs.c, t.pair_answers.c, t.audits.c
        asked, number = _asked(route, verdict_id, since, None), func.count()
        answers = select(answer.cost_usd, number).join_from(t.pairs, t.pair_answers, answer.pair_id == p.id)
        audits = select(a.cost_usd, number).join_from(t.pairs, t.audits, a.source_id == p.id)
        with self._database.reading() as connection:
            # The database groups equal costs and Python adds them up, with all their digits.
            costs = [
                *connection.execute(
                    answers.where(*asked, answer.side != p.served_by).group_by(answer.cost_usd)
                ),
                *connection.execute(audits.where(*asked).group_by(a.cost_usd)),
            ]
        return sum_usd(None if cost is None else Decimal(cost) * times for cost, times in costs)

    def append_audits(self, audits: Sequence[Audit]) -> None:
        """Commit audits in one transaction, without those whose source the scorer has audited before.

        The first audit of a source by a scorer has been counted, so it is kept.
        """
        found = t.audits.c
        with self._database.writing() as connection:
            for audit in audits:
                same = and_(found.source_id == audit.source_id, found.scorer_digest == audit.scorer_digest)
                if connection.execute(select(found.id).where(same)).first() is None:
                    connection.execute(insert(t.audits), storable(_audit_row(audit)))

    def audits(
        self, route: str, *, verdict_id: str | None = None, scorer_digest: str | None = None, after: int = 0
    ) -> list[Audit]:
        """Return the audits of a route (under one certificate, by one scorer) after the id `after`, by id."""
        query = _under(
            select(t.audits).where(t.audits.c.route == route, t.audits.c.id > after), t.audits, verdict_id
        )
        if scorer_digest is not None:
            query = query.where(t.audits.c.scorer_digest == scorer_digest)
        with self._database.reading() as connection:
            return [_audit(row) for row in connection.execute(query.order_by(t.audits.c.id))]

    def audited_by_segment(self, route: str, *, verdict_id: str, scorer_digest: str) -> dict[str | None, int]:
        """Return the number of a scorer's audits of a route under a certificate, by segment."""
        a = t.audits.c
        query = (
            select(a.segment, func.count().label("number"))
            .where(a.route == route, a.verdict_id == verdict_id, a.scorer_digest == scorer_digest)
            .group_by(a.segment)
        )
        with self._database.reading() as connection:
            return {row.segment: row.number for row in connection.execute(query)}

    def spent_since(self, since: datetime) -> Decimal | None:
        """Return what judging live pairs and sealed samples cost in dollars since a time. None is unknown."""
        query = select(t.audits.c.cost_usd).where(t.audits.c.at >= since.isoformat())
        with self._database.reading() as connection:
            return sum_usd(map(money, connection.execute(query).scalars()))

    def versions(self, route: str, verdict_id: str) -> list[tuple[str, str, str]]:
        """Return the versions of models that served a route under a certificate, oldest first.

        Each is (the model's name in the policy, the version that its provider reports, the id of the first
        pair with it).
        """
        a, first = t.pair_answers.c, func.min(t.pair_answers.c.pair_id)
        query = (
            select(a.model, a.served_model, first)
            .join(t.pairs, a.pair_id == t.pairs.c.id)
            .where(t.pairs.c.route == route, t.pairs.c.verdict_id == verdict_id)
            .where(a.served_model.is_not(None))
            .group_by(a.model, a.served_model)
            .order_by(first)
        )
        with self._database.reading() as connection:
            return [(model, version, pair) for model, version, pair in connection.execute(query)]

    def forget(self, before: datetime) -> None:
        """Erase the texts of pairs from before a time, and raters' notes on them. Their scores are kept.

        Records are never changed otherwise. Here they are, because the team decides how long customers' texts
        are kept.
        """
        old = select(t.pairs.c.id).where(t.pairs.c.at < before.isoformat())
        with self._database.writing() as connection:
            connection.execute(
                update(t.pair_answers)
                .where(t.pair_answers.c.pair_id.in_(old))
                .values(text=None, tool_calls=None, error=None)
            )
            connection.execute(update(t.audits).where(t.audits.c.source_id.in_(old)).values(explanation=None))
            noted = and_(t.label_actions.c.item.in_(old), t.label_actions.c.note != "")
            connection.execute(update(t.label_actions).where(noted).values(note=""))
            connection.execute(update(t.pairs).where(t.pairs.c.id.in_(old)).values(request=None))

    def _ids(self, query: Any) -> list[str]:
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())

    def _read(self, ids: list[str]) -> list[Pair]:
        answers: dict[str, dict[str, Row[Any]]] = defaultdict(dict)
        with self._database.reading() as connection:
            for row in connection.execute(select(t.pair_answers).where(t.pair_answers.c.pair_id.in_(ids))):
                answers[row.pair_id][row.side] = row
            query = select(t.pairs).where(t.pairs.c.id.in_(ids)).order_by(t.pairs.c.id)
            return [_pair(row, answers[row.id]) for row in connection.execute(query)]


def _asked(route: str, verdict_id: str, since: datetime, before: datetime | None) -> tuple[Any, ...]:
    """Return the conditions on a route's pairs under a certificate: asked from `since`, before `before`."""
    p = t.pairs.c
    conditions = (p.route == route, p.verdict_id == verdict_id, p.at >= _utc(since))
    return conditions if before is None else (*conditions, p.at < _utc(before))


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()


def _under(query: Any, table: Any, verdict_id: str | None) -> Any:
    return query if verdict_id is None else query.where(table.c.verdict_id == verdict_id)


def _pair_row(pair: Pair) -> _Row:
    names = ("id", "route", "verdict_id", "request_id", "segment", "endpoint", "request", "served_by")
    row: _Row = {name: getattr(pair, name) for name in (*names, "conversation", "score", "missed", "run")}
    return storable({**row, "probability": pair.probability, "at": pair.at.isoformat()})


def _answer_row(pair: Pair, side: Side) -> _Row:
    answered = pair.incumbent if side == "incumbent" else pair.candidate
    row: _Row = {column.name: None for column in t.pair_answers.c}
    if answered.answer is not None:
        row.update(answer_row(answered.answer))
    row.update(
        pair_id=pair.id,
        side=side,
        model=answered.model,
        response_id=answered.response_id,
        cost_usd=money_text(answered.cost_usd),
        error=answered.error,
    )
    return storable(row)


def _pair(row: Row[Any], answers: dict[str, Row[Any]]) -> Pair:
    with as_written(f"pair {row.id}"):
        return _pair_of(row, answers)


def _pair_of(row: Row[Any], answers: dict[str, Row[Any]]) -> Pair:
    return Pair(
        id=row.id,
        route=row.route,
        verdict_id=row.verdict_id,
        request_id=row.request_id,
        segment=row.segment,
        endpoint=row.endpoint,
        request=row.request,
        served_by=row.served_by,
        probability=row.probability,
        conversation=row.conversation,
        score=row.score,
        missed=row.missed,
        run=row.run,
        incumbent=_pair_answer(answers["incumbent"]),
        candidate=_pair_answer(answers["candidate"]),
        at=datetime.fromisoformat(row.at),
    )


def _pair_answer(row: Row[Any]) -> PairAnswer:
    return PairAnswer(
        model=row.model,
        answer=None if row.text is None else model_answer(row),
        response_id=row.response_id,
        cost_usd=money(row.cost_usd),
        error=None if row.error is None else kind_of(row.error),
    )


def _audit_row(audit: Audit) -> _Row:
    names = ("route", "verdict_id", "segment", "source", "source_id", "scorer_digest", "incumbent")
    more = ("candidate", "weight", "explanation", "conversation")
    row: _Row = {name: getattr(audit, name) for name in (*names, *more)}
    row["asked_at"] = None if audit.asked_at is None else audit.asked_at.isoformat()
    return {**row, "cost_usd": money_text(audit.cost_usd), "at": audit.at.isoformat()}


def _audit(row: Row[Any]) -> Audit:
    fields = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public way to a row as a mapping
    fields["cost_usd"] = money(row.cost_usd)
    fields["at"] = datetime.fromisoformat(row.at)
    fields["asked_at"] = None if row.asked_at is None else datetime.fromisoformat(row.asked_at)
    return Audit(**fields)
