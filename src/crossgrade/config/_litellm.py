"""A LiteLLM `config.yaml` as ours: deployments become models, their groups routes; the rest is named.

It is read like crossgrade.yaml: strictly, no tags, bounded. Nothing of it is imported or called;
settings that have no counterpart are listed, never guessed.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from crossgrade.config._litellm_models import (
    CARRIED_PARAMETERS,
    SERVED_MODES,
    UnservedError,
    base_url_of,
    provider_of,
)
from crossgrade.config._problems import is_same_model
from crossgrade.config._yaml import KEY_SEEN, Position, YamlTree, looks_secret
from crossgrade.dialects import BUILT_IN_HOSTS, Host

_ENVIRONMENT = "os.environ/"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_CLIENT_NAME = re.compile(r"[!-~]{1,200}")
_COSTS = {
    "input_cost_per_token": "input_per_mtok",
    "output_cost_per_token": "output_per_mtok",
    "cache_read_input_token_cost": "cache_read_per_mtok",
    "cache_creation_input_token_cost": "cache_creation_per_mtok",
}
_RATES = {
    "rpm": ("requests", "minute"),
    "tpm": ("tokens", "minute"),
    "max_parallel_requests": ("parallel", None),
}
_OURS = ("workloads", "watch", "store", "valid_days", "plugins")
_BESIDE = frozenset({*_OURS, "routes", "serve"})
"""Sections of our own that may stand beside LiteLLM's; `routes` and `serve` are merged."""

_WHY = {
    "general_settings.master_key": "keys are made with `crossgrade keys create`",
    "general_settings.database_url": "records are kept in the project's own store",
    "environment_variables": "set them in the environment of `crossgrade serve`",
    "router_settings.routing_strategy": "the deployments of a name are picked by weight",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedConfig:
    """The file as our data, with each of our keys at its place in the file, and what was ignored, where."""

    tree: YamlTree
    ignored: tuple[str, ...]


_WEIGHTS = ("weight", "rpm", "tpm")
"""By which deployments of a name are picked: the first of these that one of them has, as LiteLLM does."""


@dataclass(frozen=True, slots=True)
class _Deployment:
    offer: str
    order: float
    shares: Mapping[str, float]


@dataclass(slots=True)
class _Group:
    """Deployments that clients ask for by one name; those of a lower `order` come before the others."""

    name: str
    where: str
    deployments: list[_Deployment] = field(default_factory=list)
    rates: dict[str, list[float]] = field(default_factory=dict)


def is_litellm(tree: YamlTree) -> bool:
    """Tell whether a file is LiteLLM's: it lists `model_list`, and none of our `models`."""
    return isinstance(tree.data, Mapping) and "model_list" in tree.data and "models" not in tree.data


def import_litellm(
    tree: YamlTree, environ: Mapping[str, str], hosts: Mapping[str, Host] = BUILT_IN_HOSTS
) -> ImportedConfig:
    """Return a LiteLLM file as ours; `os.environ/NAME` in an `api_base` is read from `environ`.

    Raises ConfigError for a file without a deployment that can be served, and for literal keys.
    """
    return _Importer(tree, environ, hosts).run()


class _Importer:
    def __init__(self, tree: YamlTree, environ: Mapping[str, str], hosts: Mapping[str, Host]) -> None:
        self._tree = tree
        self._hosts = hosts
        self._environ = environ
        self._ignored: list[tuple[Position, str]] = []
        self._models: dict[str, Any] = {}
        self._routes: dict[str, Any] = {}
        self._limits: list[dict[str, Any]] = []
        self._groups: dict[str, _Group] = {}
        self._places: dict[str, str] = {}

    def run(self) -> ImportedConfig:
        top = _mapping(self._tree.data)
        entries = top.get("model_list")
        if not isinstance(entries, Sequence) or isinstance(entries, str):
            raise self._tree.error(
                "model_list",
                "`model_list` must be a list",
                "see LiteLLM's documentation",
                code="litellm-file-invalid",
            )
        for index, entry in enumerate(entries):
            self._deployment(f"model_list.{index}", _mapping(entry))
        settings = _mapping(top.get("router_settings")), _mapping(top.get("litellm_settings"))
        for group in self._groups.values():
            self._route(group, settings)
        if not self._routes:
            raise self._tree.error(
                "model_list",
                "no deployment of this file can be served",
                self._why(),
                code="litellm-nothing-served",
            )
        self._fallbacks(settings)
        self._aliases(settings[0])
        self._name_the_rest(top)
        data = self._with_ours(top)
        positions = {
            ours: position
            for ours, theirs in self._places.items()
            if (position := self._tree.locate(theirs)) is not None
        }
        positions |= {at: place for at, place in self._tree.positions.items() if _section(at) in _BESIDE}
        ours = YamlTree(file=self._tree.file, data=data, positions=positions)
        return ImportedConfig(tree=ours, ignored=tuple(said for _, said in sorted(self._ignored)))

    def _with_ours(self, top: Mapping[str, Any]) -> dict[str, Any]:
        """Return the whole file: LiteLLM's part as ours, and our own sections."""
        routes = dict(self._routes)
        for name, section in _mapping(top.get("routes")).items():
            routes[name] = {**routes.get(name, {}), **_mapping(section)}
        serve = dict(_mapping(top.get("serve")))
        if self._limits:
            serve["limits"] = [*self._limits, *_list(serve.get("limits"))]
        return {
            "models": self._models,
            "routes": routes,
            "serve": serve,
            **{section: top[section] for section in _OURS if section in top},
        }

    def _why(self) -> str:
        return self._ignored[0][1] if self._ignored else "list at least one under `model_list`"

    def _ignore(self, where: str, why: str = "has no counterpart here") -> None:
        line, column = self._tree.locate(where) or (0, 0)
        self._ignored.append(((line, column), f"{self._tree.file}:{line}:{column}  {where}: {why}"))

    def _deployment(self, where: str, entry: Mapping[str, Any]) -> None:
        """Turn an entry of `model_list` into a model, or say why it is left out."""
        name, parameters = entry.get("model_name"), _mapping(entry.get("litellm_params"))
        info = _mapping(entry.get("model_info"))
        try:
            if not isinstance(name, str) or not _CLIENT_NAME.fullmatch(name):
                raise UnservedError("`model_name` must be a text without spaces")
            if info.get("mode", "chat") not in SERVED_MODES:
                raise UnservedError(f"requests of mode {info['mode']!r} are not served")
            provider, model = provider_of(parameters, self._hosts)
            model_entry: dict[str, Any] = {"provider": provider, "model": model}
            base = base_url_of(provider, self._base(parameters))
            if base is not None:
                model_entry["base_url"] = base
        except UnservedError as error:
            self._ignore(where, f"left out: {error}")
            return
        model_entry |= self._key(f"{where}.litellm_params.api_key", parameters)
        model_entry |= _prices({**info, **parameters})
        if _is_number(parameters.get("timeout")):
            model_entry["timeout_s"] = float(parameters["timeout"])
        for key in parameters.keys() - CARRIED_PARAMETERS:
            self._ignore(f"{where}.litellm_params.{key}")
        group = self._groups.setdefault(name, _Group(name=name, where=where))
        offer = self._add_model(name, model_entry, where)
        order = float(parameters["order"]) if _is_number(parameters.get("order")) else 0.0
        given = {each: parameters.get(each, entry.get(each)) for each in _WEIGHTS}
        shares = {each: float(share) for each, share in given.items() if _is_number(share)}
        group.deployments.append(_Deployment(offer, order, shares))
        for rate in _RATES:
            value = parameters.get(rate, entry.get(rate))
            if _is_number(value):
                group.rates.setdefault(rate, []).append(float(value))

    def _add_model(self, name: str, entry: dict[str, Any], where: str) -> str:
        offer = _fresh(_slug(name), self._models)
        self._models[offer] = entry
        self._places[f"models.{offer}"] = where
        return offer

    def _base(self, parameters: Mapping[str, Any]) -> str | None:
        """Return the address that an entry names, read from the environment if it says so."""
        base = parameters.get("api_base", parameters.get("base_url"))
        if not isinstance(base, str):
            return None
        if not base.startswith(_ENVIRONMENT):
            return base
        variable = base.removeprefix(_ENVIRONMENT)
        if not self._environ.get(variable):
            raise UnservedError(f"its address is in {variable}, which is not set")
        return self._environ[variable]

    def _key(self, where: str, parameters: Mapping[str, Any]) -> dict[str, str]:
        """Return the variable with an entry's key; a literal one is never taken over."""
        key = parameters.get("api_key")
        if not isinstance(key, str):
            return {}
        variable = key.removeprefix(_ENVIRONMENT)
        if key.startswith(_ENVIRONMENT) and _VARIABLE.fullmatch(variable):
            return {"api_key_env": variable}
        if looks_secret(key):
            hint = f"put it into an environment variable, and write `api_key: {_ENVIRONMENT}NAME`"
            raise self._tree.error(where, KEY_SEEN, hint, code="secret-in-file")
        self._ignore(where, f"a literal key is not taken over; write `{_ENVIRONMENT}NAME`")
        return {}

    def _route(self, group: _Group, settings: Sequence[Mapping[str, Any]]) -> None:
        route = _fresh(_slug(group.name), self._routes)
        first, *others = self._balanced(group)
        section: dict[str, Any] = {"incumbent": first}
        if route != group.name:
            section["models"] = [group.name]
        if others:
            section["fallbacks"] = others
        retries = next((each["num_retries"] for each in settings if _is_count(each.get("num_retries"))), None)
        if retries is not None:
            section["attempts"] = min(max(retries + 1, 1), 10)
        self._routes[route] = section
        self._places[f"routes.{route}"] = group.where
        for rate, values in group.rates.items():
            if len(values) == len(group.deployments):
                unit, per = _RATES[rate]
                limit = {"scope": "route", "match": route, "unit": unit, "cap": sum(values)}
                self._limits.append(limit if per is None else {**limit, "per": per})
            else:
                self._ignore(group.where, f"{group.name}: `{rate}` is not on all of its deployments")

    def _balanced(self, group: _Group) -> list[str]:
        """Let deployments of one model and order share its requests; return one of each model, in order."""
        heads: list[str] = []
        for order in sorted({each.order for each in group.deployments}):
            same = [each for each in group.deployments if each.order == order]
            share = next((name for name in _WEIGHTS if any(each.shares.get(name) for each in same)), None)
            kinds: list[list[_Deployment]] = []
            for each in same:
                kind = next((kind for kind in kinds if self._are_one_model(kind[0], each)), None)
                if kind is None:
                    kinds.append([each])
                else:
                    kind.append(each)
            if len(kinds) > 1:
                names = ", ".join(kind[0].offer for kind in kinds)
                why = f"{names} are not one model at one provider: they are tried in order, not balanced"
                self._ignore(group.where, f"{group.name}: {why}")
            heads += [self._head(kind, share) for kind in kinds]
        return heads

    def _are_one_model(self, one: _Deployment, other: _Deployment) -> bool:
        first, second = self._models[one.offer], self._models[other.offer]
        return is_same_model(first["provider"], first["model"], second["provider"], second["model"])

    def _head(self, kind: Sequence[_Deployment], share: str | None) -> str:
        """Make deployments replicas of the first, with their shares."""
        head, *others = (each.offer for each in kind)
        if others:
            self._models[head]["replicas"] = others
            for each in kind if share is not None else ():
                self._models[each.offer]["weight"] = each.shares.get(share or "", 0.0)
        return head

    def _fallbacks(self, settings: Sequence[Mapping[str, Any]]) -> None:
        """Let a route fall back to the first deployments of the groups that are named for it."""
        for name, section in zip(("router_settings", "litellm_settings"), settings, strict=True):
            for entry in _list(section.get("fallbacks")):
                for group, others in _mapping(entry).items():
                    self._fall_back(f"{name}.fallbacks", group, _list(others))
            for group in list(self._groups) if "default_fallbacks" in section else []:
                self._fall_back(f"{name}.default_fallbacks", group, _list(section["default_fallbacks"]))

    def _fall_back(self, where: str, group: str, others: Sequence[Any]) -> None:
        route = self._route_of(group)
        if route is None:
            self._ignore(where, f"there is no deployment named {group!r}")
            return
        section = self._routes[route]
        for other in others:
            target = self._route_of(other)
            if target is None:
                self._ignore(where, f"there is no deployment named {other!r}")
                continue
            offer = self._routes[target]["incumbent"]
            known = [section["incumbent"], *section.get("fallbacks", [])]
            if offer not in known:
                section.setdefault("fallbacks", []).append(offer)

    def _aliases(self, router: Mapping[str, Any]) -> None:
        for alias, target in _mapping(router.get("model_group_alias")).items():
            named = target.get("model") if isinstance(target, Mapping) else target
            route = self._route_of(named)
            if route is None or alias in self._groups or not _CLIENT_NAME.fullmatch(alias):
                where = f"router_settings.model_group_alias.{alias}"
                self._ignore(where, "it names no deployment, or one there is already")
            else:
                self._routes[route].setdefault("models", []).append(alias)

    def _route_of(self, group: Any) -> str | None:
        """Return the route that a client's name leads to."""
        for route, section in self._routes.items():
            if group == route or group in section.get("models", ()):
                return route
        return None

    def _name_the_rest(self, top: Mapping[str, Any]) -> None:
        """List every setting that has no counterpart."""
        carried = {
            "router_settings": {"fallbacks", "default_fallbacks", "num_retries", "model_group_alias"},
            "litellm_settings": {"fallbacks", "default_fallbacks", "num_retries"},
        }
        for section, value in top.items():
            if section == "model_list" or section in _BESIDE:
                continue
            if section == "environment_variables" or not isinstance(value, Mapping):
                self._ignore(section, _WHY.get(section, "has no counterpart here"))
                continue
            for key in value:
                if (section, value[key]) == ("router_settings", "simple-shuffle"):
                    continue  # what is done here too
                if key not in carried.get(section, set()):
                    where = f"{section}.{key}"
                    self._ignore(where, _WHY.get(where, "has no counterpart here"))


def _section(where: str) -> str:
    return where.partition(".")[0]


def _prices(costs: Mapping[str, Any]) -> dict[str, Any]:
    """Return prices per million tokens, without a date, from costs per token."""
    prices = {
        ours: str((Decimal(str(costs[theirs])) * 1_000_000).normalize() + 0)
        for theirs, ours in _COSTS.items()
        if _is_number(costs.get(theirs))
    }
    return {"prices": [{**prices, "source": "LiteLLM's config.yaml"}]} if prices else {}


def _slug(name: str) -> str:
    """Return a name as we allow it."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:60] or "model"


def _fresh(name: str, taken: Mapping[str, Any]) -> str:
    """Return the name, with a number if it is taken."""
    number, fresh = 1, name
    while fresh in taken:
        number += 1
        fresh = f"{name}-{number}"
    return fresh


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
