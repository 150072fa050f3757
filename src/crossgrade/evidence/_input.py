"""What a dossier is made from: facts that `project` gathers, and fields of what is measured and stated."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, time

from crossgrade.decide import Verdict
from crossgrade.domain import (
    AccessRule,
    Attachment,
    Clause,
    Dossier,
    DossierFact,
    DossierField,
    DossierFinding,
    DossierModel,
    DossierSpec,
    RouteSpec,
    Statement,
    Variant,
    Watching,
    Workload,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalWeights:
    """The model file of a local model: its digest, verified, and where it came from.

    `upstream` and `packages` say what a packaged model was made from. `expected_sha256` is the digest that
    Crossgrade's own list has, None for a user's file. `quantisation` None is unknown.
    """

    file: str
    sha256: str
    size_bytes: int
    architecture: str
    expected_sha256: str | None = None
    upstream: str | None = None
    packages: tuple[str, ...] = ()
    quantisation: str | None = None
    has_chat_template: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LicenceText:
    """A licence text that is kept beside a model: the file's name and SHA-256."""

    file: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """A model of the workload with everything that is known of it here; None is unknown.

    `engine` is what serves it and its version. `precision` is what its host states. `clauses` are what
    licence and host say to the team.
    """

    mark: DossierModel
    variant: Variant
    weights: LocalWeights | None = None
    engine: str | None = None
    precision: str | None = None
    licence_texts: tuple[LicenceText, ...] = ()
    duties: str | None = None
    clauses: tuple[Clause, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessFacts:
    """Who may use what: the rules in force with their digest, and who has a key, at one moment.

    `keys` are the names of live keys with their ids, teams and tiers, `keys_digest` is over all of them.
    `open_on_loopback` says that this machine's requests need no key.
    """

    routes: tuple[RouteSpec, ...]
    rules: tuple[AccessRule, ...]
    rules_digest: str | None
    issuers: tuple[str, ...]
    keys: tuple[tuple[str, str, str, str], ...]
    keys_digest: str
    suspended: int
    open_on_loopback: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerFacts:
    """The ledger as it was verified for the dossier: entries, findings, signer, witnesses, newest root.

    `problem` says why it could not be verified, None if it was.
    """

    size: int
    findings: tuple[str, ...]
    root: str | None
    signer: str | None
    witnesses: int
    keeps_texts: bool
    problem: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationFacts:
    """How the workload's traffic is watched: the settings, and how many alarms there were."""

    watching: Watching
    alarms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyFacts:
    """What safety suites found, in words, and what was not tested. Empty `facts`: no rate may be shown."""

    facts: tuple[DossierFact, ...] = ()
    gaps: tuple[str, ...] = ()
    evidence_id: str | None = None
    digest: str | None = None
    at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Somebody's approval of the dossier that is made now. `condition` is empty for none."""

    name: str
    role: str
    condition: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DossierInput:
    """Everything that a dossier is made from.

    `models` are the incumbent and the candidates. `attachments` are the files of statements by their place in
    `spec.statements`; a statement whose file is not the one that was stated is in `broken`, with the reason.
    `earlier` is the newest dossier before this one, and `approved` the newest one that was approved.
    """

    workload: Workload
    models: tuple[RegisteredModel, ...]
    spec: DossierSpec
    access: AccessFacts
    ledger: LedgerFacts
    operation: OperationFacts
    now: datetime
    verdict: Verdict | None = None
    verdict_id: str | None = None
    safety: SafetyFacts = field(default_factory=SafetyFacts)
    attachments: Mapping[int, Attachment] = field(default_factory=dict)
    read_facts: Mapping[int, tuple[DossierFact, ...]] = field(default_factory=dict)
    broken: Mapping[int, str] = field(default_factory=dict)
    findings: tuple[DossierFinding, ...] = ()
    earlier: Dossier | None = None
    approved: Dossier | None = None
    approval: Approval | None = None

    def statements(self, number: int) -> list[tuple[int, Statement]]:
        """Return the statements on a field whose files are those that were stated, with their places."""
        found = enumerate(self.spec.statements)
        return [(at, each) for at, each in found if each.field == number and at not in self.broken]


def field_of(
    number: int,
    given: DossierInput,
    *,
    measured: Iterable[DossierFact] = (),
    known: Iterable[DossierFact] = (),
    gaps: Iterable[str] = (),
    unstated: Iterable[str] = (),
) -> DossierField:
    """Return a field: measured if there is something measured, else stated if there is a statement.

    `known` facts do not make a field more than missing. `gaps` stay open whatever is stated, and `unstated`
    are closed by a statement.
    """
    measured, known = tuple(measured), tuple(known)
    statements = given.statements(number)
    broken = [why for at, why in given.broken.items() if given.spec.statements[at].field == number]
    facts = [*measured, *known]
    for at, each in statements:
        facts += [_fact(each), *given.read_facts.get(at, ())]
    found = DossierField(
        number=number,
        status="measured" if measured else "stated" if statements else "missing",
        facts=tuple(facts),
        gaps=(*broken, *gaps, *(() if statements else unstated)),
        at=given.now if measured else None,
        author="Crossgrade" if measured else None,
        attachments=tuple(given.attachments[at] for at, _ in statements if at in given.attachments),
    )
    if measured or not statements:
        return found
    newest = max((each for _, each in statements), key=lambda each: each.date)
    authors = ", ".join(dict.fromkeys(each.author for _, each in statements))
    return replace(found, author=authors, at=datetime.combine(newest.date, time(), UTC))


def _fact(statement: Statement) -> DossierFact:
    where = "" if statement.url is None else f" ({statement.url})"
    text = f"{statement.clause}{where}: {statement.source}"
    return DossierFact(label="stated", text=text, model=statement.model)
