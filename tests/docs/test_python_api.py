"""The page of the Python API names every public method, and none that does not exist."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import crossgrade.project as api

PAGE = (Path(__file__).parents[2] / "docs/reference/python.md").read_text(encoding="utf-8")
TOPICS = {"probes": api.ProjectProbes, "routing": api.Routing, "traffic": api.ProjectTraffic}


def public(kind: type, prefix: str) -> Iterator[str]:
    return (f"{prefix}.{name}" for name, _ in inspect.getmembers(kind) if not name.startswith("_"))


def methods() -> set[str]:
    topics = (public(kind, f"project.{name}") for name, kind in TOPICS.items())
    return {*public(api.Project, "project"), *(name for names in topics for name in names)}


def functions() -> set[str]:
    return {name for name in api.__all__ if inspect.isfunction(getattr(api, name))}


def test_the_page_names_every_public_method_and_no_other() -> None:
    named = set(re.findall(r"`(project(?:\.[a-z_]+)+)", PAGE))
    attributes = {"project.config", "project.plugins", "project.environ"}
    opened = {"project.open"} if "`Project.open(" in PAGE else set()
    assert named - attributes | opened == methods()


def test_the_page_names_every_function_that_needs_no_project() -> None:
    table = PAGE[PAGE.index("## Without a project") :]
    assert set(re.findall(r"^\| `([a-z_]+)\(", table, re.MULTILINE)) == functions()


def test_a_topic_is_what_the_page_says() -> None:
    kinds = {name: getattr(api.Project, name).fget.__annotations__["return"] for name in TOPICS}
    assert kinds == {name: kind.__name__ for name, kind in TOPICS.items()}
