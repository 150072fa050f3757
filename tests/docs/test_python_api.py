"""The page of the Python API has every public method and function, with what its docstring says.

`tests/unit/cli/test_frame_reference.py` checks that the generated page is current.
"""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import crossgrade.project as api

PAGE = (Path(__file__).parents[2] / "docs/reference/python.md").read_text(encoding="utf-8")
TOPICS = {
    "live": api.ProjectLive,
    "probes": api.ProjectProbes,
    "renewals": api.ProjectRenewals,
    "routing": api.Routing,
    "traffic": api.ProjectTraffic,
}


def public(kind: type, prefix: str) -> Iterator[str]:
    return (f"{prefix}.{name}" for name, _ in inspect.getmembers(kind) if not name.startswith("_"))


def methods() -> set[str]:
    topics = (public(kind, f"project.{name}") for name, kind in TOPICS.items())
    found = {*public(api.Project, "project"), *(name for names in topics for name in names)}
    return found - {"project.open"} | {"Project.open"}


def functions() -> set[str]:
    names = {name for name in api.__all__ if inspect.isfunction(getattr(api, name))}
    return {f"crossgrade.project.{name}" for name in names - {"decide_results"}} | {
        "crossgrade.decide_results"
    }


def test_the_page_has_every_public_method_and_function_and_no_other() -> None:
    named = set(re.findall(r"^### `([\w.]+)", PAGE, re.MULTILINE))
    assert {name for name in named if re.match(r"project\.|Project\.", name)} == methods()
    others = {"crossgrade.ResultOptions"} | {name for name in named if name.startswith("crossgrade.stats.")}
    assert {name for name in named if name.startswith("crossgrade.")} - others == functions()
    assert {"verdict.report", "verdict.to_frame", "crossgrade.stats.plan"} <= named


def test_each_says_what_its_docstring_says() -> None:
    headings = re.split(r"^### ", PAGE, flags=re.MULTILINE)
    (evaluate,) = (part for part in headings if part.startswith("`project.evaluate("))
    assert str(inspect.getdoc(api.Project.evaluate)) in evaluate
    assert "`project.evaluate(name, *, max_cost_usd=None, resume=None, reuse=True" in evaluate


def test_a_topic_is_what_the_page_says() -> None:
    kinds = {name: getattr(api.Project, name).fget.__annotations__["return"] for name in TOPICS}
    assert kinds == {name: kind.__name__ for name, kind in TOPICS.items()}
