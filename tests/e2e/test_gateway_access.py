"""Gated routes of a whole gateway between two issuers: tokens, logins, issuers, suspensions."""

import socket
import time
from collections.abc import Iterator

import pytest

from benchmarks._trust_access import ACR, AccessSite, access_site, wrong_logins
from benchmarks.gateway._served import command, contents, records
from tests.waiting import until


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AccessSite]:
    with access_site(tmp_path_factory.mktemp("access")) as site:
        yield site


def test_every_bad_token_is_refused_and_reaches_no_provider(site: AccessSite) -> None:
    before = len(site.provider.requests)
    statuses = {name: site.ask(token)[0] for name, token in site.first.bad_tokens().items()}
    assert len(statuses) == 28
    assert {name: status for name, status in statuses.items() if not 400 <= status < 500} == {}
    assert len(site.provider.requests) == before
    assert site.ask(site.first.token())[0] == 200


def test_a_deficient_login_is_asked_for_a_stronger_one(site: AccessSite) -> None:
    now = int(time.time())
    for name, claims in wrong_logins(now).items():
        status, headers, body = site.ask(site.first.token(**claims), "deep")
        assert (status, body["error"]["code"]) == (401, "insufficient_user_authentication"), name
        assert f'acr_values="{" ".join(ACR)}"' in headers["www-authenticate"]
    assert site.ask(site.first.token(acr=ACR[0], auth_time=now), "deep")[0] == 200
    assert site.ask(site.served.key, "deep")[2]["error"]["code"] == "token_required"


def test_equal_tiers_of_two_issuers_do_not_mix(site: AccessSite) -> None:
    assert site.ask(site.first.token(), "bound")[0] == 200
    status, _, body = site.ask(site.second.token(), "bound")
    assert (status, body["error"]["code"]) == (403, "access_denied")
    assert site.first.url in body["error"]["message"], "it names who would have to vouch"
    forged = site.second.sign(site.second.header(), site.second.claims(iss=site.first.url))
    assert site.ask(forged, "bound")[2]["error"]["code"] == "token_signature"


def test_one_user_is_suspended_at_once_and_no_other(site: AccessSite) -> None:
    eve, ada = site.first.token(sub="eve"), site.first.token(sub="ada")
    named = ("--issuer", site.first.url, "--subject", "eve")
    with socket.create_connection(site.served.address, timeout=10) as connection:
        assert site.ask_on(connection, eve)[0] == 200
        command(site.served.folder, "access", "suspend", *named, "--because", "odd prompts")
        until(lambda: site.ask_on(connection, eve)[0] == 403)
        assert site.ask_on(connection, eve)[2]["error"]["code"] == "suspended"
        assert site.ask_on(connection, ada)[0] == 200
        assert site.ask(site.second.token(sub="eve"))[0] == 200, "the same subject of another issuer"
        command(site.served.folder, "access", "restore", *named, "--because", "a test")
        until(lambda: site.ask_on(connection, eve)[0] == 200)


def test_refusals_are_recorded_without_what_was_sent(site: AccessSite) -> None:
    token = site.second.token(sub="mallory")
    site.ask(token, "bound", x_crossgrade_programme="offence")
    found = until(lambda: [each for each in records(site.served) if each.get("error") == "programme_unknown"])
    assert {each["route"] for each in found} == {"bound"}
    assert all("target" not in each for each in found)
    for path, content in contents(site.served.folder).items():
        assert token.encode() not in content, path
        assert b"mallory" not in content, path
