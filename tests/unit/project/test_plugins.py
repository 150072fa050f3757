"""What is named is found and checked; what is not named is never imported."""

import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

from crossgrade.dialects import BUILT_IN_HOSTS, HOSTS, Host
from crossgrade.errors import ConfigError
from crossgrade.project import find_plugins, plugin_names, read_config
from crossgrade.project._plugin_objects import _WANTED, PluginKind
from crossgrade.project._plugins import _BUILT_IN
from tests.codes import check_error, raises_code

Package = Callable[..., None]


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    """Return a function that installs a package: `points` are the lines of its entry points."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(name: str, points: str, source: str = "", **files: str) -> None:
        module = name.replace("-", "_")
        monkeypatch.delitem(sys.modules, module, raising=False)
        folder = tmp_path / module
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text(source)
        for file, text in files.items():
            (folder / file.replace("_", ".")).write_text(text)
        info = tmp_path / f"{module}-2.1.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 2.1\n")
        (info / "entry_points.txt").write_text(points)

    return install


GUARD = (
    "from crossgrade.decide import GuardKind\n"
    "LOOK = GuardKind(name='odd', look=lambda view: ())\n"
    "BUILT_IN = GuardKind(name='outage', look=lambda view: ())\n"
    "LATE = GuardKind(name='retirement', look=lambda view: ())\n"
)


@pytest.mark.parametrize("kind", get_args(PluginKind))
def test_built_in_objects_are_of_the_class_that_plugins_are(kind: PluginKind) -> None:
    module, _, name = _BUILT_IN[kind].partition(":")
    table = getattr(import_module(module), name)
    module, _, name = _WANTED[kind].partition(":")
    wanted = getattr(import_module(module), name)
    if kind == "dialect":  # a table of places: a worker imports what its targets need
        dialects = import_module("crossgrade.dialects").DIALECTS
        table = {each: dialects[each] for each in table}
    assert table
    for key, each in table.items():
        assert isinstance(each, wanted)
        assert getattr(each, "name", key) == key


def test_a_package_that_is_not_there_or_registers_nothing(package: Package) -> None:
    package("acme-odd", "[crossgrade.guards]\nodd = acme_odd:LOOK\n", GUARD)
    package("acme-empty", "[console_scripts]\nacme = acme_empty:main\n")
    with raises_code("plugin-not-installed", "acme-od", "acme-odd", where="plugins.1"):
        find_plugins(["acme-odd", "acme-od"])
    with raises_code("plugin-empty", "acme-empty", where="plugins.0"):
        find_plugins(["acme-empty"])


def test_what_is_named_is_found_and_imported_late(package: Package) -> None:
    package("acme-odd", "[crossgrade.guards]\nodd = acme_odd:LOOK\n", GUARD)
    package("acme-other", "[crossgrade.guards]\nother = acme_other:LOOK\n", "raise RuntimeError")
    plugins = find_plugins(["Acme_Odd", "acme-odd"])
    assert [str(each) for each in plugins.entries] == ["guard odd of acme-odd 2.1"]
    (use,) = plugins.uses("guard")
    assert "acme_odd" not in sys.modules
    assert list(plugins.guards)[-1] == "odd"
    assert "acme_odd" in sys.modules
    assert not list(plugins.problems())
    package("acme-odd", "[crossgrade.guards]\nodd = acme_odd:LOOK\n", GUARD + "# other\n")
    assert find_plugins(["acme-odd"]).uses("guard")[0].digest != use.digest


@pytest.mark.parametrize(
    ("attribute", "name", "code"),
    [
        ("NOTHING", "odd", "plugin-import-failed"),
        ("GuardKind", "odd", "plugin-invalid"),
        ("LOOK", "other", "plugin-invalid"),
        ("BUILT_IN", "outage", "plugin-name-taken"),
        ("LATE", "retirement", "plugin-name-taken"),
    ],
)
def test_a_broken_plugin_is_refused(package: Package, attribute: str, name: str, code: str) -> None:
    package("acme-odd", f"[crossgrade.guards]\n{name} = acme_odd:{attribute}\n", GUARD)
    plugins = find_plugins(["acme-odd"])
    with raises_code(code, "acme-odd", where="plugins.0"):
        _ = plugins.guards
    ((entry, error),) = plugins.problems()
    assert entry.name == name
    check_error(error, code)


def test_two_packages_with_one_name(package: Package) -> None:
    package("acme-odd", "[crossgrade.guards]\nodd = acme_odd:LOOK\n", GUARD)
    package("acme-too", "[crossgrade.guards]\nodd = acme_too:LOOK\n", GUARD)
    with raises_code("plugin-name-taken", "acme-too", where="plugins.0"):
        _ = find_plugins(["acme-odd", "acme-too"]).guards


@pytest.mark.parametrize(
    ("kind", "name", "source"),
    [
        ("scorers", "odd", "odd = ScorerKind(name='odd', summary='', options=dict, build=print)"),
        ("scorers", "odd", "odd = ScorerKind(name='odd', summary='', options=Options, build=None)"),
        ("scorers", "odd", "odd = 7"),
        (
            "scorers",
            "odd",
            "odd = ScorerKind(name='odd', summary='', options=Options, build=print, needs=('gpu',))",
        ),
        ("log_formats", "odd", "odd = LogFormat('odd', ())"),
        ("importers", "odd", "odd = ImporterKind(name='odd', read=None)"),
        ("exporters", "odd", "odd = print"),
    ],
)
def test_objects_that_are_none_of_their_kind(package: Package, kind: str, name: str, source: str) -> None:
    imports = (
        "from crossgrade.evaluate import ScorerKind\nfrom crossgrade.evaluate.scorers import Options\n"
        "from crossgrade.workloads import ImporterKind\nfrom crossgrade.workloads.traffic import LogFormat\n"
    )
    package("acme-odd", f"[crossgrade.{kind}]\n{name} = acme_odd:odd\n", imports + source)
    with raises_code("plugin-invalid", "acme-odd"):
        _ = getattr(find_plugins(["acme-odd"]), kind)


def test_a_guard_that_fails_or_speaks_for_another_is_named(package: Package) -> None:
    source = (
        "from crossgrade.decide import GuardKind, finding\n"
        "A = GuardKind(name='a', look=lambda view: [1 / 0])\n"
        "B = GuardKind(name='b', look=lambda view: [finding('outage', 'x', '')])\n"
    )
    package("acme-odd", "[crossgrade.guards]\na = acme_odd:A\nb = acme_odd:B\n", source)
    guards = find_plugins(["acme-odd"]).guards
    with raises_code("plugin-failed", "acme-odd", "ZeroDivisionError"):
        guards["a"].look(None)
    with raises_code("plugin-invalid", "acme-odd"):
        guards["b"].look(None)


HOST = "[odd]\nbase_url = 'https://odd.example/v1'\nkey_env = ['ODD_KEY']\nheaders = {x-odd = '1'}\n"


def test_a_host_is_a_row_of_data(package: Package) -> None:
    package("acme-odd", "[crossgrade.hosts]\nodd = acme_odd\n", "raise RuntimeError", hosts_toml=HOST)
    wanted = Host(
        name="odd",
        base_url="https://odd.example/v1",
        key_env=("ODD_KEY",),
        headers=(("x-odd", "1"),),
    )
    assert find_plugins(["acme-odd"]).hosts == {"odd": wanted}
    assert "odd" not in BUILT_IN_HOSTS


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[other]\n", "odd"),
        ("[odd]\nbase_uri = 'x'\n", "base_url"),
        ("[odd]\nkey_env = 'x'\n", "key_env"),
        ("[odd", "document"),
    ],
)
def test_a_row_that_is_wrong(package: Package, text: str, value: str) -> None:
    package("acme-odd", "[crossgrade.hosts]\nodd = acme_odd\n", hosts_toml=text)
    with raises_code("hosts-file-invalid", value):
        _ = find_plugins(["acme-odd"]).hosts


def test_a_host_of_an_unknown_dialect(package: Package) -> None:
    package("acme-odd", "[crossgrade.hosts]\nodd = acme_odd\n", hosts_toml="[odd]\ndialect = 'opnai'\n")
    with raises_code("plugin-invalid", "opnai", "openai"):
        _ = find_plugins(["acme-odd"]).hosts


CONFIG = "plugins: [acme-odd]\nmodels:\n  a: {provider: PROVIDER, model: m}\n"


def test_a_configuration_points_at_the_plugin_that_is_wrong(package: Package, tmp_path: Path) -> None:
    path = tmp_path / "crossgrade.yaml"
    path.write_text(CONFIG)
    with pytest.raises(ConfigError) as caught:
        read_config(path)
    check_error(caught.value, "plugin-not-installed", "acme-odd", line=1, column=11)
    assert plugin_names(path) == ("acme-odd",)


def test_a_host_that_is_registered_and_not_named_is_unknown(package: Package, tmp_path: Path) -> None:
    """In a process of its own: what is registered stays for its whole life."""
    package("acme-odd", "[crossgrade.hosts]\nodd = acme_odd\n", hosts_toml=HOST)
    (tmp_path / "one.yaml").write_text(CONFIG.replace("PROVIDER", "odd"))
    (tmp_path / "two.yaml").write_text(CONFIG.replace("PROVIDER", "odd").replace("plugins: [acme-odd]\n", ""))
    code = (
        "import json, sys; sys.path.insert(0, '.')\n"
        "from crossgrade.dialects import HOSTS\n"
        "from crossgrade.errors import CrossgradeError\n"
        "from crossgrade.project import read_config\n"
        "found = [read_config('one.yaml').offers['a'].provider, 'odd' in HOSTS]\n"
        "try:\n    read_config('two.yaml')\n"
        "except CrossgradeError as error:\n    found.append(error.code)\n"
        "print(json.dumps(found))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == ["odd", True, "provider-undefined"]
    assert "odd" not in HOSTS
