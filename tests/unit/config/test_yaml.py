"""Hostile YAML is refused with its place; plain YAML 1.2 means what it says."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.config._yaml import MAX_BYTES, MAX_DEPTH, parse_yaml, read_yaml
from crossgrade.errors import ConfigError
from tests.codes import check_error, raises_code

FILE = Path("x.yaml")


def refusal(text: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, FILE)
    assert caught.value.hint
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: no", "no"),
        ("a: on", "on"),
        ("a: 2026-01-31", "2026-01-31"),
        ("a: 1_000", "1_000"),
        ("a: 012", 12),
        ("a: 0o17", 15),
        ("a: 0x1F", 31),
        ("a: 1e3", 1000.0),
        ("a: .5", 0.5),
        ("a: True", True),
        ("a: ~", None),
        ("a:", None),
        ('a: ""', ""),
        ('a: "12"', "12"),
        ("a: <<", "<<"),
        ("a: |\n  two\n  lines", "two\nlines"),
        ("a: [1, {b: c}]", [1, {"b": "c"}]),
    ],
)
def test_scalars_follow_the_core_schema_of_yaml_1_2(text: str, value: object) -> None:
    assert parse_yaml(text, FILE).data == {"a": value}


def test_aliases_repeat_what_was_anchored() -> None:
    tree = parse_yaml("a: &x {b: [1, 2]}\nc: *x\n", FILE)
    assert tree.data == {"a": {"b": [1, 2]}, "c": {"b": [1, 2]}}
    assert tree.locate("c.b.0") == (2, 1)


def test_positions_count_from_one_and_fall_back_to_the_parent() -> None:
    tree = parse_yaml("a:\n  b.c: 1\n  d:\n    - x\n    - y\n", FILE)
    assert tree.locate("a.b.c") == (2, 3)
    assert tree.locate("a.d.1") == (5, 7)
    assert tree.locate("a.d.7.z") == (3, 3)
    assert tree.locate("nowhere") is None
    error = tree.error("a.d", "is odd", "even it", code="odd")
    assert error.location == "x.yaml:3:3  a.d"


@pytest.mark.parametrize(
    ("text", "line", "column", "code"),
    [
        ("a: !!python/object:os.system x", 1, 4, "yaml-tag"),
        ("a: !custom {b: 1}", 1, 4, "yaml-tag"),
        ("a: ! 12", 1, 4, "yaml-tag"),
        ("!!set {a}", 1, 1, "yaml-tag"),
        ("a: 1\nb: 2\na: 3", 3, 1, "key-repeated"),
        ("? [a]\n: 1", 1, 3, "key-not-text"),
        ("x: &x {a: 1}\ny:\n  <<: *x", 3, 3, "yaml-merge-key"),
        ("a: 1\n---\nb: 2", 2, 1, "yaml-documents"),
        ("%YAML 1.1\n---\na: 1", 2, 1, "yaml-not-allowed"),
        ("a: .nan", 1, 4, "number-not-finite"),
        ("a: -.inf", 1, 4, "number-not-finite"),
        ("a: 1e999", 1, 4, "number-too-large"),
        ("a: " + "9" * 5000, 1, 4, "number-too-long"),
        ("a: &x [*x]", 1, 8, "yaml-alias-unknown"),
        ("a: *nothing", 1, 4, "yaml-alias-unknown"),
        ('a: "\\0"', 1, 4, "yaml-escape"),
        ('a: "\\ud800"', 1, 4, "yaml-escape"),
        ("a:\n\tb: 1", 2, 1, "yaml-invalid"),
        ("a: b: c", 1, 5, "yaml-invalid"),
        ("a: [1, 2", 1, 9, "yaml-invalid"),
        ("a: \x07", 1, None, "yaml-invalid"),
        ("a: " + "x" * 70_000, 1, None, "yaml-line-too-long"),
    ],
)
def test_refusals_point_at_the_place(text: str, line: int, column: int | None, code: str) -> None:
    check_error(refusal(text), code, line=line, column=column)


def test_nesting_is_bounded_while_reading() -> None:
    depth = MAX_DEPTH - 1
    assert parse_yaml("a: " + "[" * depth + "]" * depth, FILE).data
    assert refusal("a: " + "[" * 60_000).code == "yaml-too-deep"
    assert refusal("\n".join("  " * level + "- x:" for level in range(100))).code == "yaml-too-deep"


def test_a_billion_laughs_is_refused() -> None:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    error = refusal("\n".join(lines))
    assert error.code == "yaml-aliases-expand"
    assert error.line == 7


def test_a_long_text_repeated_by_aliases_is_refused() -> None:
    assert refusal(f"a: &x {'x' * 60_000}\nb: [{', '.join(['*x'] * 5000)}]").code == "yaml-aliases-expand"


@pytest.mark.parametrize("token", ["!", "&a ", "? ", "- ", "'", '"', "*", "{", "a: ", "%", "#", "|\n", "\n"])
def test_long_runs_of_one_token_end_quickly(token: str) -> None:
    text = token * (60_000 // len(token))
    with contextlib.suppress(ConfigError):  # any other error fails, and so does the time limit of the run
        parse_yaml(text, FILE)


@given(st.text(alphabet="ab:-?[]{}&*!|>'\"%@`#, \n\t01.~<\\xud", max_size=40))
def test_any_text_is_data_or_a_config_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        json.dumps(parse_yaml(text, FILE).data)


_SAFE = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co"], exclude_characters="\ufeff")
)
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | _SAFE,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_SAFE, inner, max_size=4),
    max_leaves=12,
)


@given(_JSON)
def test_json_is_yaml_and_comes_back_unchanged(value: object) -> None:
    assert parse_yaml(json.dumps({"v": value}, ensure_ascii=False), FILE).data == {"v": value}


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    cases = {
        "missing.yaml": None,
        "large.yaml": b"# " + b"x" * MAX_BYTES,
        "latin.yaml": b"a: 1\nb: caf\xe9\n",
    }
    seen = {}
    for name, content in cases.items():
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            read_yaml(path)
        seen[name] = (caught.value.message, caught.value.line)
    assert seen == {
        "missing.yaml": ("no such file", None),
        "large.yaml": ("larger than 1 MiB", None),
        "latin.yaml": ("not UTF-8 text", 2),
    }
    with raises_code("config-missing"):
        read_yaml(tmp_path)


def test_a_byte_order_mark_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"\xef\xbb\xbfa: 1\n")
    assert read_yaml(path).data == {"a": 1}
