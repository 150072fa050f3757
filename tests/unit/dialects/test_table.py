"""The table of dialects imports late, and neither table lets one name stand for two things."""

import subprocess
import sys
from dataclasses import replace

import pytest

from crossgrade.dialects import BUILT_IN_DIALECTS, DIALECTS, HOSTS, Dialects, host_known_as, register_hosts
from tests.codes import raises_code


def test_every_built_in_dialect_is_where_the_table_says() -> None:
    assert sorted(DIALECTS) == sorted(BUILT_IN_DIALECTS)
    assert len({id(dialect) for dialect in DIALECTS.values()}) == len(BUILT_IN_DIALECTS)


def test_a_dialect_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys; from crossgrade.dialects import DIALECTS\n"
        "known = 'gemini' in DIALECTS, 'crossgrade.dialects.gemini' in sys.modules\n"
        "DIALECTS['gemini']\n"
        "print(*known, 'crossgrade.dialects.gemini' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "True"]


def test_a_name_stands_for_one_place() -> None:
    table = Dialects({"one": BUILT_IN_DIALECTS["openai"]})
    table.register({"two": BUILT_IN_DIALECTS["gemini"], "one": BUILT_IN_DIALECTS["openai"]})
    table.register({"two": BUILT_IN_DIALECTS["gemini"]})
    assert table["two"] is DIALECTS["gemini"]
    with raises_code("plugin-name-taken", "one"):
        table.register({"one": BUILT_IN_DIALECTS["gemini"]})
    with raises_code("dialect-unknown", "tow", "two"):
        table.named("tow")
    assert table.get("tow") is None


@pytest.mark.parametrize(
    ("place", "code"),
    [
        ("crossgrade.nothing:X", "plugin-import-failed"),
        ("crossgrade.dialects:NOTHING", "plugin-import-failed"),
        ("crossgrade.dialects:HOSTS", "plugin-invalid"),
    ],
)
def test_a_place_without_a_dialect(place: str, code: str) -> None:
    with raises_code(code, "odd", place):
        Dialects({"odd": place}).named("odd")


def test_a_host_is_never_replaced() -> None:
    before = dict(HOSTS)
    register_hosts(HOSTS.values())
    with raises_code("plugin-name-taken", "groq"):
        register_hosts([replace(HOSTS["groq"], base_url="https://other.example/v1")])
    assert before == HOSTS


def test_other_tools_names_lead_to_one_row() -> None:
    for name, host in {
        "fireworks_ai": "fireworks",
        "azure_ai": "azure",
        "x-ai": "xai",
        "aws": "bedrock",
    }.items():
        assert host_known_as(name) is HOSTS[host]
    prefixes = [prefix for row in HOSTS.values() for prefix in (*row.litellm, *row.litellm_prices)]
    assert len(prefixes) == len(set(prefixes))
    assert host_known_as("nothing") is None
