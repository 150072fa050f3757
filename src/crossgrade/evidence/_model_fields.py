"""Fields 1 to 4: which models these are, under what licence, from where, and what their providers publish."""

from collections.abc import Iterator
from dataclasses import replace

from crossgrade.domain import DossierFact, DossierField, GenerationSettings
from crossgrade.evidence._input import DossierInput, RegisteredModel, field_of


def identity(given: DossierInput) -> DossierField:
    """Return field 1. It is measured: names and settings are what requests are sent with."""
    gaps = [
        f"{each.mark.name}: the provider does not show its weights, its engine and its tokenizer"
        for each in given.models
        if each.weights is None
    ]
    found = field_of(1, given, measured=_identities(given), gaps=gaps)
    digests = [each.weights.sha256 for each in given.models if each.weights is not None]
    return replace(found, evidence_id="registry", digest=digests[0] if len(digests) == 1 else None)


def _identities(given: DossierInput) -> Iterator[DossierFact]:
    for each in given.models:
        name, offer, weights = each.mark.name, each.variant.offer, each.weights
        yield DossierFact(
            label="model", text=f"{offer.model} at {offer.provider}, {each.mark.part}", model=name
        )
        if weights is not None:
            yield DossierFact(
                label="weights",
                text=f"{weights.file}, {weights.size_bytes:,} bytes, sha256 {weights.sha256}",
                model=name,
            )
            yield DossierFact(label="architecture", text=weights.architecture, model=name)
            template = "with a chat template" if weights.has_chat_template else "without a chat template"
            yield DossierFact(
                label="tokenizer and template",
                text=f"in the weights file, {template}, and covered by its digest",
                model=name,
            )
        precision = each.precision if weights is None else weights.quantisation
        if precision is not None:
            yield DossierFact(label="quantisation", text=precision, model=name)
        if each.engine is not None:
            yield DossierFact(label="engine", text=each.engine, model=name)
        yield DossierFact(label="sampling", text=_settings(each.variant.settings), model=name)


def _settings(settings: GenerationSettings) -> str:
    """Return decoding settings in words; what the provider decides is left out."""
    given = {
        "temperature": settings.temperature,
        "top p": settings.top_p,
        "most output tokens": settings.max_output_tokens,
        "seed": settings.seed,
        "reasoning effort": settings.reasoning_effort,
        "stop": ", ".join(map(repr, settings.stop)) or None,
    }
    known = [f"{name} {value}" for name, value in given.items() if value is not None]
    return ", ".join(known) or "the provider's defaults"


def licence(given: DossierInput) -> DossierField:
    """Return field 2. It is measured where a licence text is kept or clauses were read."""
    facts = list(_licences(given))
    gaps = [
        f"{each.mark.name}: no licence is known"
        for each in given.models
        if each.mark.licence is None and not each.clauses
    ]
    gaps += [
        f"{each.mark.name}: its licence text is not kept here, so it has no digest"
        for each in given.models
        if each.mark.licence is not None and not each.licence_texts
    ]
    accepted = "who accepted these terms, and when, is not stated"
    known = any(each.mark.licence is not None or each.clauses for each in given.models)
    found = field_of(
        2,
        given,
        measured=facts if known else (),
        known=() if known else facts,
        gaps=gaps,
        unstated=[accepted],
    )
    digests = [text.sha256 for each in given.models for text in each.licence_texts]
    return replace(found, digest=digests[0] if len(digests) == 1 else None)


def _licences(given: DossierInput) -> Iterator[DossierFact]:
    for each in given.models:
        name = each.mark.name
        if each.mark.licence is not None:
            yield DossierFact(label="licence", text=each.mark.licence, model=name)
        for text in each.licence_texts:
            yield DossierFact(label="licence text", text=f"{text.file}, sha256 {text.sha256}", model=name)
        if each.duties is not None:
            yield DossierFact(label="duties", text=each.duties, model=name)
        for clause in each.clauses:
            because = "" if clause.because is None else f" Permitted because: {clause.because}"
            yield DossierFact(label=clause.severity, text=f"{clause.words}{because}", model=name)


def provenance(given: DossierInput) -> DossierField:
    """Return field 3. It is measured where a digest was compared with a list that names the origin."""
    measured = [fact for each in given.models for fact in _origins(each)]
    gaps = [
        f"{each.mark.name}: nothing here shows where its weights come from"
        for each in given.models
        if each.weights is None or each.weights.expected_sha256 is None
    ]
    changes = "whether a model was tuned or merged, and with how much compute, is not stated"
    return field_of(3, given, measured=measured, gaps=gaps, unstated=[changes])


def _origins(each: RegisteredModel) -> Iterator[DossierFact]:
    weights, name = each.weights, each.mark.name
    if weights is None or weights.expected_sha256 is None:
        return
    if weights.upstream is not None:
        yield DossierFact(label="made from", text=weights.upstream, model=name)
    if weights.packages:
        yield DossierFact(label="packages", text=", ".join(weights.packages), model=name)
    same = "is" if weights.sha256 == weights.expected_sha256 else "is NOT"
    text = f"the file's digest {same} the one in Crossgrade's list of models"
    yield DossierFact(label="digest check", text=text, model=name)


def provider_documents(given: DossierInput) -> DossierField:
    """Return field 4, which is stated or missing: what a provider publishes cannot be measured.

    A statement on the workload is about all its models, and one on a model leaves the others' gaps open.
    """
    kinds = "model card, summary of training data, copyright policy, acceptable use policy, safety framework"
    about = {each.model for _, each in given.statements(4)}
    alone = [] if not about or None in about else [each.mark.name for each in given.models]
    gaps = [
        f"{name}: no document of its provider is attached or said not to exist: {kinds}"
        for name in alone
        if name not in about
    ]
    wanted = f"no document of a provider is attached or said not to exist: {kinds}"
    return field_of(4, given, gaps=gaps, unstated=[wanted])
