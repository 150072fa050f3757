"""`json_schema`, `json_fields`: the answer is JSON of the right shape, or with the right values."""

import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from crossgrade.domain import JSON, ModelAnswer, Sample, Score
from crossgrade.evaluate.scorers._contract import Grade, graded, unparsed
from crossgrade.evaluate.scorers._json import NoJsonError, parse_json
from crossgrade.evaluate.scorers._options import Options, bad_sample, text_of
from crossgrade.evaluate.scorers._text import normalise
from crossgrade.evaluate.scorers.numeric import NumericOptions, read_number
from crossgrade.evaluate.scorers.pattern import compile_pattern

Compare = Literal["auto", "exact", "text", "number"]

_MISSING: Any = object()
_LENIENT = "Also find JSON in a code fence or after a sentence. If false, the whole answer must be JSON."


class JsonSchemaOptions(Options, frozen=True):
    """Options of `json_schema`."""

    schema: Annotated[
        dict[str, Any],
        Meta(description="A JSON schema (draft 2020-12). `$ref` may only refer to the schema itself."),
    ]
    lenient: Annotated[bool, Meta(description=_LENIENT)] = True

    def __post_init__(self) -> None:
        """Refuse what is not a schema, and one that would reach for the network."""
        _validator(self.schema)


class FieldRule(Options, frozen=True):
    """How one field is compared."""

    weight: Annotated[float, Meta(description="Share of the score, relative to the others.", gt=0)] = 1.0
    compare: Annotated[
        Compare,
        Meta(
            description="`text` ignores case and outer punctuation. `number` reads `$1,000.00` as 1000. "
            "`exact` requires equal JSON. `auto` is `number` for numbers, `text` for texts, and otherwise "
            "`exact`."
        ),
    ] = "auto"
    tolerance: Annotated[float, Meta(description="Largest accepted difference of numbers.", ge=0)] = 0.0


class JsonFieldsOptions(Options, frozen=True):
    """Options of `json_fields`."""

    fields: Annotated[
        dict[str, FieldRule],
        Meta(
            description="Paths (`address.city`, `items.0.price`, or a JSON pointer `/a~1b`) with their "
            "rules. By default every leaf of the target has the same weight."
        ),
    ] = msgspec.field(default_factory=dict)
    all_or_nothing: Annotated[
        bool,
        Meta(description="Score 1 if every field is right and 0 otherwise, instead of the weighted share."),
    ] = False
    lenient: Annotated[bool, Meta(description=_LENIENT)] = True


def text_or_arguments(answer: ModelAnswer) -> str:
    """Return the answer's text, or the arguments of its first tool call where it wrote no text."""
    if answer.text.strip() or not answer.tool_calls:
        return answer.text
    return answer.tool_calls[0].arguments


def json_schema(options: JsonSchemaOptions) -> Grade:
    """Return the grader: 1 if the answer holds JSON valid under the schema, else 0."""
    validator = _validator(options.schema)

    def grade(_: Sample, text: str) -> Score:
        try:
            value = parse_json(text, lenient=options.lenient)
        except NoJsonError as error:
            return unparsed(str(error))
        try:
            first = next(validator.iter_errors(value), None)
        except RecursionError:
            return graded(0, _shown(value), "the schema refers to itself without end")
        why = f"{first.json_path}: {first.message[:300]}" if first else None
        return graded(first is None, _shown(value), why)

    return grade


def json_fields(options: JsonFieldsOptions) -> Grade:
    """Return the grader: the weighted share of the target's fields that the answer got right."""

    def grade(sample: Sample, text: str) -> Score:
        checks = list(_checks(sample, options))
        try:
            value = parse_json(text, lenient=options.lenient)
        except NoJsonError as error:
            return unparsed(str(error))
        if not isinstance(value, dict):
            return unparsed("the JSON is not an object")
        wrong = [path for path, rule, same in checks if not same(_at(value, path))]
        total = math.fsum(rule.weight for _, rule, _ in checks)
        lost = math.fsum(rule.weight for path, rule, _ in checks if path in wrong)
        right = float(not wrong) if options.all_or_nothing else max(0.0, 1 - lost / total)
        return graded(right, _shown(value), f"wrong: {', '.join(wrong[:20])}" if wrong else None)

    return grade


def _shown(value: JSON) -> str:
    return msgspec.json.encode(value).decode(errors="replace")[:1000]


def _validator(schema: dict[str, Any]) -> Any:
    """Return a validator whose patterns run in linear time and whose references stay inside."""
    import jsonschema
    from jsonschema.validators import extend
    from referencing import Registry

    for reference in _references(schema):
        if not reference.startswith("#"):
            raise ValueError(
                f"`$ref` {reference[:80]!r} leads outside the schema; copy what it names into `$defs`"
            )
    linear = extend(  # type: ignore[no-untyped-call]  # jsonschema's stub has no types here
        jsonschema.Draft202012Validator,
        {"pattern": _pattern, "patternProperties": _pattern_properties, "uniqueItems": _unique_items},
    )
    try:
        linear.check_schema(schema)
    except (jsonschema.SchemaError, RecursionError) as error:
        raise ValueError(f"not a JSON schema: {getattr(error, 'message', 'too deep')}") from error
    for pattern in _patterns(schema):
        compile_pattern(pattern)
    return linear(schema, registry=Registry())


def _nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for child in node.values():
            yield from _nodes(child)
    elif isinstance(node, list):
        for child in node:
            yield from _nodes(child)


def _references(schema: dict[str, Any]) -> Iterator[str]:
    for node in _nodes(schema):
        yield from (node[key] for key in ("$ref", "$dynamicRef") if isinstance(node.get(key), str))


def _patterns(schema: dict[str, Any]) -> Iterator[str]:
    for node in _nodes(schema):
        if isinstance(node.get("pattern"), str):
            yield node["pattern"]
        if isinstance(node.get("patternProperties"), dict):
            yield from node["patternProperties"]


def _pattern(validator: Any, pattern: str, instance: Any, _: Any) -> Iterator[Any]:
    from jsonschema import ValidationError

    if validator.is_type(instance, "string") and not compile_pattern(pattern).search(instance):
        yield ValidationError(f"does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], instance: Any, _: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, schema in patterns.items():
        compiled = compile_pattern(pattern)
        for name, value in instance.items():
            if compiled.search(name):
                yield from validator.descend(value, schema, path=name, schema_path=pattern)


def _unique_items(validator: Any, wanted: bool, instance: Any, _: Any) -> Iterator[Any]:  # noqa: FBT001  # jsonschema's signature
    from jsonschema import ValidationError

    if wanted and validator.is_type(instance, "array"):
        distinct = {msgspec.json.encode(item, order="sorted") for item in instance}
        if len(distinct) < len(instance):
            yield ValidationError("has equal items")


def _checks(
    sample: Sample, options: JsonFieldsOptions
) -> Iterator[tuple[str, FieldRule, Callable[[Any], bool]]]:
    """Yield path, rule and comparison of each field that counts for a sample."""
    target: Any = sample.target
    try:
        target = parse_json(target, lenient=False) if isinstance(target, str) else target
    except NoJsonError:
        target = None
    if not isinstance(target, Mapping) or not target:
        raise bad_sample(
            "json_fields", sample, f"the target {str(sample.target)[:80]!r} is not a JSON object",
            "give the right fields as an object (or as JSON text) in the `target_field` column",
            code="target-not-json",
        )  # fmt: skip
    for path, rule in (options.fields or {path: FieldRule() for path in _leaves(target)}).items():
        wanted = _at(target, path)
        if wanted is _MISSING:
            raise bad_sample(
                "json_fields",
                sample,
                f"the target has no field `{path}`",
                "correct the path in `fields`",
                code="target-field-missing",
            )
        yield path, rule, partial(_same, rule, wanted)


def _leaves(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield the JSON pointers of everything below objects; lists are compared whole."""
    if isinstance(node, Mapping) and node:
        for name, child in node.items():
            yield from _leaves(child, f"{prefix}/{name.replace('~', '~0').replace('/', '~1')}")
    else:
        yield prefix


def _at(node: Any, path: str) -> Any:
    if path.startswith("/"):
        steps = [step.replace("~1", "/").replace("~0", "~") for step in path[1:].split("/")]
    else:
        steps = path.split(".")
    for step in steps:
        if isinstance(node, Mapping) and step in node:
            node = node[step]
        elif isinstance(node, list | tuple) and step.isdecimal() and len(step) < 7 and int(step) < len(node):
            node = node[int(step)]
        else:
            return _MISSING
    return node


def _same(rule: FieldRule, wanted: Any, seen: Any) -> bool:
    if seen is _MISSING:
        return False
    compare = rule.compare
    if compare == "auto":
        number = isinstance(wanted, int | float) and not isinstance(wanted, bool)
        compare = "number" if number else "text" if isinstance(wanted, str) else "exact"
    if compare == "number":
        return _same_number(wanted, seen, rule.tolerance)
    if compare == "text":
        texts = text_of(wanted), text_of(seen)
        return None not in texts and normalise(texts[0] or "") == normalise(texts[1] or "")
    return msgspec.json.encode(wanted, order="sorted") == msgspec.json.encode(seen, order="sorted")


def _same_number(wanted: Any, seen: Any, tolerance: float) -> bool:
    left, right = _number(wanted), _number(seen)
    if left is None or right is None:
        return False
    return abs(left - right) <= max(Fraction(tolerance), abs(left) / 10**9)


def _number(value: Any) -> Fraction | None:
    if isinstance(value, bool) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    if isinstance(value, int | float):
        return Fraction(value)
    found = read_number(value, NumericOptions(take="only")) if isinstance(value, str) else None
    return found.value if found else None
