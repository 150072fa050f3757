"""What a dossier is made from, by hand: two models, a verdict, a ledger, two routes."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from crossgrade.domain import (
    AccessRule,
    DossierModel,
    DossierSpec,
    Offer,
    RouteSpec,
    ScorerSpec,
    Variant,
    Watching,
    Workload,
)
from crossgrade.evidence import (
    AccessFacts,
    DossierInput,
    LedgerFacts,
    LicenceText,
    LocalWeights,
    OperationFacts,
    RegisteredModel,
)

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
BASIS = {"model": "sha256:m", "weights": "sha256:w", "template": "sha256:t", "settings": "sha256:s"}


def _model(name: str, part, provider: str, weights: LocalWeights | None) -> RegisteredModel:
    return RegisteredModel(
        mark=DossierModel(
            name=name,
            part=part,
            provider=provider,
            model=name,
            licence="Apache-2.0" if weights else None,
            weights_sha256=None if weights is None else weights.sha256,
            basis=BASIS,
        ),
        variant=Variant(offer=Offer(name=name, provider=provider, model=name)),
        weights=weights,
        engine="xllamacpp 1" if weights else None,
        licence_texts=(LicenceText(file="LICENSE", sha256="c" * 64),) if weights else (),
    )


@pytest.fixture
def given() -> DossierInput:
    """A proprietary incumbent and a local candidate; nothing is stated and nothing was decided."""
    weights = LocalWeights(
        file="small.gguf",
        sha256="a" * 64,
        size_bytes=10,
        architecture="llama",
        expected_sha256="a" * 64,
        upstream="maker/small",
        packages=("small 1.0",),
        quantisation="Q4_1",
    )
    models = (_model("big", "incumbent", "openai", None), _model("small", "candidate", "local", weights))
    workload = Workload(
        name="triage",
        dataset=Path("t.jsonl"),
        incumbent=models[0].variant,
        candidates=(models[1].variant,),
        scorer=ScorerSpec(kind="exact"),
    )
    gated = RouteSpec(name="cyber", incumbent="big", workload="triage", gated=True, ledger="require")
    return DossierInput(
        workload=workload,
        models=models,
        spec=DossierSpec(),
        access=AccessFacts(
            routes=(gated,),
            rules=(AccessRule(name="staff", tiers=("cleared",), evidence="dossier"),),
            rules_digest="sha256:r",
            issuers=("https://a.example/",),
            keys=(("test", "k1", "ops", "cleared"),),
            keys_digest="sha256:k",
            suspended=0,
            open_on_loopback=False,
        ),
        ledger=LedgerFacts(size=3, findings=(), root="0" * 64, signer="us", witnesses=1, keeps_texts=False),
        operation=OperationFacts(watching=Watching(), alarms=0),
        now=NOW,
    )


@pytest.fixture
def later() -> datetime:
    return NOW + timedelta(days=1)
