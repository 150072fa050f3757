"""Every problem of a configuration at once, in words, each with its place."""

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args, get_origin

from pydantic import ValidationError

from crossgrade.config._schema import ConfigFile, ModelSection
from crossgrade.config._section import NAME_WANTED, Section
from crossgrade.config._yaml import KEY_SEEN, REMOVE_KEY, YamlTree, looks_secret
from crossgrade.domain import JSON
from crossgrade.errors import ConfigError, hint_among

_MAX_SHOWN = 60
_SECRET_KEYS = ("api_key", "apikey", "key", "token", "secret", "password", "authorization")
_WANTED = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "date_type": "must be a date, YYYY-MM-DD",
    "date_parsing": "must be a date, YYYY-MM-DD",
    "date_from_datetime_parsing": "must be a date, YYYY-MM-DD",
    "date_from_datetime_inexact": "must be a date without a time",
    "decimal_type": "must be a number",
    "decimal_parsing": "must be a number",
    "string_too_short": "must not be empty",
    "too_short": "must not be empty",
}
_BOUNDS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
    "too_long": ("max_length", "at most this many entries:"),
}
_ADDRESS_WANTED = "must be an address that starts with http:// or https://"
_VARIABLE_WANTED = "must be the name of an environment variable: letters, digits and `_`"
_PATTERNS = {
    "base_url": _ADDRESS_WANTED,
    "webhook_url": _ADDRESS_WANTED,
    "url": _ADDRESS_WANTED,
    "sha256": "must be 64 hexadecimal digits in lower case",
    "issuer": _ADDRESS_WANTED,
    "api_key_env": _VARIABLE_WANTED,
    "webhook_secret_env": _VARIABLE_WANTED,
    "country": "must be a country code of ISO 3166 in capital letters, such as `DE`, `GB` or `GR`",
    "issuers": "must be an issuer's address that starts with https://, or `keys`",
    "acr": "must be 1 to 200 visible ASCII characters other than quotes and backslashes",
    "claim": "must be a dotted path of at most 200 characters, without spaces",
}
_NAME_WANTED = f"must be {NAME_WANTED}"


class InvalidConfigError(ConfigError):
    """A configuration with one or more problems; the error itself is the first of `problems`."""

    def __init__(self, problems: Sequence[ConfigError]) -> None:
        first = problems[0]
        super().__init__(
            first.message,
            code=first.code,
            file=first.file,
            line=first.line,
            column=first.column,
            where=first.where,
            hint=first.hint,
        )
        self.problems = tuple(problems)


@dataclass(slots=True)
class SectionResolver:
    """Turns sections of the file into domain objects, adding what is wrong to `problems`."""

    tree: YamlTree
    problems: list[ConfigError]

    def _refuse(self, where: str, message: str, hint: str | None, *, code: str) -> None:
        self.problems.append(self.tree.error(where, message, hint, code=code))


def raise_problems(problems: Iterable[ConfigError]) -> None:
    """Raise the problems, in file order, as one error; do nothing if there are none."""
    distinct = {(problem.location, problem.message): problem for problem in problems}
    ordered = sorted(distinct.values(), key=lambda problem: (problem.line or 0, problem.column or 0))
    if ordered:
        raise InvalidConfigError(ordered)


def secret_problems(tree: YamlTree) -> list[ConfigError]:
    """Point at every literal that looks like a key or holds a password, without repeating it."""
    found = []
    for where, text in _texts(tree.data, ""):
        if looks_secret(text):
            from_environment = "remove it and set CROSSGRADE_DATABASE_URL in the environment instead"
            hint = from_environment if where == "store" else REMOVE_KEY
            found.append(tree.error(where, KEY_SEEN, hint, code="secret-in-file"))
    return found


def schema_problems(tree: YamlTree, error: ValidationError) -> list[ConfigError]:
    """Turn pydantic's errors into ours."""
    return [_problem(tree, each) for each in error.errors(include_url=False)]


def _texts(value: JSON, where: str) -> Iterable[tuple[str, str]]:
    if isinstance(value, str):
        yield where, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _texts(inner, f"{where}.{key}" if where else key)
    elif isinstance(value, Sequence):
        for index, inner in enumerate(value):
            yield from _texts(inner, f"{where}.{index}" if where else str(index))


def _problem(tree: YamlTree, error: Any) -> ConfigError:
    kind, loc = error["type"], error["loc"]
    if not loc:
        return tree.error(
            "", f"the file {_wanted(error, '')} (saw: {shown(error['input'])})", code="value-invalid"
        )
    where, key = _dotted(loc), str(loc[-1])
    if key == "[key]":
        return tree.error(
            _dotted(loc[:-1]),
            f"a name {_NAME_WANTED} (saw: {_seen(error, key)})",
            "rename it",
            code="name-invalid",
        )
    if kind == "extra_forbidden":
        return tree.error(
            where, f"unknown key {shown(key)}", _unknown_key_hint(key, loc), code="key-not-allowed"
        )
    if kind == "missing":
        return tree.error(
            _dotted(loc[:-1]), f"`{key}` is missing", _about(loc) or f"add `{key}:`", code="key-missing"
        )
    name = key if isinstance(loc[-1], str) else f"{_list_name(loc)}[{key}]"
    code = "value-unknown" if kind == "literal_error" else "value-invalid"
    return tree.error(
        where,
        f"`{name}` {_wanted(error, _list_name(loc))} (saw: {_seen(error, key)})",
        _about(loc) or None,
        code="value-out-of-range" if kind in _BOUNDS else code,
    )


def _wanted(error: Any, key: str) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"must be {words} {_plain(context[name])}"
    if kind == "literal_error":
        return f"must be {str(context['expected']).replace(chr(39), '`')}"
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(key, _NAME_WANTED)
    return _WANTED.get(kind) or f"is wrong: {str(error['msg'])[:1].lower()}{str(error['msg'])[1:]}"


def _seen(error: Any, key: str) -> str:
    # What is written where the *name* of a variable belongs is often the key itself.
    return "not shown" if key.endswith("_env") else shown(error["input"], quote='"')


def shown(value: Any, quote: str = "`") -> str:
    """Show a value of the file in an error, shortened; secrets were refused before."""
    if isinstance(value, Mapping):
        return "a mapping" if value else "an empty mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    text = value if isinstance(value, str) else json.dumps(value)
    text = text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"
    return f"{quote}{text}{quote}" if isinstance(value, str) else text


def _unknown_key_hint(key: str, loc: tuple[str | int, ...]) -> str | None:
    section = _section_of(loc[:-1])
    if key.lower() in _SECRET_KEYS:
        return "keys never stand in the file: name an environment variable in `api_key_env`"
    return hint_among(key, section.model_fields) if section else None


def _about(loc: tuple[str | int, ...]) -> str:
    """Say what a key is for, in the words of its description."""
    names = [part for part in loc if isinstance(part, str)]
    section = _section_of(loc[:-1] if loc and isinstance(loc[-1], str) else loc[:-2])
    field = section.model_fields.get(names[-1]) if section and names else None
    description = field.description if field else None
    return f"`{names[-1]}`: {description[:1].lower()}{description[1:].rstrip('.')}" if description else ""


def _section_of(loc: tuple[str | int, ...]) -> type[Section] | None:
    """Return the section whose keys stand at a location, or None below free-form JSON."""
    section: type[Section] = ConfigFile
    skip = False
    for part in loc:
        if skip:
            skip = False
            continue
        field = section.model_fields.get(str(part))
        inner, skip = _inner(field.annotation) if field else (None, False)
        if inner is None:
            return None
        section = inner
    return section


def _inner(annotation: Any) -> tuple[type[Section] | None, bool]:
    """Return the section inside an annotation, and whether a name or index leads to it."""
    if inspect.isclass(annotation) and issubclass(annotation, Section):
        return annotation, False
    for argument in get_args(annotation):
        section, skip = _inner(argument)
        if section is not None:
            return section, skip or get_origin(annotation) in (dict, list)
    return None, False


def _list_name(loc: tuple[str | int, ...]) -> str:
    return next((part for part in reversed(loc) if isinstance(part, str)), "the file")


def _dotted(loc: tuple[str | int, ...]) -> str:
    return ".".join(str(part) for part in loc)


def _plain(bound: Any) -> str:
    return f"{bound:g}" if isinstance(bound, float) else str(bound)


_OPENAI = frozenset({"openai", "azure"})


def is_same_model(provider: str, model: str, other_provider: str, other_model: str) -> bool:
    """Tell whether two offers are one model: the same id at one provider.

    What OpenAI sells, Azure does too, where customers choose the names themselves.
    """
    if "azure" in (provider, other_provider):
        return {provider, other_provider} <= _OPENAI
    return (provider, model) == (other_provider, other_model)


def replica_problems(models: Mapping[str, ModelSection]) -> Iterator[tuple[str, str, str | None]]:
    """Yield place, message and hint of what is wrong with the models' replicas."""
    taken: dict[str, str] = {}
    for name, section in models.items():
        for index, replica in enumerate(section.replicas):
            where = f"models.{name}.replicas.{index}"
            other = models.get(replica)
            if other is None:
                yield where, f"no model {shown(replica)} under `models`", hint_among(replica, models)
            elif replica in taken:
                yield where, f"{shown(replica)} is a replica of `{taken[replica]}` already", "remove it here"
            elif replica == name or other.replicas:
                what = "the model itself" if replica == name else "no replica: it has replicas of its own"
                yield (
                    where,
                    f"{shown(replica)} is {what}",
                    f"list all replicas of `{name}` here",
                )
            elif not is_same_model(section.provider, section.model, other.provider, other.model):
                one, two = f"{section.model} at {section.provider}", f"{other.model} at {other.provider}"
                hint = "certify it as a candidate, or list it as a fallback of the route"
                yield where, f"{shown(replica)} is another model ({two}) than `{name}` ({one})", hint
            taken.setdefault(replica, name)
