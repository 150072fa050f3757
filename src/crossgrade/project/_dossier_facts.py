"""Gathers what dossiers are made from: models, access, ledger and operation of a project."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from crossgrade.domain import DossierModel, Offer, RouteSpec, Variant, Workload
from crossgrade.errors import CrossgradeError
from crossgrade.evidence import (
    AccessFacts,
    LedgerFacts,
    LicenceText,
    LocalWeights,
    OperationFacts,
    RegisteredModel,
    SafetyFacts,
)
from crossgrade.identity import DossierBasis, keyring_bytes, rules_in_force
from crossgrade.project._dossier_basis import installed_model, is_local, local_engine
from crossgrade.project._export_folder import open_plain
from crossgrade.providers.models import InstalledModel, KnownModel, known_models

if TYPE_CHECKING:
    from crossgrade.catalog import OfferFacts
    from crossgrade.config import Config
    from crossgrade.project._auditing import ProjectLedger
    from crossgrade.store import Store

_QUANTISATION = re.compile(r"(?i)(?:^|[-_. ])((?:i?q\d\w*|f16|f32|bf16|fp8|fp16))(?:[-_. ]|$)")
_MOST_NOTICES = 16
_MOST_NOTICE_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class DossierSources:
    """What of a project dossiers are made from.

    `facts_of` returns the facts of an offer as of today, and `safety_of` the safety rates of a workload.
    """

    config: "Config"
    store: "Store"
    ledger: "ProjectLedger"
    environ: Mapping[str, str]
    workload: Callable[[str], Workload]
    facts_of: "Callable[[Offer], OfferFacts]"
    safety_of: Callable[[str], SafetyFacts]


def registered_models(
    sources: DossierSources, workload: Workload, basis: DossierBasis
) -> tuple[RegisteredModel, ...]:
    """Return the incumbent and the candidates with everything that is known of them here."""
    variants = (workload.incumbent, *workload.candidates)
    return tuple(_registered(sources, workload, each, basis) for each in variants)


def _registered(
    sources: DossierSources, workload: Workload, variant: Variant, basis: DossierBasis
) -> RegisteredModel:
    offer = variant.offer
    facts = sources.facts_of(offer)
    local = installed_model(offer, sources.config.root, sources.environ) if is_local(offer) else None
    known = next((each for each in known_models() if local and each.name == local.name), None)
    licence = offer.licence or facts.licence or (local.licence if local else None)
    return RegisteredModel(
        mark=DossierModel(
            name=variant.name,
            part="incumbent" if variant.name == workload.incumbent.name else "candidate",
            provider=offer.provider,
            model=offer.model,
            licence=licence,
            weights_sha256=None if local is None else local.sha256,
            basis=basis[variant.name],
        ),
        variant=variant,
        weights=None if local is None else _weights(local, known),
        engine=local_engine() if is_local(offer) else None,
        precision=facts.precision,
        licence_texts=() if local is None or known is None else tuple(_notices(local, known)),
        duties=None if local is None else local.duties,
        clauses=facts.clauses,
    )


def _weights(local: InstalledModel, known: KnownModel | None) -> LocalWeights:
    found = _QUANTISATION.search(Path(local.path).stem) or (known and _QUANTISATION.search(known.title))
    packages = [] if known is None else [f"{each.package} {each.version}" for each in known.parts]
    return LocalWeights(
        file=Path(local.path).name,
        sha256=local.sha256,
        size_bytes=local.size_bytes,
        architecture=local.architecture,
        expected_sha256=None if known is None else known.sha256,
        upstream=None if known is None else known.upstream,
        packages=tuple(packages),
        quantisation=found[1] if found else None,
        has_chat_template=local.chat,
    )


def _notices(local: InstalledModel, known: KnownModel) -> Iterator[LicenceText]:
    """Yield the licence texts that are kept beside a packaged model."""
    for part in known.notices[:_MOST_NOTICES]:
        path = Path(local.path).parent / Path(part.member).name
        try:
            with open_plain(path) as file:
                content = file.read(_MOST_NOTICE_BYTES + 1)
        except OSError:
            continue
        if len(content) <= _MOST_NOTICE_BYTES:
            yield LicenceText(file=path.name, sha256=sha256(content).hexdigest())


def routes_of(sources: DossierSources, workload: str) -> tuple[RouteSpec, ...]:
    """Return the routes of a workload."""
    return tuple(each for each in sources.config.routes.values() if each.workload == workload)


def access_facts(sources: DossierSources, workload: str, now: datetime) -> AccessFacts:
    """Return who may use a workload's routes, as of now."""
    config, keys = sources.config, sources.store.keys
    records, suspended = keys.records(), keys.suspended()
    rules = rules_in_force(config.access, config.serving.issuers, config.routes.values())
    return AccessFacts(
        routes=routes_of(sources, workload),
        rules=config.access,
        rules_digest=None if rules is None else rules.digest,
        issuers=tuple(each.issuer for each in config.serving.issuers),
        keys=tuple(
            (each.name, each.id, each.team, each.tier) for each in records if each.status(now) == "live"
        ),
        keys_digest=f"sha256:{sha256(keyring_bytes(records, suspended)).hexdigest()}",
        suspended=len(suspended),
        open_on_loopback=config.serving.open_on_loopback,
    )


def ledger_facts(sources: DossierSources) -> LedgerFacts:
    """Verify the whole ledger, and return what was found."""
    ledger, spec = sources.ledger, sources.config.ledger
    verifier = ledger.verifier
    size, findings, root, problem = sources.store.ledger.size(), tuple[str, ...](), None, None
    try:
        found = ledger.verify(log=verifier)
    except CrossgradeError as error:
        problem = f"not verified: {error.message}"
    else:
        size, root = found.size, found.root.hex()
        findings = tuple(f"{each.code}: {each.message}" for each in found.findings)
    return LedgerFacts(
        size=size,
        findings=findings,
        root=root,
        signer=None if verifier is None else verifier.name,
        witnesses=len(spec.witnesses),
        keeps_texts=spec.keep_texts,
        problem=problem,
    )


def operation_facts(sources: DossierSources, workload: str) -> OperationFacts:
    """Return how a workload's traffic is watched."""
    names = [each.name for each in routes_of(sources, workload)]
    alarms = sum(map(sources.store.alarms.count, names))
    return OperationFacts(watching=sources.config.watching, alarms=alarms)
