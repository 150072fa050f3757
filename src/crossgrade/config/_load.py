"""Read crossgrade.yaml once: the whole configuration, or every problem in it."""

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from pydantic import ValidationError

from crossgrade.config._access import AccessResolver
from crossgrade.config._litellm import import_litellm, is_litellm
from crossgrade.config._problems import raise_problems, schema_problems, secret_problems
from crossgrade.config._resolve import Resolver, with_overrides
from crossgrade.config._schema import ConfigFile
from crossgrade.config._serving import ServingResolver
from crossgrade.config._trust import DossierResolver
from crossgrade.config._yaml import Position, YamlTree, read_yaml
from crossgrade.dialects import BUILT_IN_HOSTS, Host
from crossgrade.domain import (
    AccessRule,
    DossierSpec,
    LedgerSpec,
    Offer,
    RouteSpec,
    SafetySuite,
    Serving,
    Team,
    Watching,
    Workload,
)
from crossgrade.errors import ConfigError

DATABASE_URL_VARIABLE = "CROSSGRADE_DATABASE_URL"
SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A valid configuration as domain objects.

    `root` is the folder of the file; every path lies below it. `store` is an absolute path or
    a database URL. `canonical` is the configuration as read, with defaults written out, as
    JSON with sorted keys (paths as in the file, no secrets), and `digest` its SHA-256 in hex:
    `config validate` shows the digest. `plugins` are the packages that it names. `ignored` is what a LiteLLM
    file has beyond what was made of it.
    """

    path: Path
    root: Path
    offers: Mapping[str, Offer]
    workloads: Mapping[str, Workload]
    suites: Mapping[str, SafetySuite]
    routes: Mapping[str, RouteSpec]
    serving: Serving
    access: tuple[AccessRule, ...]
    watching: Watching
    ledger: LedgerSpec
    dossier: DossierSpec
    store: str
    price_files: tuple[Path, ...]
    team: Team
    valid_days: int | None
    canonical: str
    digest: str
    tree: YamlTree
    plugins: tuple[str, ...] = ()
    is_litellm: bool = False
    ignored: tuple[str, ...] = ()

    def locate(self, where: str) -> Position | None:
        """Return line and column of a key (`workloads.support.scorer.options.x`) or its nearest parent."""
        return self.tree.locate(where)

    def error(self, where: str, message: str, hint: str | None = None, *, code: str) -> ConfigError:
        """Make a ConfigError that points at a key, for rules that other rooms check."""
        return self.tree.error(where, message, hint, code=code)


HostsOf: TypeAlias = Callable[[Sequence[str]], Mapping[str, Host]]
"""Returns the hosts that a configuration may name, built-in ones and those of the packages it names."""


def load_config(
    path: str | Path, *, environ: Mapping[str, str] = os.environ, hosts_of: HostsOf = lambda _: BUILT_IN_HOSTS
) -> Config:
    """Read and check a configuration file: crossgrade.yaml, or a LiteLLM `config.yaml` as it is.

    Raises ConfigError for a file that cannot be read as YAML and InvalidConfigError, with all
    problems, for one that breaks rules: secrets first, then shape, then names and paths. Reads
    nothing but this file; whether datasets exist is seen when they are used. `hosts_of` loads the
    plugins that are named.
    """
    path = Path(path)
    tree = read_yaml(path)
    imported = None
    if is_litellm(tree):
        imported = import_litellm(tree, environ, _hosts(tree, hosts_of, _named_plugins(tree)))
    tree = imported.tree if imported else tree
    raise_problems(secret_problems(tree))  # alone, so that no other message can repeat one
    if tree.data is None:
        raise tree.error("", "the file is empty", "write one with `crossgrade init`", code="config-empty")
    try:
        file = with_overrides(ConfigFile.model_validate_json(msgspec.json.encode(tree.data)))
    except ValidationError as error:
        raise_problems(schema_problems(tree, error))
        raise AssertionError from error
    resolver = Resolver(tree, [], path.parent.resolve(), _hosts(tree, hosts_of, file.plugins))
    offers = resolver.offers(file)
    workloads = resolver.workloads(file, offers)
    serving = ServingResolver(tree, resolver.problems, offers, workloads, resolver.heads)
    routes = serving.routes(file)
    store = environ.get(DATABASE_URL_VARIABLE) or _store(resolver, file.store)
    price_files = tuple(
        resolver.path(f"price_files.{index}", text) for index, text in enumerate(file.price_files)
    )
    team = resolver.team(file, offers)
    serve, watch = serving.serving(file.serve, routes), serving.watching(file.watch)
    access = AccessResolver(tree, resolver.problems, offers, workloads, resolver.heads, routes, serve)
    rules = access.rules(file.access)
    ledger = serving.ledger(file.ledger)
    dossiers = DossierResolver(tree, resolver.problems, resolver.path, offers, workloads)
    dossier = dossiers.spec(file.dossier)
    raise_problems(resolver.problems)
    canonical = msgspec.json.encode(file.model_dump(mode="json"), order="deterministic")
    return Config(
        path=path,
        root=resolver.root,
        offers=offers,
        workloads=workloads,
        suites=resolver.suites,
        routes=routes,
        serving=serve,
        access=rules,
        watching=watch,
        ledger=ledger,
        dossier=dossier,
        store=store,
        price_files=price_files,
        team=team,
        valid_days=file.valid_days,
        canonical=canonical.decode(),
        digest=hashlib.sha256(canonical).hexdigest(),
        tree=tree,
        plugins=tuple(file.plugins),
        is_litellm=imported is not None,
        ignored=imported.ignored if imported else (),
    )


def config_schema() -> dict[str, Any]:
    """Return the JSON schema of crossgrade.yaml, for editors."""
    schema = ConfigFile.model_json_schema()
    return {"$schema": SCHEMA_ID, **schema, "title": "crossgrade.yaml"}


def _hosts(tree: YamlTree, hosts_of: HostsOf, plugins: Sequence[str]) -> Mapping[str, Host]:
    try:
        return hosts_of(plugins)
    except ConfigError as error:
        raise tree.error(error.where or "plugins", error.message, error.hint, code=error.code) from error


def _named_plugins(tree: YamlTree) -> Sequence[str]:
    """Return the plugins that a LiteLLM file names beside its own sections, before its shape is checked."""
    found = tree.data.get("plugins") if isinstance(tree.data, Mapping) else None
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _store(resolver: Resolver, text: str) -> str:
    return text if "://" in text else str(resolver.path("store", text))
