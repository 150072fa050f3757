"""Who is calling, by key or by token, and whether they may use a route."""

from crossgrade.domain import RouteSpec
from crossgrade.errors import AccessError
from crossgrade.identity._text import PREFIX
from crossgrade.identity.keyring import Keyring
from crossgrade.identity.principal import Principal
from crossgrade.identity.tokens import TokenVerifier

_PREFIX = PREFIX.encode()


def authenticate(
    token: bytes | None, *, keys: Keyring, tokens: TokenVerifier | None, now: float
) -> Principal:
    """Return who sent a key or an access token at `now` (seconds since 1970); raises AccessError.

    `tokens` is None where no issuer is configured. Default is closed: None sent is nobody.
    """
    if not token:
        raise AccessError("no key was sent", reason="no_key")
    if token.startswith(_PREFIX) or tokens is None:
        principal = keys.principal(token, now)
        if principal is None:
            raise keys.refusal(token, now)
        return principal
    return tokens.principal(token, now)


def check_route(principal: Principal, route: RouteSpec) -> None:
    """Raise AccessError (403) that names the rule where a caller may not use a route.

    A key that names routes is held to them, and the route's tiers and teams hold besides.
    """
    if principal.routes and route.name not in principal.routes:
        rule = f"the key is for {', '.join(principal.routes)}"
    elif route.tiers and principal.tier not in route.tiers:
        rule = f"it is for tier {' or '.join(route.tiers)}, and the caller has {principal.tier or 'none'}"
    elif route.teams and principal.team not in route.teams:
        rule = f"it is for team {' or '.join(route.teams)}, and the caller is of {principal.team or 'none'}"
    else:
        return
    raise AccessError(
        f"{principal.id} may not use route {route.name}: {rule}",
        reason="route_denied",
        status=403,
        hint="use another route, or ask whoever runs the gateway",
    )
