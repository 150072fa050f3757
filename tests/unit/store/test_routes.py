"""The route table changes as a whole, by whoever saw the last one; a step down wins."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from crossgrade.errors import ConfigError
from crossgrade.routing import Policy, Route, RouteTable, route_table_digest
from crossgrade.store import Store
from tests.codes import raises_code

NEXT_YEAR = datetime(2027, 11, 25, tzinfo=UTC)


def route(name: str, kind: str = "switch") -> Route:
    policy = Policy(kind=kind, incumbent="gpt", candidate=None if kind == "keep" else "llama")
    targets = {"gpt": "gpt", "llama": "llama"}
    return Route(name=name, policy=policy, targets=targets, valid_until=NEXT_YEAR)


def table(*routes: Route) -> RouteTable:
    return RouteTable(version=1, routes=routes)


def test_a_table_is_published_and_read_back(store: Store) -> None:
    assert store.routes.current() is None
    published = store.publish_route(table(route("chat")), None)
    assert (published.version, published.previous) == (1, None)
    assert store.routes.current() == published

    again = store.publish_route(table(route("chat", "keep")), route_table_digest(published))
    assert (again.version, again.previous) == (2, route_table_digest(published))
    assert [path.name[:6] for path in store.routes.history()] == ["000001", "000002"]
    assert store.routes.history()[-1].read_bytes() == store.routes.path.read_bytes()


def test_a_step_up_from_an_old_table_is_refused(store: Store) -> None:
    first = store.publish_route(table(route("chat", "keep")), None)
    second = store.publish_route(table(route("chat", "keep"), route("mail")), route_table_digest(first))
    with raises_code("route-table-changed"):
        store.publish_route(table(route("chat")), route_table_digest(first))
    with raises_code("route-table-changed"):
        store.publish_route(table(route("chat")), None)
    assert store.routes.current() == second


def test_a_step_down_beats_a_step_up_and_touches_only_its_route(store: Store) -> None:
    base = store.publish_route(table(route("chat"), route("mail", "keep")), None)
    seen = route_table_digest(base)
    up = store.publish_route(table(route("chat"), route("mail")), seen)
    down = store.publish_route(table(route("chat", "keep"), route("mail", "keep")), seen, step="down")
    assert down.previous == route_table_digest(up)
    assert down.by_name["chat"].policy.kind == "keep"
    assert down.by_name["mail"].policy.kind == "switch"


def test_a_step_down_without_a_table_is_refused(store: Store) -> None:
    with raises_code("route-table-changed"):
        store.publish_route(table(route("chat", "keep")), "sha256:gone", step="down")


def test_a_half_written_table_is_never_in_force(store: Store) -> None:
    published = store.publish_route(table(route("chat")), None)
    store.routes.path.with_suffix(".new").write_bytes(b'{"half')
    assert store.routes.current() == published
    store.routes.path.write_bytes(b'{"half')
    with pytest.raises(ConfigError):
        store.routes.current()


def test_a_folder_that_cannot_be_written(store: Store, path: Path) -> None:
    (path.parent / "routes").write_text("a file where a folder should be")
    with raises_code("route-table-unwritable"):
        store.publish_route(table(route("chat")), None)


@pytest.mark.needs("postgresql")
def test_machines_that_share_a_database_publish_to_each_other(tmp_path: Path, shared_url: str) -> None:
    with (
        Store.open(shared_url, folder=tmp_path / "here") as here,
        Store.open(shared_url, folder=tmp_path / "there") as there,
    ):
        first = here.publish_route(table(route("chat"), route("mail")), None)
        assert there.routes.current() == first
        assert there.routes.path.read_bytes() == here.routes.path.read_bytes()

        second = there.publish_route(table(route("chat"), route("mail", "keep")), route_table_digest(first))
        with raises_code("route-table-changed"):
            here.publish_route(table(route("chat"), route("new")), route_table_digest(first))
        stepped = first.replacing(route("chat", "keep"), previous=route_table_digest(first))
        third = here.publish_route(stepped, route_table_digest(first), step="down")
        assert (second.version, third.version) == (2, 3)
        assert {name: each.policy.kind for name, each in third.by_name.items()} == {
            "chat": "keep",
            "mail": "keep",
        }
        there.routes.follow()
        assert there.routes.path.read_bytes() == here.routes.path.read_bytes()
