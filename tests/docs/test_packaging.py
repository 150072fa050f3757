"""What is packaged agrees with what is written: extras, links, the container file."""

import re
import tomllib
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
OLD_NAMES = {"probe": "long-context"}
PARTS = {"names", "seal"}
LARGE = {"distil", "ray"}  # hundreds of megabytes, and ray not for every Python


def _pyproject() -> Any:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def _listed(text: str) -> set[str]:
    return {each for each in re.split(r"[,\s]+", text) if each}


def _own_extras(requirements: list[str]) -> set[str]:
    """The extras of the package itself that requirements name."""
    return {
        each
        for row in requirements
        for part in re.findall(r"^crossgrade\[(.*)\]", row)
        for each in _listed(part)
    }


def test_all_has_every_extra_and_old_names_stay() -> None:
    extras = _pyproject()["project"]["optional-dependencies"]
    assert _own_extras(extras["all"]) == set(extras) - {"all"} - OLD_NAMES.keys() - PARTS - LARGE
    assert _own_extras(extras["redaction"]) == PARTS
    for old, name in OLD_NAMES.items():
        assert _own_extras(extras[old]) == {name}


def test_every_extra_is_documented_and_named_rightly() -> None:
    extras = set(_pyproject()["project"]["optional-dependencies"])
    page = (ROOT / "docs" / "guides" / "deploy.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*)$", page, re.MULTILINE)
    assert extras <= {word for row in rows for word in re.findall(r"`([^`]+)`", row)}
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for text, pattern in ((dockerfile, r"^ARG EXTRAS=(.*)$"), (makefile, r"^EXTRAS \?= (.*)$")):
        (found,) = re.findall(pattern, text, re.MULTILINE)
        assert _listed(found) <= extras


def test_a_package_gets_a_readme_without_relative_links() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"\]\((?!https?://|#)", text)
    pictured = text + "\n![a](docs/a.svg)\n[![b](docs/b.svg)](docs/b.md)\n"
    hook = _pyproject()["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    for each in hook["substitutions"]:
        pictured = re.sub(each["pattern"], each["replacement"], pictured)
    assert not re.search(r"\]\((?!https?://|#)", pictured)
    assert not re.search(r"src(?:set)?=\"(?!https?://)", pictured)
    assert re.search(r"!\[b\]\(https://raw\S+/docs/b\.svg\)\]\(https://\S+/docs/b\.md\)", pictured)


def test_the_services_of_the_compose_file_set_only_variables_that_are_read() -> None:
    compose = YAML(typ="safe").load(ROOT / "deploy" / "compose.yaml")
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    ours = [service for service in compose["services"].values() if service["image"] == "crossgrade"]
    assert len(ours) == 3
    for service in ours:
        assert service["read_only"]
        for name in service["environment"]:
            assert f'"{name}"' in source


def test_the_balancer_of_the_compose_file_has_its_gateways() -> None:
    compose = YAML(typ="safe").load(ROOT / "deploy" / "compose.yaml")
    gateways = {
        name: service
        for name, service in compose["services"].items()
        if service["image"] == "crossgrade" and "command" not in service
    }
    assert len(gateways) == 2
    folders = [volume.partition(":")[0] for each in gateways.values() for volume in each["volumes"][:1]]
    assert len(set(folders)) == 2, "two gateways in one folder: the second does not start"
    assert set(folders) <= compose["volumes"].keys()
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")
    (port,) = re.findall(r"^EXPOSE (\d+)$", dockerfile, re.MULTILINE)
    (mount,) = compose["services"]["balancer"]["volumes"]
    settings = (ROOT / "deploy" / mount.partition(":")[0]).read_text(encoding="utf-8")
    assert re.findall(r"^    server (\S+) (\S+)$", settings, re.MULTILINE) == [
        (name, f"{name}:{port}") for name in gateways
    ]
    (asked,) = re.findall(r"uri (\S+)", settings)
    assert asked in dockerfile, "the balancer and the container ask whether it is ready in the same way"
    (published,) = compose["services"]["balancer"]["ports"]
    (listens,) = re.findall(r"bind :(\d+)", settings)
    assert published.endswith(f":{listens}")
    for service in compose["services"].values():
        for other in service.get("depends_on", {}):
            assert other in compose["services"]
