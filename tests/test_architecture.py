"""The house stays a house: file length, public names, start-up cost, words, no machine paths."""

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import crossgrade

ROOT = Path(__file__).parent.parent
PACKAGE = Path(crossgrade.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
ROOMS = sorted(
    path.stem
    for path in PACKAGE.iterdir()
    if (path / "__init__.py").exists() or (path.suffix == ".py" and not path.stem.startswith("_"))
)

LONGEST_FILE = 600
BANNED_MODULE_NAMES = {"utils", "util", "helpers", "base", "manager", "common", "misc", "service"}
HELP_MAY_IMPORT = {"click", "crossgrade"}
HELP_MAY_NOT_IMPORT = {
    "aiohttp", "alembic", "anyio", "asyncio", "genai_prices", "jinja2", "jsonschema", "numpy",
    "pydantic", "rich", "ruamel", "scipy", "sqlalchemy",
}  # fmt: skip


def _ids(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", [*SOURCES, *sorted((ROOT / "tests").rglob("*.py"))], ids=_ids)
def test_no_file_is_too_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST_FILE


@pytest.mark.parametrize("path", SOURCES, ids=_ids)
def test_no_module_is_a_drawer(path: Path) -> None:
    assert path.stem.lstrip("_") not in BANNED_MODULE_NAMES


@pytest.mark.parametrize("room", ROOMS)
def test_public_names_are_sorted_and_exist(room: str) -> None:
    module = importlib.import_module(f"crossgrade.{room}")
    names = list(getattr(module, "__all__", []))
    assert names == sorted(names, key=lambda name: (not name.isupper(), not name[0].isupper(), name))
    for name in names:
        assert hasattr(module, name), name


@pytest.mark.parametrize("room", ROOMS)
def test_public_functions_and_classes_have_docstrings(room: str) -> None:
    module = importlib.import_module(f"crossgrade.{room}")
    for name in getattr(module, "__all__", []):
        value = getattr(module, name)
        if callable(value) and isinstance(value, type | type(_ids)):
            assert value.__doc__, f"{room}.{name}"


def _imports(path: Path, modules: set[str]) -> set[str]:
    """Return the modules of this package that a file imports, inside functions too.

    `from package import module` is an import of the module; its package is imported by every child.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            full = (f"{node.module}.{alias.name}" for alias in node.names)
            found.update(name if name in modules else node.module for name in full)
    return found & modules


def test_no_import_cycles_counting_imports_inside_functions() -> None:
    modules = {
        ".".join(("crossgrade", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(
            ".__init__"
        ): path
        for path in SOURCES
    }
    graph = {name: _imports(path, set(modules)) - {name} for name, path in modules.items()}
    done: set[str] = set()

    def walk(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " -> ".join((*trail[trail.index(name) :], name))
        if name in done:
            return
        for other in graph[name]:
            walk(other, (*trail, name))
        done.add(name)

    for name in graph:
        walk(name, ())


def test_benchmarks_import_no_tests() -> None:
    """Tests use what benchmarks measure with, and nothing goes the other way."""
    importing = [
        path.name
        for path in (ROOT / "benchmarks").rglob("*.py")
        if re.search(r"^\s*(from|import) tests\b", path.read_text(encoding="utf-8"), re.MULTILINE)
    ]
    assert importing == []


def test_help_imports_almost_nothing() -> None:
    code = (
        "import sys, json\n"
        "from crossgrade.cli import main\n"
        "sys.argv = ['crossgrade', '--help']\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(json.loads(done.stderr.splitlines()[-1]))
    assert not imported & HELP_MAY_NOT_IMPORT
    assert "Usage: crossgrade" in done.stdout


def test_importing_the_package_imports_no_heavy_library() -> None:
    code = "import crossgrade, sys; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"aiohttp", "scipy", "sqlalchemy", "pydantic", "rich", "genai_prices", "numpy"}
    assert not set(done.stdout.split()) & heavy


def test_nothing_names_this_machine_or_a_registry() -> None:
    files = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.split()
    forbidden = re.compile(
        r"index-url|shared/(?:data|research|bench|prototypes)|(?:^|[\s\"'])/(?:work|home|root)/"
    )
    for name in files:
        path = ROOT / name
        if path.suffix in {".py", ".md", ".toml", ".txt", ".yaml", ".json", ""} and path.is_file():
            if path == Path(__file__) or path.stat().st_size > 2_000_000:
                continue
            hit = forbidden.search(path.read_text(encoding="utf-8", errors="ignore"))
            assert not hit, f"{name}: {hit and hit.group()}"


def test_every_room_module_imports() -> None:
    for info in pkgutil.walk_packages([str(PACKAGE)], "crossgrade."):
        if not info.name.endswith("__main__") and ".migrations" not in info.name:
            importlib.import_module(info.name)


def test_no_message_names_a_file_that_the_wheel_does_not_have() -> None:
    found = []
    for path in SOURCES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        found += [
            f"{path.name}:{node.lineno}: {node.value}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant)
            and isinstance(node.value, str)
            and id(node) not in docstrings
            and re.search(r"\b(?:docs|tests|benchmarks|scripts)/\w", node.value)
        ]
    assert found == []


USAGE_NAMES = {
    "cached_tokens", "cachedContentTokenCount", "candidatesTokenCount", "completion_tokens",
    "completion_tokens_details", "input_tokens_details", "output_tokens_details", "prompt_cache_hit_tokens",
    "promptTokenCount", "prompt_tokens_details", "thoughtsTokenCount", "toolUsePromptTokenCount",
    "usageMetadata",
}  # fmt: skip
READS_USAGE = (
    "dialects/",
    "testing/",
    "workloads/importers/",
    "workloads/traffic/formats/",
    "workloads/_traces.py",
)
"""Providers' own names stand in `dialects`; readers of other tools' files have those tools' names."""

APPLIES_PRICES = ("pricing/",)


def _literals(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and type(node.value) is str
    }


def test_usage_is_read_in_the_dialects_alone() -> None:
    found = {
        str(path.relative_to(PACKAGE)): names
        for path in SOURCES
        if not str(path.relative_to(PACKAGE)).startswith(READS_USAGE)
        and (names := _literals(path) & USAGE_NAMES)
    }
    assert found == {}


def test_prices_are_applied_in_pricing_alone() -> None:
    found = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}"
        for path in SOURCES
        if not str(path.relative_to(PACKAGE)).startswith(APPLIES_PRICES)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Mult)
        and any(
            isinstance(side, ast.Attribute) and side.attr.endswith("_per_mtok")
            for side in (node.left, node.right)
        )
    ]
    assert found == []


def test_no_public_class_is_defined_twice() -> None:
    places: dict[str, list[str]] = {}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_the_page_on_the_architecture_names_every_room_and_only_files_that_exist() -> None:
    page = (ROOT / "docs/concepts/architecture.md").read_text(encoding="utf-8")
    drawing = page.split("```")[1]
    assert set(ROOMS) <= set(re.findall(r"[a-z_]+", drawing))
    named = set(re.findall(r"`((?:[a-z_0-9*]+/)+(?:[a-z_0-9]+\.py)?)`", page))
    assert len(named) > 40
    assert [
        each for each in sorted(named) if not each.startswith("tests/") and not any(PACKAGE.glob(each))
    ] == []
