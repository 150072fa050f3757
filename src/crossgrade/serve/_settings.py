"""From the project's configuration to the settings of workers."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from importlib.util import find_spec
from pathlib import Path

from crossgrade.dialects import Host, host_named, key_variable
from crossgrade.domain import REDIS_URL_ENV, Clause, Offer, Price, heads_of
from crossgrade.errors import ConfigError, CrossgradeError, MissingExtraError
from crossgrade.gateway import GatewaySettings, Target
from crossgrade.identity import DossierBasis, Dossiers, needless_rules, ungiven_tiers
from crossgrade.project import OfferPair, Project, ends_at, gateway_basis, needs_dossiers
from crossgrade.routing import Route
from crossgrade.serve._local import LOCAL_KEY_ENV


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """Settings, the local offers that must be started for them, and warnings."""

    settings: GatewaySettings
    local: tuple[Offer, ...]
    warnings: tuple[str, ...]


def state_folder(project: Project) -> Path:
    """Return the folder that the gateway's processes share."""
    return project.config.root / ".crossgrade"


def compile_settings(
    project: Project, environ: Mapping[str, str], local_urls: Mapping[str, str] | None = None
) -> Compiled:
    """Resolve offers into targets: address, key's variable, today's price.

    `local_urls` are the addresses of local model servers by offer. Without them, local targets are left out,
    and their offers are returned to be started.

    Raises ConfigError with the place of an offer that is a route's incumbent or takes its place one day, and
    has no address or key. Any other such offer, and an incumbent that has ended, is left out with a warning.
    Raises ConfigError for a route whose incumbent has ended or ends within 7 days, if nobody takes its place.
    Within 90 days that is a warning. Raises ConfigError if the ledger is to keep texts and has no key that
    encrypts them. Raises MissingExtraError if tokens are accepted and the
    library that verifies them is missing, and MissingExtraError or UsageError if limits are counted in Redis
    and no client can be created.
    """
    config = project.config
    heads = heads_of(config.offers.values())
    _check_needs(project, environ)
    today = datetime.now(UTC).date()
    lacks = list(_lacks(project, today))
    ends_on = {name: project.ends_on(offer, today) for name, offer in config.offers.items()}
    ended = {name for name, day in ends_on.items() if day is not None and day <= today}
    incumbents = {route.incumbent for route in config.routes.values()} - ended
    successors = {route.successor for route in config.routes.values()}
    used = _used_offers(project)
    local_urls = local_urls or {}
    targets: list[Target] = []
    warnings = [f"ignored: {each}" for each in config.ignored]
    local: list[Offer] = []
    for offer in config.offers.values():
        if offer.provider == "local" and offer.base_url is None:
            if offer.name in used:
                local.append(offer)
            if offer.name in local_urls:
                targets.append(_local_target(offer, local_urls[offer.name], project.price_of(offer)))
            continue
        try:
            targets.append(_target(offer, environ, project.price_of(offer)))
        except CrossgradeError as error:
            if offer.name in incumbents | successors:
                raise config.error(
                    f"models.{offer.name}",
                    error.message,
                    error.hint,
                    code="incumbent-without-key" if offer.name in incumbents else "successor-without-key",
                ) from error
            if offer.name in used:
                warnings.append(f"{error.message}: it gets no requests ({error.hint})")
    counts_money = [limit for limit in config.serving.limits if limit.unit == "usd"]
    unpriced = [
        target.name for target in targets if target.price is None or target.price.input_per_mtok is None
    ]
    if counts_money and unpriced:
        what = "refuse it" if config.serving.unpriced == "refuse" else "do not count it"
        warnings.append(f"the price of {', '.join(unpriced)} is unknown: budgets in dollars {what}")
    folder, basis = state_folder(project), _dossier_basis(project)
    blocking = {name: clause for name in config.offers if (clause := _blocking(project, name)) is not None}
    pairs = project.pairs()
    unlike = {(each.model, each.other) for each in pairs if each.differs}
    warnings += [
        *lacks,
        *_unsigned(project),
        *_stepped_back(project),
        *_not_allowed(project, blocking),
        *_unlike(pairs),
        *_closed(project),
        *_ungiven(project),
        *_undocumented(project, basis),
    ]
    settings = GatewaySettings(
        serving=config.serving,
        routes=tuple(
            replace(
                route,
                fallbacks=tuple(
                    name
                    for name in route.fallbacks
                    if name not in blocking and (route.incumbent, name) not in unlike
                ),
                successor=None if route.successor in blocking else route.successor,
            )
            for route in config.routes.values()
        ),
        targets=tuple(
            _held_to(replace(target, replica_of=heads.get(target.name)), blocking.get(target.name))
            for target in targets
            if (heads.get(target.name), target.name) not in unlike
        ),
        state=str(folder),
        broker=str(folder / "serve" / "broker.sock"),
        hosts=tuple(  # a model at such a host's address may name another provider
            row
            for name, row in project.plugins.hosts.items()
            if row.choosing_fields or name in {target.provider for target in targets}
        ),
        dialects={
            name: place
            for name, place in project.plugins.dialects.items()
            if name in {target.dialect for target in targets}
        },
        access=config.access,
        dossier_basis=basis,
        ends_at={name: ends_at(day) for name, day in ends_on.items() if day is not None},
        ledger=config.ledger,
    )
    return Compiled(settings=settings, local=tuple(local), warnings=tuple(warnings))


def _dossier_basis(project: Project) -> Mapping[str, DossierBasis]:
    """Return what dossiers are compared with if a rule asks for any."""
    return gateway_basis(project.config, project.environ) if needs_dossiers(project.config) else {}


def _undocumented(project: Project, basis: Mapping[str, DossierBasis]) -> Iterator[str]:
    """Yield a warning for each route whose rules ask for a dossier that does not count now."""
    if not basis:
        return
    now, config = datetime.now(UTC).timestamp(), project.config
    dossiers = Dossiers((each.mark for each in project.store.dossiers.newest()), basis)
    followed = {route.name: route.verdict_id for route in _table_routes(project)}
    asking = [rule for rule in config.access if rule.evidence == "dossier"]
    for route in config.routes.values():
        if not route.gated or not any(rule.reaches(route.name, route.workload) for rule in asking):
            continue
        if route.workload is None:
            yield (
                f"route {route.name}: its rules ask for a dossier, and it names no workload that one could "
                "be of; add its `workload`"
            )
            continue
        found = dossiers.of(route.workload, followed.get(route.name)).get(route.incumbent)
        why = "none covers its incumbent" if found is None else found.problem(now)
        if why is not None:
            yield (
                f"route {route.name}: its rules ask for a dossier, and {why}; make one with "
                f"`crossgrade dossier {route.workload}`"
            )


def _lacks(project: Project, today: date) -> Iterator[str]:
    """Yield a warning for each route that nobody answers from a day on that is at most 90 days away.

    Raises ConfigError where that is at most 7 days away, or past.
    """
    for spec in project.config.routes.values():
        each = project.succession(spec, today)
        lack = each.lack(today)
        if lack is not None and each.is_due(today):
            raise project.config.error(f"routes.{each.route}", lack.message, lack.hint, code=lack.code)
        if lack is not None:
            yield f"{lack.message}; {lack.hint}"


def _unsigned(project: Project) -> Iterator[str]:
    """Yield a warning if requests are entered into a ledger that nobody signs.

    Raises ConfigError if texts are to be kept, and there is no key that encrypts them.
    """
    config = project.config
    names = [route.name for route in config.routes.values() if route.ledger != "off"]
    if not names:
        return
    secrets, hint = project.store.ledger.secrets, "make its keys with `crossgrade audit init NAME`"
    if config.ledger.keep_texts and secrets.wrapping_key() is None:
        message = "the ledger has no key to encrypt texts with"
        raise config.error("ledger.keep_texts", message, hint, code="ledger-without-key")
    if secrets.signer() is None or secrets.wrapping_key() is None:
        yield (
            f"the ledger has no keys: entries about requests of {', '.join(names)} are not signed, nor can "
            f"anybody show later which text they commit to; {hint}"
        )


def _check_needs(project: Project, environ: Mapping[str, str]) -> None:
    """Refuse what would start, report that it is ready, and then fail every request."""
    if project.config.serving.issuers and find_spec("joserfc") is None:
        raise MissingExtraError("accepting access tokens (`serve.issuers`)", "serve")
    if project.config.store.startswith("postgres"):
        try:
            import psycopg  # noqa: F401  # it can be installed without the library that it needs
        except ImportError as error:
            raise MissingExtraError("a PostgreSQL database", "postgres") from error
    if redis_url := environ.get(REDIS_URL_ENV):
        from crossgrade.serve._redis import redis_client

        redis_client(redis_url).close()


def _used_offers(project: Project) -> set[str]:
    """Return the offers that routes may use, by the configuration or by the active route table."""
    config = project.config
    names = {name for route in config.routes.values() for name in route.fallbacks}
    for route in config.routes.values():
        if route.workload is not None:
            workload = config.workloads[route.workload]
            names.update(variant.offer.name for variant in (workload.incumbent, *workload.candidates))
    for each in _table_routes(project):
        names.update(each.targets.values())
    for route in config.routes.values():
        names |= {route.incumbent} if route.successor is None else {route.incumbent, route.successor}
    return {each for name in names & set(config.offers) for each in (name, *config.offers[name].replicas)}


def _stepped_back(project: Project) -> list[str]:
    """Return a warning for each route whose candidate is in no allowed region."""
    config = project.config
    regions = {offer.name: offer.region for offer in config.offers.values()}
    warnings = []
    for route in _table_routes(project):
        spec = config.routes.get(route.name)
        offer = None if spec is None else route.outside(spec.regions, regions)
        if spec is not None and offer is not None:
            allowed = ", ".join(spec.regions)
            warnings.append(
                f"route {route.name}: {offer} is in no region that workload {spec.workload} allows "
                f"({allowed}), so the incumbent answers; evaluate a candidate that is, or set its `region`"
            )
    return warnings


def _blocking(project: Project, model: str) -> Clause | None:
    return next((clause for clause in project.clauses_of(model) if clause.blocks), None)


def _held_to(target: Target, clause: Clause | None) -> Target:
    """Return a target with the clause that keeps traffic from it, if there is one."""
    if clause is None:
        return target
    return replace(target, blocked=clause.code, is_forbidden=clause.severity == "forbidden")


def _not_allowed(project: Project, blocking: Mapping[str, Clause]) -> list[str]:
    """Return a warning for each model that a route may not use beside its incumbent."""
    asked = [
        (each.name, each.targets[each.policy.candidate], "the incumbent answers")
        for each in _table_routes(project)
        if each.name in project.config.routes and each.policy.candidate is not None
    ]
    for route in project.config.routes.values():
        asked += [(route.name, fallback, "it is no fallback") for fallback in route.fallbacks]
        if route.successor is not None:
            asked.append((route.name, route.successor, "it takes no incumbent's place"))
    return [
        f"route {name}: {model} is {clause.severity} ({clause.code}), so {effect}; {clause.words} "
        f"If you may use it, say why under `team.permitted`: {clause.permission}"
        for name, model, effect in asked
        if (clause := blocking.get(model)) is not None
    ]


def _unlike(pairs: Iterable[OfferPair]) -> Iterator[str]:
    """Yield a warning for each replica or fallback that differs from its model or was not compared."""
    for pair in pairs:
        what = "replica" if pair.is_replica else "fallback"
        if pair.differs:
            yield f"{pair.words}, so {pair.other} is no {what} of {pair.model}: it gets none of its requests"
        elif not pair.is_compared:
            yield pair.words


def _closed(project: Project) -> list[str]:
    """Return a warning for each access rule that never matches, and each route that no rule opens."""
    config = project.config
    gated = [route for route in config.routes.values() if route.gated]
    warnings = [
        f"access rule {rule.name} never matches: rule {earlier.name} before it matches the same requests"
        for rule, earlier in needless_rules(config.access, gated)
    ]
    return warnings + [
        f"route {route.name} is gated and no access rule allows anything on it, so it refuses every request"
        for route in gated
        if not any(rule.allow and rule.reaches(route.name, route.workload) for rule in config.access)
    ]


def _ungiven(project: Project) -> Iterator[str]:
    """Yield a warning for each tier of an access rule that no issuer gives and no key has."""
    config = project.config
    if not any(ungiven_tiers(config.access, config.serving.issuers)):
        return
    held = {record.tier for record in project.store.keys.records()} - {""}
    for rule, tier, meant in ungiven_tiers(config.access, config.serving.issuers, held):
        hint = f"did you mean {meant}?" if meant else f"make a key with `--tier {tier}`, or leave it out"
        yield f"access rule {rule.name}: no issuer of the rule gives tier {tier}, and no key has it; {hint}"


def _table_routes(project: Project) -> tuple[Route, ...]:
    from crossgrade.routing import read_route_table

    path = state_folder(project) / "routes.json"
    try:
        table = read_route_table(path.read_bytes(), file=str(path))
    except (OSError, ConfigError):
        return ()  # workers log what is wrong with it
    return table.routes


def _target(offer: Offer, environ: Mapping[str, str], price: Price | None) -> Target:
    host = host_named(offer.provider)
    return _priced(offer, host, offer.base_url or host.url(environ), key_variable(offer, environ), price)


def _local_target(offer: Offer, url: str, price: Price | None) -> Target:
    return _priced(offer, host_named("local"), url, LOCAL_KEY_ENV, price)


def _priced(offer: Offer, host: Host, url: str, key_env: str | None, price: Price | None) -> Target:
    return Target(
        name=offer.name,
        provider=offer.provider,
        dialect=host.dialect,
        base_url=url,
        model=offer.model,
        key_env=key_env,
        key_header=host.key_header,
        key_prefix=host.key_prefix,
        headers=host.headers,
        stream_usage=host.stream_usage,
        max_tokens_field=host.max_tokens_field,
        price=price,
        region=offer.region,
        timeout_s=offer.timeout_s,
        weight=offer.weight,
        caller_fields=offer.caller_fields,
        context_tokens=offer.context_tokens,
    )
