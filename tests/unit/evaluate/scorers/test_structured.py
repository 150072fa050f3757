"""JSON found, checked and compared, however it is wrapped and however hostile it is."""

import json

import anyio
import pytest

from crossgrade.domain import ModelAnswer, Sample, ScorerSpec, ToolCall
from crossgrade.errors import ConfigError
from crossgrade.evaluate import build_scorer
from crossgrade.evaluate.scorers import NoJsonError, parse_json
from tests.codes import raises_code

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "pattern": "^[A-Z]"}, "age": {"type": "integer"}},
    "required": ["name"],
    "additionalProperties": False,
}
TARGET = {
    "name": "Ada Lovelace",
    "born": 1815,
    "address": {"city": "London"},
    "tags": ["a", "b"],
    "alive": False,
}


@pytest.mark.parametrize(
    "text",
    ['{"a": 1}', ' {"a": 1}\n', '```json\n{"a": 1}\n```', 'Here you are:\n```\n{"a": 1}\n```\nDone.',
     'As in [1], the result is {"a": 1}. Bye', '[2] {"a": 1}', 'set {x} to {"a": 1}'],
)  # fmt: skip
def test_finds_json(text) -> None:
    assert parse_json(text) == {"a": 1}


@pytest.mark.parametrize(
    "text",
    ["", "no", "{", '{"a": NaN}', '{"a": Infinity}', '{"a": ' + "9" * 5000 + "}", "[" * 200_000, '{"a":' * 100_000,
     "[" * 100 + "]" * 100, "[" + "0," * 150_000 + "0]", "{'a': 1}"],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_refuses(text) -> None:
    with pytest.raises(NoJsonError):
        parse_json(text)


def test_strictly_the_whole_answer_is_json() -> None:
    assert parse_json("[1]", lenient=False) == [1]
    with pytest.raises(NoJsonError):
        parse_json('```\n{"a": 1}\n```', lenient=False)


@pytest.mark.parametrize(
    ("text", "value", "unparsed"),
    [('{"name": "Ada", "age": 3}', 1, False), ('{"name": "ada"}', 0, False), ('{"age": 3}', 0, False),
     ('{"name": "Ada", "x": 1}', 0, False), ("sorry", 0, True)],
)  # fmt: skip
def test_schema(grade, text, value, unparsed) -> None:
    score = grade("json_schema", None, text, schema=SCHEMA)
    assert (score.value, score.unparsed) == (value, unparsed)


def test_schema_says_where_it_failed(grade) -> None:
    score = grade("json_schema", None, '{"name": "Ada", "age": "x"}', schema=SCHEMA)
    assert score.explanation == "$.age: 'x' is not of type 'integer'"


@pytest.mark.parametrize(
    "schema",
    [{"type": "nothing"}, {"$ref": "https://example.com/schema.json"}, {"$ref": "other.json#/x"},
     {"pattern": "(?=x)"}, {"patternProperties": {"(": {}}}],
)  # fmt: skip
def test_schema_must_be_one_and_stay_inside(grade, schema) -> None:
    with pytest.raises(ConfigError):
        grade("json_schema", None, "{}", schema=schema)


def test_schema_is_linear_in_hostile_answers(grade) -> None:
    text = json.dumps("a" * 300_000 + "!")
    assert grade("json_schema", None, text, schema={"pattern": "^(a+)+$"}).value == 0
    mixed = json.dumps([[i] if i % 2 else str(i) for i in range(40_000)])
    assert grade("json_schema", None, mixed, schema={"uniqueItems": True}).value == 1
    assert grade("json_schema", None, "[1, 2, 1]", schema={"uniqueItems": True}).value == 0
    names = {"patternProperties": {"^x": {"type": "integer"}}}
    assert grade("json_schema", None, '{"xa": 1, "y": "s"}', schema=names).value == 1
    assert grade("json_schema", None, '{"xa": "s"}', schema=names).value == 0


def test_a_schema_that_never_ends_is_not_the_answer_s_crash(grade) -> None:
    assert grade("json_schema", None, "{}", schema={"$ref": "#"}).value == 0


def test_fields_of_the_target_count_alike(grade) -> None:
    assert grade("json_fields", TARGET, json.dumps(TARGET)).value == 1
    assert grade("json_fields", json.dumps(TARGET), json.dumps(TARGET)).value == 1
    score = grade("json_fields", TARGET, json.dumps(TARGET | {"born": 1816, "tags": ["b", "a"]}))
    assert score.value == pytest.approx(3 / 5)
    assert score.explanation == "wrong: /born, /tags"
    assert grade("json_fields", TARGET, "{}").value == 0
    assert grade("json_fields", TARGET, "[]").unparsed


def test_fields_are_compared_by_kind(grade) -> None:
    close = {
        "name": "ada lovelace.",
        "born": "1,815",
        "address": {"city": "LONDON"},
        "tags": ["a", "b"],
        "alive": False,
    }
    assert grade("json_fields", TARGET, json.dumps(close)).value == 1
    assert grade("json_fields", {"a": True}, '{"a": 1}').value == 0
    assert grade("json_fields", {"a": 1}, '{"a": true}').value == 0
    assert grade("json_fields", {"a": None}, '{"a": null}').value == 1
    assert grade("json_fields", {"a": None}, "{}").value == 0
    assert grade("json_fields", {"a": 1}, '{"a": 1e400}').value == 0


def test_field_rules(grade) -> None:
    rules = {"born": {"weight": 3, "tolerance": 1}, "address.city": {"compare": "exact"}}
    assert grade("json_fields", TARGET, '{"born": 1816}', fields=rules).value == 0.75
    assert grade("json_fields", TARGET, '{"address": {"city": "london"}}', fields=rules).value == 0
    assert grade("json_fields", TARGET, '{"born": 1816}', fields=rules, all_or_nothing=True).value == 0
    listed = {"items": [{"a/b": 1}]}
    for path in ("/items/0/a~1b", "items.0.a/b"):
        assert grade("json_fields", listed, json.dumps(listed), fields={path: {}}).value == 1


def test_a_path_the_target_lacks_is_a_data_error(grade) -> None:
    with raises_code("target-field-missing", "adress.city"):
        grade("json_fields", TARGET, "", fields={"adress.city": {}})


def test_a_tool_call_s_arguments_are_the_answer() -> None:
    scorer = build_scorer(ScorerSpec(kind="json_fields"))
    answer = ModelAnswer(text="", tool_calls=(ToolCall(id="1", name="f", arguments='{"a": 1}'),))
    assert anyio.run(scorer.score, Sample(id="s", fields={}, target={"a": 1}), answer).value == 1
