"""Hostile YAML 1.2 text to plain data with the line and column of every key.

ruamel.yaml only splits the text into events. The tree is built from them here, not by a constructor. This
limits depth and aliases while reading, and no tag can have an effect.

No file, message or record may hold an API key, so literals that look like one are recognised here.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
    StreamStartEvent,
)

from crossgrade.domain import JSON
from crossgrade.errors import ConfigError

KEY_SEEN = "this looks like a secret, which does not belong in the file"
REMOVE_KEY = (
    "remove it, put the key into an environment variable and name that variable in `api_key_env`; "
    "if this file was ever shared, revoke the key"
)

_KEY = re.compile(
    r"""(?x)
    \b(?: sk-[A-Za-z0-9_-]{16,}            # OpenAI, Anthropic, OpenRouter, DeepSeek
    | (?:gsk|xai|hf|fw|csk|r8|tgp_v1|nvapi|pplx|ghp|gho|github_pat|glpat)[_-][A-Za-z0-9_-]{16,}
    | AIza[A-Za-z0-9_-]{30,}               # Google
    | (?:AKIA|ASIA)[A-Z0-9]{16}            # AWS
    | ABSK[A-Za-z0-9+/=]{30,}              # Bedrock
    | eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.   # JWT
    | LLM\|[0-9]+\|[A-Za-z0-9_-]+          # Llama API
    ) | -----BEGIN[A-Z ]*PRIVATE\ KEY----- | \bBearer\s+[A-Za-z0-9._~+/-]{16,}
    """
)


def looks_secret(text: str) -> bool:
    """Tell whether a text contains what looks like an API key, or a URL with a password."""
    return _KEY.search(text) is not None or _url_password(text)


def _url_password(text: str) -> bool:
    if "://" not in text or "@" not in text or any(c.isspace() for c in text):
        return False
    try:
        return bool(urlsplit(text).password)
    except ValueError:
        return False


MAX_BYTES = 1 << 20
MAX_EXPANDED_CHARACTERS = 4 << 20
MAX_DEPTH = 32
MAX_LINE_CHARACTERS = 1 << 16

# The core schema of YAML 1.2.2, section 10.3.2: `no`, `on` and dates are text.
_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INTEGER = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_MAX_NUMBER_CHARACTERS = 40

Position = tuple[int, int]
"""Line and column, both from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class YamlTree:
    """A parsed file: JSON-able `data`, and `positions` by dotted key path (`models.a.prices.0`)."""

    file: Path
    data: JSON
    positions: dict[str, Position]

    def locate(self, where: str) -> Position | None:
        """Return the line and column of the key at `where`, or of its nearest parent in the file."""
        while where and where not in self.positions:
            where = where.rpartition(".")[0]
        return self.positions.get(where)

    def error(self, where: str, message: str, hint: str | None = None, *, code: str) -> ConfigError:
        """Make a ConfigError that points at the key at `where`."""
        line, column = self.locate(where) or (None, None)
        return ConfigError(
            message, code=code, file=self.file, line=line, column=column, where=where or None, hint=hint
        )


def read_yaml(file: Path) -> YamlTree:
    """Read a YAML file.

    Refused with a ConfigError that points at the place: more than 1 MiB, another encoding than
    UTF-8, more than 32 levels, aliases that expand to more than 4 MiB, tags, merge keys,
    duplicate or non-text keys, several documents, numbers that are not finite.
    """
    return parse_yaml(_read_text(file), file)


def parse_yaml(text: str, file: Path) -> YamlTree:
    """Parse YAML text; `file` is only named in errors."""
    for number, line in enumerate(text.split("\n"), start=1):
        if len(line) > MAX_LINE_CHARACTERS:  # the scanner is quadratic in some of them
            message = f"a line is longer than {MAX_LINE_CHARACTERS:,} characters"
            raise ConfigError(
                message,
                code="yaml-line-too-long",
                file=file,
                line=number,
                hint="fold long text with `>` or `|`",
            )
    try:
        return _Builder(file, YAML(typ="safe", pure=True).parse(text)).document()
    except MarkedYAMLError as error:
        raise _syntax_error(error, file) from None
    except YAMLError as error:  # characters that YAML does not allow
        position = getattr(error, "position", None)
        at = text.count("\n", 0, position) + 1 if isinstance(position, int) else None
        hint = 'remove the control characters, or write them as escapes in a "double-quoted" text'
        raise ConfigError(
            "not a text that YAML allows", code="yaml-invalid", file=file, line=at, hint=hint
        ) from None


def _read_text(file: Path) -> str:
    if not file.is_file():
        raise ConfigError(
            "no such file" if not file.exists() else "not a regular file",
            code="config-missing",
            file=file,
            hint="write one with `crossgrade init`, or name it with `--config PATH`",
        )
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot be read: {error.strerror}",
            code="config-unreadable",
            file=file,
            hint="check its permissions",
        ) from None
    if len(content) > MAX_BYTES:
        hint = "keep data in the dataset files; the configuration only names them"
        raise ConfigError("larger than 1 MiB", code="config-too-large", file=file, hint=hint)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        hint = "save it as UTF-8"
        raise ConfigError("not UTF-8 text", code="config-not-utf8", file=file, line=line, hint=hint) from None


def _syntax_error(error: MarkedYAMLError, file: Path) -> ConfigError:
    mark = error.problem_mark or error.context_mark
    problem = str(error.problem or error.context or "cannot be parsed")
    if looks_secret(problem):
        problem = "cannot be parsed"
    hint = "check indentation, quotes and brackets on this line and the one before"
    if "'\\t'" in problem:
        problem, hint = "a tab is used for indentation, which YAML does not allow", "indent with spaces"
    elif "mapping values are not allowed" in problem:
        problem = "a `:` where no key can be"
        hint = "quote the text if it contains `: `, and indent keys of one mapping alike"
    line, column = (mark.line + 1, mark.column + 1) if mark is not None else (None, None)
    return ConfigError(
        f"not valid YAML: {problem}", code="yaml-invalid", file=file, line=line, column=column, hint=hint
    )


@dataclass(slots=True)
class _Anchored:
    value: JSON
    size: int


@dataclass(slots=True)
class _Builder:
    file: Path
    events: Iterator[Event]
    positions: dict[str, Position] = field(default_factory=dict)
    anchors: dict[str, _Anchored] = field(default_factory=dict)
    size: int = 0

    def document(self) -> YamlTree:
        data: JSON = None
        documents = 0
        for event in self.events:
            if isinstance(event, DocumentStartEvent):
                documents += 1
                if documents > 1:
                    self.refuse(
                        event,
                        "",
                        "a second document begins here",
                        "keep one document a file",
                        code="yaml-documents",
                    )
                if event.version is not None or event.tags:
                    self.refuse(
                        event,
                        "",
                        "a `%` directive is not allowed",
                        "remove the lines that start with `%`",
                        code="yaml-not-allowed",
                    )
                data = self.node(next(self.events), "", 0)
            elif isinstance(event, StreamEndEvent):
                break
            else:
                assert isinstance(event, StreamStartEvent) or documents, event
        return YamlTree(file=self.file, data=data, positions=self.positions)

    def node(self, event: Event, where: str, depth: int) -> JSON:
        if depth > MAX_DEPTH:
            self.refuse(
                event, "", f"nested deeper than {MAX_DEPTH} levels", "flatten it", code="yaml-too-deep"
            )
        if isinstance(event, AliasEvent):
            return self.alias(event, where)
        tag = getattr(event, "tag", None)
        if tag is not None:
            hint = "remove it, or quote the text if it starts with `!`"
            self.refuse(event, where, "a YAML tag is not allowed", hint, code="yaml-tag")
        before = self.size
        value: JSON
        if isinstance(event, MappingStartEvent):
            value = self.mapping(where, depth)
        elif isinstance(event, SequenceStartEvent):
            value = self.sequence(where, depth)
        else:
            assert isinstance(event, ScalarEvent)
            value = self.scalar(event, where)
        if event.anchor is not None:
            self.anchors[event.anchor] = _Anchored(value, self.size - before)
        return value

    def alias(self, event: AliasEvent, where: str) -> JSON:
        anchored = self.anchors.get(event.anchor)
        if anchored is None:
            message = "an alias (`*`) refers to itself or to nothing before it"
            self.refuse(
                event, where, message, "quote the text if it starts with `*`", code="yaml-alias-unknown"
            )
        self.grow(anchored.size, event, where)
        return anchored.value

    def mapping(self, where: str, depth: int) -> JSON:
        items: dict[str, JSON] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            key = self.key(event, where)
            place = f"{where}.{key}" if where else key
            if key in items:
                line, _ = self.positions[place]
                self.refuse(
                    event,
                    place,
                    f"key `{_short(key)}` appears twice (first on line {line})",
                    "keep one of the two",
                    code="key-repeated",
                )
            self.positions[place] = _position(event)
            items[key] = self.node(next(self.events), place, depth + 1)
        return items

    def key(self, event: Event, where: str) -> str:
        if not isinstance(event, ScalarEvent) or getattr(event, "tag", None) is not None:
            self.refuse(event, where, "a key must be plain text", "quote the key", code="key-not-text")
        if event.value == "<<" and event.implicit[0]:
            self.refuse(
                event, where, "merge keys (`<<`) are not allowed", "write the keys out", code="yaml-merge-key"
            )
        key = self.text(event, where)
        if looks_secret(key):
            self.refuse(event, where, KEY_SEEN, REMOVE_KEY, code="secret-in-file")
        return key

    def sequence(self, where: str, depth: int) -> JSON:
        items: list[JSON] = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            place = f"{where}.{len(items)}" if where else str(len(items))
            self.positions[place] = _position(event)
            items.append(self.node(event, place, depth + 1))
        return items

    def scalar(self, event: ScalarEvent, where: str) -> JSON:
        text = self.text(event, where)
        if not event.implicit[0]:
            return text
        return self.plain(event, text, where)

    def text(self, event: ScalarEvent, where: str) -> str:
        text = str(event.value)
        self.grow(len(text) + 1, event, where)
        if _NOT_TEXT.search(text):
            self.refuse(
                event,
                where,
                "an escape that is not a character",
                "write the character itself",
                code="yaml-escape",
            )
        return text

    def plain(self, event: ScalarEvent, text: str, where: str) -> JSON:
        if _NULL.fullmatch(text):
            return None
        if _TRUE.fullmatch(text) or _FALSE.fullmatch(text):
            return text[0] in "tT"
        if _NOT_FINITE.fullmatch(text):
            self.refuse(
                event,
                where,
                f"`{text}` is not a finite number",
                "leave the key out if it is unknown",
                code="number-not-finite",
            )
        if not _INTEGER.fullmatch(text) and not _FLOAT.fullmatch(text):
            return text
        if len(text) > _MAX_NUMBER_CHARACTERS:
            self.refuse(
                event,
                where,
                f"a number of {len(text):,} digits",
                "quote it if it is text",
                code="number-too-long",
            )
        if _INTEGER.fullmatch(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        number = float(text)
        if number in (float("inf"), float("-inf")):
            self.refuse(
                event,
                where,
                f"`{text}` is too large a number",
                "quote it if it is text",
                code="number-too-large",
            )
        return number

    def grow(self, characters: int, event: Event, where: str) -> None:
        self.size += characters
        if self.size > MAX_EXPANDED_CHARACTERS:
            self.refuse(
                event,
                where,
                "aliases expand to more than 4 MiB",
                "write the values out",
                code="yaml-aliases-expand",
            )

    def refuse(self, event: Event, where: str, message: str, hint: str, *, code: str) -> NoReturn:
        line, column = _position(event)
        raise ConfigError(
            message, code=code, file=self.file, line=line, column=column, where=where or None, hint=hint
        )


def _position(event: Any) -> Position:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _short(text: str) -> str:
    return text if len(text) <= 40 else text[:37] + "…"
