"""Figures of identity and access, at a whole `crossgrade serve` between two issuers and a fake provider."""

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks._table import Row
from benchmarks._trust_issuer import AUDIENCE, SigningIssuer, issuing
from benchmarks.gateway._served import Served, command, serving
from crossgrade.testing import FakeProvider

ACR, MAX_AGE_S = ("phr", "phrh"), 300
_SUSPENSIONS = 5
_PATIENCE_S = 10.0
_WHERE = "`crossgrade serve`, one worker, two issuers on loopback that sign anything"


@dataclass(frozen=True)
class AccessSite:
    """A gateway with gated routes: `bound` to the first issuer's tier, `deep` after a strong login."""

    served: Served
    first: SigningIssuer
    second: SigningIssuer
    provider: FakeProvider

    def ask(self, token: str, route: str = "open", **headers: str) -> tuple[int, Mapping[str, str], Any]:
        """Ask a route on a connection of its own; return status, headers and body (0 if it was cut)."""
        with socket.create_connection(self.served.address, timeout=_PATIENCE_S) as connection:
            return self.ask_on(connection, token, route, **headers)

    def ask_on(
        self, connection: socket.socket, token: str, route: str = "open", **headers: str
    ) -> tuple[int, Mapping[str, str], Any]:
        """Ask a route on an open connection."""
        body = json.dumps({"model": route, "messages": [{"role": "user", "content": "hi"}]}).encode()
        given = {"host": "localhost", "content-length": str(len(body)), **headers}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in given.items())
        # The token comes as it is: a client library would refuse a line break.
        head = f"POST /v1/chat/completions HTTP/1.1\r\nauthorization: Bearer {token}\r\n{lines}\r\n"
        with contextlib.suppress(OSError):  # a head that is too large is not read to its end
            connection.sendall(head.encode() + body)
        return _read(connection)


@contextlib.contextmanager
def access_site(folder: Path) -> Iterator[AccessSite]:
    """Serve the routes that the figures and a test ask."""
    with issuing() as first, issuing() as second, FakeProvider("hello", api_key="sk-behind") as provider:
        model = {
            "provider": "openai-compatible",
            "model": "m",
            "base_url": provider.base_url,
            "api_key_env": "BEHIND",
        }
        tiers = [{"claim": "tier", "operator": "equals", "value": tier, "tier": tier} for tier in _TIERS]
        issuers = [{"issuer": each.url, "audience": AUDIENCE, "rules": tiers} for each in (first, second)]
        config = {
            "models": {"current": model},
            "routes": {
                "open": {"incumbent": "current"},
                "bound": {"incumbent": "current", "gated": True},
                "deep": {"incumbent": "current", "gated": True},
            },
            "serve": {"issuers": issuers},
            "access": {
                "rules": [
                    {"name": "bound", "issuers": [first.url], "tiers": ["cleared"], "routes": ["bound"]},
                    {
                        "name": "deep",
                        "routes": ["deep"],
                        "login": {"acr": list(ACR), "max_age_s": MAX_AGE_S},
                    },
                ]
            },
        }
        with serving(folder, config, environ={"BEHIND": "sk-behind"}) as served:
            site = AccessSite(served, first, second, provider)
            for issuer in (first, second):
                _until(partial(_is_answered, site, issuer))
            yield site


_TIERS = ("cleared", "standard")


def access_rows() -> list[Row]:
    """Bad tokens, deficient logins and the tiers of another issuer: how many got through."""
    with TemporaryDirectory(prefix="bench-access-") as folder, access_site(Path(folder)) as site:
        return [*_token_rows(site), *_login_rows(site), *_issuer_rows(site), _suspension_row(site)]


def wrong_logins(now: int) -> dict[str, dict[str, Any]]:
    """Return claims of logins that the route `deep` must not accept, by what is wrong with them."""
    good = {"acr": "phr", "auth_time": now}
    return {
        "no acr, no auth_time": {},
        "no acr": {"auth_time": now},
        "weaker acr": good | {"acr": "pwd"},
        "acr in capitals": good | {"acr": "PHR"},
        "two acr in one text": good | {"acr": "phr phrh"},
        "acr is a list": good | {"acr": ["phr"]},
        "acr is true": good | {"acr": True},
        "acr is an object": good | {"acr": {"values": ["phr"]}},
        "no auth_time": {"acr": "phr"},
        "login too long ago": good | {"auth_time": now - MAX_AGE_S - 5},
        "login in 1970": good | {"auth_time": 0},
        "login before 1970": good | {"auth_time": -now},
        "login in the future": good | {"auth_time": now + 3600},
        "auth_time true": good | {"auth_time": True},
        "auth_time is a text": good | {"auth_time": str(now)},
        "auth_time of 400 digits": good | {"auth_time": 10**400},
        "auth_time is a list": good | {"auth_time": [now]},
    }


def _token_rows(site: AccessSite) -> Iterator[Row]:
    bad = site.first.bad_tokens()
    before = len(site.provider.requests)
    accepted = [name for name, token in bad.items() if not 400 <= site.ask(token)[0] < 500]
    reached = len(site.provider.requests) - before
    yield _none(f"bad tokens accepted, of {len(bad)} kinds", len(accepted), _named(accepted))
    yield _none("requests with a bad token that reached the provider", reached, _WHERE)
    good = [_is_answered(site, issuer) for issuer in (site.first, site.second)]
    yield _none("good tokens refused beside them", good.count(False), f"of {len(good)}")


def _login_rows(site: AccessSite) -> Iterator[Row]:
    now = int(time.time())
    cases = wrong_logins(now)
    missed = []
    for name, claims in cases.items():
        status, headers, body = site.ask(site.first.token(**claims), "deep")
        challenge = headers.get("www-authenticate", "")
        is_asked = (
            status == 401
            and body["error"]["code"] == "insufficient_user_authentication"
            and 'error="insufficient_user_authentication"' in challenge
            and f'acr_values="{" ".join(ACR)}"' in challenge
            and f'max_age="{MAX_AGE_S}"' in challenge
        )
        missed += [] if is_asked else [name]
    figure = f"deficient logins not asked for a stronger one (RFC 9470), of {len(cases)} kinds"
    yield _none(figure, len(missed), _named(missed))
    strong = [{"acr": acr, "auth_time": now - age} for acr in ACR for age in (0, MAX_AGE_S - 60)]
    refused = [each for each in strong if site.ask(site.first.token(**each), "deep")[0] != 200]
    yield _none("strong logins refused beside them", len(refused), f"of {len(strong)}")
    status, _, body = site.ask(site.served.key, "deep")
    told = (status, body["error"]["code"]) == (403, "token_required")
    yield _none("keys not refused where a login is needed", int(not told), "403 `token_required`")


def _issuer_rows(site: AccessSite) -> Iterator[Row]:
    first, second = site.first, site.second
    forged = second.sign(second.header(), second.claims(iss=first.url))
    mixed = {
        "a tier of the same name from the other issuer": second.token(),
        "the other issuer's key, this one's name": forged,
        "this issuer's key, the other one's name": first.sign(first.header(), first.claims(iss=second.url)),
        "this issuer's name with a slash": first.token(iss=f"{first.url}/"),
        "both names in a list": first.token(iss=[first.url, second.url]),
        "another tier of this issuer": first.token(tier="standard"),
        "no tier": first.token(tier=...),
        "the tier in a list": first.token(tier=["cleared"]),
        "a key without a tier": site.served.key,
    }
    through = [name for name, token in mixed.items() if site.ask(token, "bound")[0] == 200]
    yield _none(f"requests through by an issuer mix-up, of {len(mixed)} kinds", len(through), _named(through))
    mine = site.ask(first.token(), "bound")[0] == 200
    yield _none("callers of the named issuer refused", int(not mine), _WHERE)


def _suspension_row(site: AccessSite) -> Row:
    seconds = [_served_after_suspension_s(site, f"user {number}") for number in range(_SUSPENSIONS)]
    return Row(
        figure="suspended caller served on an open connection, longest",
        value=max(seconds),
        unit="s",
        must="<= 1",
        holds=max(seconds) <= 1,
        conditions="from the moment at which `crossgrade access suspend` has written the file, asked every 10 ms",
        spread=f"{_SUSPENSIONS} suspensions",
    )


def _served_after_suspension_s(site: AccessSite, subject: str) -> float:
    """Suspend a user; return how long after that an open connection still gets answers."""
    token, named = site.first.token(sub=subject), ("--issuer", site.first.url, "--subject", subject)
    suspend = partial(command, site.served.folder, "access", "suspend", *named, "--because", "a benchmark")
    with socket.create_connection(site.served.address, timeout=_PATIENCE_S) as connection:
        assert site.ask_on(connection, token)[0] == 200
        other = threading.Thread(target=suspend)
        other.start()  # it needs longer to end than the gateway to see the new file
        _until(lambda: site.ask_on(connection, token)[0] == 403)
        refused_at = time.time()
        other.join()
    return refused_at - (site.served.folder / ".crossgrade" / "keys.json").stat().st_mtime


def _none(figure: str, count: int, conditions: str) -> Row:
    return Row(figure=figure, value=float(count), must="0", aim="0", holds=not count, conditions=conditions)


def _named(names: list[str]) -> str:
    return f"{_WHERE}; {', '.join(names)}" if names else _WHERE


def _read(connection: socket.socket) -> tuple[int, Mapping[str, str], Any]:
    data = b""
    with contextlib.suppress(ConnectionError):
        while b"\r\n\r\n" not in data and (piece := connection.recv(65_536)):
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        status, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        while len(body) < int(headers.get("content-length", 0)) and (piece := connection.recv(65_536)):
            body += piece
        return int(status.split()[1]), headers, json.loads(body)
    return 0, {}, None


def _is_answered(site: AccessSite, issuer: SigningIssuer) -> bool:
    return site.ask(issuer.token())[0] == 200


def _until(holds: Callable[[], bool]) -> None:
    give_up = time.monotonic() + _PATIENCE_S
    while not holds():
        assert time.monotonic() < give_up
        time.sleep(0.01)
