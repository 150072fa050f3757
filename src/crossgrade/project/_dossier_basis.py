"""What dossiers hold for: a digest of each part of a workload's models, as they are now."""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from crossgrade.config import Config
from crossgrade.domain import Offer, Variant, Workload
from crossgrade.errors import CrossgradeError
from crossgrade.identity import UNREADABLE, DossierBasis, rules_in_force

if TYPE_CHECKING:
    from crossgrade.providers.models import InstalledModel

_ENGINE = "xllamacpp"


def needs_dossiers(config: Config) -> bool:
    """Return whether an access rule asks for dossiers."""
    return any(rule.evidence == "dossier" for rule in config.access)


def dossier_basis(config: Config, workload: Workload, environ: Mapping[str, str]) -> DossierBasis:
    """Return the basis of a workload's models, by offer and `domain.BasisPart`.

    Weights that are not on this machine, and their engine, have no digest: their provider may change them
    unseen.
    """
    rules = rules_in_force(config.access, config.serving.issuers, config.routes.values())
    access = "none" if rules is None else rules.digest
    return {
        each.name: {**_parts(each, config, environ), "access": access}
        for each in (workload.incumbent, *workload.candidates)
    }


def gateway_basis(
    config: Config, environ: Mapping[str, str]
) -> Mapping[str, Mapping[str, Mapping[str, str]]]:
    """Return what the gateway compares dossiers with: by workload of a gated route, its models' basis."""
    names = {each.workload for each in config.routes.values() if each.gated and each.workload is not None}
    return {
        name: dossier_basis(config, config.workloads[name], environ)
        for name in sorted(names)
        if name in config.workloads
    }


def is_local(offer: Offer) -> bool:
    """Return whether a model runs on this machine, from a file."""
    return offer.provider == "local" and offer.base_url is None


def local_engine() -> str:
    """Return the engine that serves local models, and its version."""
    try:
        return f"{_ENGINE} {version(_ENGINE)}"
    except PackageNotFoundError:
        return f"{_ENGINE}, not installed here"


def _parts(variant: Variant, config: Config, environ: Mapping[str, str]) -> dict[str, str]:
    offer = variant.offer
    replicas = [_endpoint(config.offers[name]) for name in offer.replicas]
    parts = {
        "model": _digest((_endpoint(offer), replicas)),
        "template": _digest(variant.prompt),
        "settings": _digest(variant.settings),
    }
    if is_local(offer):
        parts |= {"weights": weights_digest(offer, config.root, environ), "engine": local_engine()}
    return parts


def _endpoint(offer: Offer) -> tuple[str | None, ...]:
    endpoint = offer.name, offer.provider, offer.model, offer.base_url, offer.region
    return endpoint if offer.adapter is None else (*endpoint, offer.adapter)


def weights_digest(offer: Offer, root: Path, environ: Mapping[str, str]) -> str:
    """Return the SHA-256 of a local model's files, each read again if it has changed."""
    from crossgrade.providers.adapters import find_adapter, weights_name

    found = installed_model(offer, root, environ)
    if found is None:
        return UNREADABLE
    try:
        return weights_name(found, find_adapter(offer.adapter, found, root=root))
    except CrossgradeError:
        return UNREADABLE


def installed_model(offer: Offer, root: Path, environ: Mapping[str, str]) -> "InstalledModel | None":
    """Return the file of a local model with its verified digest, None if it is gone or was changed."""
    from crossgrade.providers.models import (
        ModelShelf,
        models_home,
    )  # here: it brings aiohttp into a supervisor

    try:
        return ModelShelf(models_home(environ)).find(offer.model, root=root)
    except CrossgradeError:
        return None


def local_weights(variants: Iterable[Variant], root: Path, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the digests of the files of local models, by variant."""
    return {each.name: weights_digest(each.offer, root, environ) for each in variants if is_local(each.offer)}


def _digest(value: object) -> str:
    return f"sha256:{sha256(msgspec.json.encode(value, order='deterministic')).hexdigest()}"
