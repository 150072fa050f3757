"""The route table: canonical bytes, strict reading, and certificates that expire."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest

from crossgrade.errors import ConfigError
from crossgrade.routing import (
    Policy,
    RequestFacts,
    Route,
    RouteTable,
    read_route_table,
    route_table_bytes,
    route_table_digest,
)
from tests.codes import raises_code

UNTIL = datetime(2027, 2, 23, tzinfo=UTC)
SUPPORT = Route(
    name="support",
    policy=Policy(kind="split", incumbent="gpt", candidate="scout", segments=("sentiment",)),
    targets={"gpt": "openai-gpt", "scout": "groq-scout"},
    valid_until=UNTIL,
    verdict_id="v1",
    evidence_digest="sha256:00",
)
MAIL = Route(name="mail", policy=Policy(kind="keep", incumbent="gpt"), targets={"gpt": "openai-gpt"})
TABLE = RouteTable(version=3, routes=(SUPPORT, MAIL), previous="sha256:ab")


def test_bytes_are_canonical_and_read_back():
    data = route_table_bytes(TABLE)
    read = read_route_table(data, digest=route_table_digest(TABLE))
    assert route_table_bytes(read) == data
    assert read.route("support") == SUPPORT
    assert read.route("nobody") is None
    assert data == route_table_bytes(RouteTable(version=3, routes=(MAIL, SUPPORT), previous="sha256:ab"))
    assert data.endswith(b"\n")
    assert b" " not in data


def test_a_length_limit_is_read_back_and_changes_no_other_table():
    limited = RouteTable(
        version=4,
        routes=(
            MAIL,
            Route(
                name="support",
                policy=Policy(kind="switch", incumbent="gpt", candidate="scout", max_bytes=412_000),
                targets=SUPPORT.targets,
                valid_until=UNTIL,
            ),
        ),
    )
    data = route_table_bytes(limited)
    assert b'"schema_version":3' in data
    assert read_route_table(data).route("support").policy.max_bytes == 412_000
    assert b'"schema_version":2' in route_table_bytes(TABLE)
    assert b"max_bytes" not in route_table_bytes(TABLE)
    with raises_code("route-table-invalid", "routes[1].policy.max_bytes"):
        read_route_table(data.replace(b"412000", b"4.5"))
    with raises_code("policy-invalid"):
        read_route_table(data.replace(b"412000", b"0"))


def test_plain_only_is_read_back_and_changes_no_other_table():
    policy = Policy(kind="switch", incumbent="gpt", candidate="scout", plain_only=True)
    route = Route(name="support", policy=policy, targets=SUPPORT.targets, valid_until=UNTIL)
    data = route_table_bytes(RouteTable(version=4, routes=(MAIL, route)))
    assert b'"schema_version":4' in data
    assert read_route_table(data).route("support").policy == policy
    assert b"plain_only" not in route_table_bytes(TABLE)
    with raises_code("route-table-invalid", "routes[1].policy.plain_only"):
        read_route_table(data.replace(b'"plain_only":true', b'"plain_only":1'))


def test_one_moment_has_one_form():
    berlin = UNTIL.astimezone(timezone(timedelta(hours=1)))
    other = RouteTable(
        version=3,
        routes=(Route(name="support", policy=SUPPORT.policy, targets=SUPPORT.targets, valid_until=berlin),),
    )
    assert b'"valid_until":"2027-02-23T00:00:00+00:00"' in route_table_bytes(other)


def test_an_expired_certificate_sends_everything_to_the_incumbent():
    facts = RequestFacts(segment="sentiment")
    assert SUPPORT.pick(facts, now=UNTIL - timedelta(seconds=1)) == "groq-scout"
    assert SUPPORT.pick(facts, now=UNTIL) == "openai-gpt"
    assert SUPPORT.pick(RequestFacts(), now=UNTIL - timedelta(days=1)) == "openai-gpt"


def test_the_next_version_replaces_one_route():
    kept = Route(name="support", policy=Policy(kind="keep", incumbent="gpt"), targets={"gpt": "openai-gpt"})
    following = TABLE.replacing(kept, previous=route_table_digest(TABLE))
    assert following.version == 4
    assert [route.name for route in following.routes] == ["mail", "support"]
    assert following.route("support") == kept


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"name": ""}, ("route-invalid",)),
        ({"targets": {"gpt": "openai-gpt"}}, ("route-invalid", "scout")),
        ({"valid_until": None}, ("route-invalid",)),
        ({"valid_until": datetime(2027, 1, 1)}, ("route-invalid",)),
    ],
)
def test_a_route_that_could_not_serve_is_refused(changed, message):
    fields = {"name": "r", "policy": SUPPORT.policy, "targets": SUPPORT.targets, "valid_until": UNTIL}
    with raises_code(*message):
        Route(**{**fields, **changed})


def test_tables_refuse_two_routes_of_one_name_and_version_0():
    with raises_code("route-repeated"):
        RouteTable(version=1, routes=(MAIL, MAIL))
    with raises_code("route-table-version"):
        RouteTable(version=0)


def _changed(change):
    tree = json.loads(route_table_bytes(TABLE))
    change(tree)
    return json.dumps(tree).encode()


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda t: t.update(extra=1), "the table"),
        (lambda t: t.pop("previous"), "the table"),
        (lambda t: t.update(schema_version=6), "schema_version"),
        (lambda t: t.update(version="3"), "version"),
        (lambda t: t.update(version=True), "version"),
        (lambda t: t.update(routes={}), "routes"),
        (lambda t: t["routes"].append(3), "routes[2]"),
        (lambda t: t["routes"][1].update(targets={"gpt": 1}), "routes[1].targets.gpt"),
        (lambda t: t["routes"][1].update(targets=[]), "routes[1].targets"),
        (lambda t: t["routes"][1].update(targets={}), "routes[1]"),
        (lambda t: t["routes"][1].update(valid_until="soon"), "routes[1].valid_until"),
        (lambda t: t["routes"][1].update(valid_until="2027-01-01"), "routes[1]"),
        (lambda t: t["routes"][1]["policy"].update(kind="move"), "routes[1].policy"),
        (lambda t: t["routes"][1]["policy"].update(segments="sentiment"), "routes[1].policy.segments"),
        (lambda t: t["routes"][1]["policy"].update(segments=[None]), "routes[1].policy.segments[0]"),
        (lambda t: t["routes"][1]["policy"].pop("fact"), "routes[1].policy"),
    ],
)
def test_reading_is_strict_and_names_the_place(change, where):
    with pytest.raises(ConfigError) as caught:
        read_route_table(_changed(change), file="routes.json")
    assert caught.value.where == where
    assert caught.value.file == "routes.json"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        b'{"version": 1, "version": 2}',
        b'{"version": NaN}',
        b" " * (4 * 1024 * 1024 + 1),
        b'{"version": ' + b"9" * 5_000 + b"}",
    ],
    ids=["empty", "half", "bytes", "deep", "twice", "nan", "large", "digits"],
)
def test_hostile_bytes_are_refused(data):
    with pytest.raises(ConfigError):
        read_route_table(data)


def test_a_table_changed_by_hand_is_refused():
    data = route_table_bytes(TABLE).replace(b"groq-scout", b"evil-scout")
    with raises_code("route-table-digest"):
        read_route_table(data, digest=route_table_digest(TABLE))


def test_routing_is_standard_library_only():
    code = (
        "import sys, crossgrade.routing;"
        "print([m for m in ('numpy', 'scipy', 'msgspec', 'pydantic', 'sqlalchemy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
