"""What is checked of a JSON object that is too large to be parsed, in one pass and constant memory.

The scan reads structure only: it goes from bracket to bracket and from key to key, and jumps over texts and
numbers. It finds the top-level `model` and the numbers that bound an answer. It refuses what is refused in a
small body too: forbidden keys, `model` twice or in another spelling, too many choices, too deep nesting.
"""

import re
from typing import Final, TypeAlias

import msgspec

from crossgrade.gateway._problems import Problem, bad_request

MAX_DEPTH: Final = 128
MOST_CHOICES: Final = 128
BACKSLASH: Final = ord("\\")
"""As a number, it is found in a third of the time that it takes as bytes."""

_NAMES = frozenset((
    "api_base", "api_base_url", "api_key", "api_type", "api_version", "apikey", "api-key", "api-base",
    "azure_ad_token", "azure_ad_token_provider", "azure_deployment", "azure_endpoint", "azure_password",
    "base_url", "base-url", "client_id", "client_secret", "content_policy_fallbacks",
    "context_window_fallbacks",
    "custom_llm_provider", "default_headers", "default_query", "deployment_id", "endpoint_url",
    "extra_body", "extra_headers", "extra_query", "fallbacks", "headers", "kwargs", "litellm_credential_name",
    "litellm_metadata", "litellm_params", "litellm_settings", "model_list", "mock_response",
    "mock_tool_calls", "optional_params", "organization", "proxies", "proxy", "region_name",
    "router_settings", "tenant_id", "user_config",
))  # fmt: skip
_LABELS = frozenset(("client_id", "headers", "organization", "proxy", "region_name", "tenant_id"))
"""Names that people also use for labels. They are accepted under `metadata`."""

_PREFIXES = ("aws_", "azure_", "litellm_", "mock_", "vertex_")

ALIKE: Final = str.maketrans({"\u0130": "i", "\u0131": "i", "\u017f": "s", "\u212a": "k"})
"""Letters that a parser which ignores case may take for others."""

SUSPECT_NAME: Final = (
    rb"a(?:pi[_-]?(?:base|key|type|version)|ws_|zure_)|base[_-]url|c(?:lient_(?:id|secret)|ontent_policy_f"
    rb"|ontext_window_f|ustom_llm_)|de(?:fault_(?:headers|query)|ployment_id)|e(?:ndpoint_url|xtra_(?:body|headers"
    rb"|query))|fallbacks|headers|kwargs|litellm_|mo(?:ck_|del_list)|o(?:ptional_params|rganization)|prox(?:y|ies)"
    rb"|r(?:egion_name|outer_settings)|tenant_id|user_config|vertex_"
)
"""How forbidden keys begin. It begins with one letter for each, which is fast."""

OWN_WORDS: Final = frozenset(
    (
        ("tools", "function", "parameters"),
        ("tools", "parameters"),
        ("tools", "input_schema"),
        ("functions", "parameters"),
        ("response_format", "json_schema", "schema"),
        ("response_format", "schema"),
        ("text", "format", "schema"),
        ("output_config", "format", "schema"),
        ("output_format", "schema"),
        ("messages", "content", "input"),
        ("guided_json",),
        ("structured_outputs", "json"),
        ("tools", "headers"),
        ("tools", "input_examples"),
        ("prompt", "variables"),
    )
)
"""The places where keys are the caller's own words, as paths of keys from the top."""

Path: TypeAlias = tuple[str, ...] | None
"""The keys that lead to an object; None for a place that leads to none of `OWN_WORDS` or `metadata`."""

_KEPT = 512
"""The bytes of a key that are read. No key that matters is longer, even with every letter as an escape."""

_LONGEST_VALUE = 4096
"""The longest value of a field that is read, with the spaces around it."""

MOST_FIELDS: Final = 1_000
"""The top-level fields of a body that are looked at one by one."""

_LONGEST_PATH = max(map(len, OWN_WORDS)) + 1

_TOKEN = re.compile(rb'["{}\[\]]')
_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_SPACE = re.compile(rb"[ \t\r\n]*+")
_VALUE = re.compile(rb'[ \t\r\n]*+("(?:[^"\\]|\\.)*+"|[^ \t\r\n,}\]"{\[]++)', re.DOTALL)
_QUOTE, _COLON, _OPEN, _CLOSE = b'":{}'
_BRACKETS = b"{["
_PLAIN_LEVELS = 2
_PART_BYTES = 16
_FEWEST_PARTS = 10_000
"""A body may have so many parts that are looked at one by one, and one more for each `_PART_BYTES` bytes."""


def _run(key: bytes) -> tuple[re.Pattern[bytes], re.Pattern[bytes]]:
    """Return what matches any number of plain members of an object, and any number of plain items of a list.

    Plain ones have no keys but such as `key` matches, and are nested two levels deep at most. Most bodies
    have hardly any other parts.
    """
    space = rb"[ \t\r\n]*+"
    plain = rb'(?:"%b"|[^ \t\r\n"{}\[\],:]++)' % _REST.pattern
    member = rb"(?:%b%b:%b%%b%b,?%b)*+" % (key, space, space, space, space)
    item = rb"(?:%%b%b,?%b)*+" % (space, space)
    for _ in range(_PLAIN_LEVELS):
        inner = (space, member % plain, space, item % plain)
        plain = rb"(?:%b|\{%b%b\}|\[%b%b\])" % (plain, *inner)
    return re.compile(rb"%b,?%b" % (space, space) + member % plain, re.DOTALL), re.compile(
        rb"%b,?%b" % (space, space) + item % plain, re.DOTALL
    )


_RUNS = _run(rb'"(?!(?i:%b))[^"\\\x80-\xff]*+"' % SUSPECT_NAME)  # letters beyond ASCII may be alike
_OWN_RUNS = _run(rb'"%b"' % _REST.pattern)
_CHOICES = ("n", "best_of")
_BOUNDS = frozenset((*_CHOICES, "max_tokens", "max_completion_tokens", "max_output_tokens"))


class _Node:
    """An open object or list: the keys that lead to it, and whether keys in it are the caller's own words."""

    __slots__ = ("is_object", "own", "path", "run")

    def __init__(self, path: tuple[str, ...], *, is_object: bool, own: bool) -> None:
        self.path = path
        self.is_object = is_object
        self.own = own
        self.run = (_OWN_RUNS if own else _RUNS)[0 if is_object else 1].match


class BodyScan:
    """Takes a body's bytes in pieces; `problem` is why it is refused, as soon as that is known.

    `span` is where the value of the top-level `model` is, None while it was not read. `bounds` are the
    top-level numbers that bound the answer. `names` are the other top-level keys, in lower case. The body is
    not checked to be JSON in every respect.
    """

    def __init__(self) -> None:
        self.problem: Problem | None = None
        self.span: tuple[int, int] | None = None
        self.bounds: dict[str, int] = {}
        self.names: set[str] = set()
        self._nodes: list[_Node] = []
        self._key = ""
        self._at = self._parts = 0
        self._tail = b""
        self._name: bytes | None = None
        self._inside = self._escaped = self._closed = False

    def feed(self, data: bytes) -> None:
        """Take the next piece."""
        if self.problem is None:
            if self._tail:
                data = self._tail + data
            read = self._read(data)
            self._tail = data[read:]
            self._at += read

    def end(self) -> Problem | None:
        """Note the end of the body; return why it is refused, None if it is accepted."""
        if self.problem is None and not self._closed:
            self.problem = _not_json("it ends too early")
        return self.problem

    def _read(self, data: bytes) -> int:
        """Read a piece; return from where on it is needed again, together with the next one."""
        size, nodes = len(data), self._nodes
        at = self._go_on(data) if self._inside else 0
        most = _FEWEST_PARTS + (self._at + size) // _PART_BYTES
        while at < size and self.problem is None:
            start = at
            if self._name is not None:
                at = self._after_string(self._name, data, at)
            else:
                if 1 < len(nodes) < MAX_DEPTH - _PLAIN_LEVELS:
                    at = nodes[-1].run(data, at).end()  # type: ignore[union-attr]  # it matches nothing as well
                found = _TOKEN.search(data, at)
                if found is None:
                    return size
                start, at = found.start(), self._take(data, found.end())
                self._parts += 1
                if self._parts > most:
                    self.problem = TOO_MANY_FIELDS
            if at < 0:
                return start
        return size

    def _take(self, data: bytes, at: int) -> int:
        """Take the quote or bracket before a position; return where to go on, -1 if more bytes are needed."""
        token = data[at - 1]
        if token in _BRACKETS:
            self._open(is_object=token == _OPEN)
        elif token != _QUOTE:
            self._close(is_object=token == _CLOSE)
        else:
            end = _string_end(data, at)
            if end < 0 and len(data) - at < _KEPT:
                return -1
            self._keep_name(data[at : min(end, at + _KEPT) if end >= 0 else at + _KEPT])
            if end < 0:
                self._inside, self._escaped = True, _ends_escaped(data)
            return len(data) if end < 0 else end + 1
        return at

    def _after_string(self, name: bytes, data: bytes, at: int) -> int:
        """Read what follows a string of an object, which is a key if it is a colon."""
        after = _SPACE.match(data, at).end()  # type: ignore[union-attr]  # it matches nothing as well
        if after == len(data):
            return after
        if data[after] == _COLON:
            after = self._take_key(name, data, after + 1)
            if after < 0:
                return -1
        self._name = None
        return after

    def _go_on(self, data: bytes) -> int:
        """Read on in a string that is longer than the last piece; return where it ends in this one."""
        end = _string_end(data, int(self._escaped))
        if end < 0:
            self._escaped = _ends_escaped(data[int(self._escaped) :])
            return len(data)
        self._inside = False
        return end + 1

    def _keep_name(self, name: bytes) -> None:
        nodes = self._nodes
        if not nodes:
            self.problem = _not_json("it is not one object")
        elif nodes[-1].is_object and not nodes[-1].own:
            self._name = name

    def _open(self, *, is_object: bool) -> None:
        nodes = self._nodes
        if not nodes:
            if self._closed or not is_object:
                self.problem = _not_json("it is not one object")
            nodes.append(_Node((), is_object=is_object, own=False))
            return
        if len(nodes) >= MAX_DEPTH:
            self.problem = TOO_DEEP
            return
        parent = nodes[-1]
        path, own = parent.path, parent.own
        if parent.is_object and not own and len(path) < _LONGEST_PATH:
            path = (*path, self._key)
            own = path in OWN_WORDS
        nodes.append(_Node(path, is_object=is_object, own=own))

    def _close(self, *, is_object: bool) -> None:
        nodes = self._nodes
        if not nodes or nodes.pop().is_object is not is_object:
            self.problem = _not_json("its brackets do not match")
        elif not nodes:
            self._closed = True

    def _take_key(self, name: bytes, data: bytes, after: int) -> int:
        """Check a key, whose value begins at `after`; return where to go on, -1 if more bytes are needed."""
        nodes = self._nodes
        key = self._key = _text(name)
        self.problem = key_problem(key, nodes[-1].path)
        return self._take_field(key, data, after) if len(nodes) == 1 and self.problem is None else after

    def _take_field(self, key: str, data: bytes, after: int) -> int:
        """Take the value of a top-level key, if it is one that matters."""
        lower = folded(key)
        if lower != "model" and key not in _BOUNDS:
            self.names.add(lower)
            if len(self.names) > MOST_FIELDS:
                self.problem = TOO_MANY_FIELDS
            return after
        value = _VALUE.match(data, after)
        if value is None or value.end() == len(data):
            at = _SPACE.match(data, after).end()  # type: ignore[union-attr]  # it matches nothing as well
            if len(data) - after > _LONGEST_VALUE or data[at : at + 1] in (b"{", b"["):
                self.problem = _wrong_type(key)
            return -1
        raw = value[1]
        if lower == "model":
            if self.span is not None or key != "model":
                self.problem = twice(key)
            elif raw[0] != _QUOTE and raw != b"null":
                self.problem = _wrong_type(key)
            self.span = (self._at + value.start(1), self._at + value.end(1))
        elif raw != b"null":
            least, most = (1, MOST_CHOICES) if key in _CHOICES else (0, 1_000_000_000)
            if not raw.isdigit() or len(raw) > 10 or not least <= int(raw) <= most:
                self.problem = _wrong_type(key)
            else:
                self.bounds[key] = int(raw)
        return value.end()


TOO_DEEP = bad_request(f"The body is nested more than {MAX_DEPTH} levels deep.", "too_deep")
TOO_MANY_FIELDS = bad_request("The body has too many fields to be checked.", "too_many_fields")


def _string_end(data: bytes, at: int) -> int:
    """Return where the quote is that ends a string, of which `at` is inside; -1 if it is not there."""
    end = data.find(b'"', at)  # far faster than the expression, and most texts have no quote
    if end < 0 or end == at or data[end - 1] != BACKSLASH:
        return end
    end = _REST.match(data, at).end()  # type: ignore[union-attr]  # it matches nothing as well
    return end if data[end : end + 1] == b'"' else -1


def _ends_escaped(data: bytes) -> bool:
    """Return whether the part of a string ends with a backslash that escapes what follows."""
    return bool((len(data) - len(data.rstrip(b"\\"))) % 2)


def _text(name: bytes) -> str:
    """Return a key's text. One that is no JSON, or was cut, keeps its bytes."""
    if BACKSLASH in name:
        try:
            return msgspec.json.decode(b'"%b"' % name, type=str)
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    return name.decode("utf-8", "replace")


def _wrong_type(key: str) -> Problem:
    return bad_request(f"The body's `{key[:100]}` is of the wrong type or out of range.", "invalid_type")


def _not_json(why: str) -> Problem:
    return bad_request(f"The body is not a JSON object: {why}.", "invalid_json")


def folded(key: str) -> str:
    """Return a key as a parser that ignores case may read it."""
    return (key if key.isascii() else key.translate(ALIKE)).lower()


def key_problem(key: str, path: Path) -> Problem | None:
    """Return why a key of the object at a path is refused, None if it is accepted."""
    plain = folded(key)
    if plain not in _NAMES and not plain.startswith(_PREFIXES):
        return None
    if path is None:
        return forbidden(key[:200])
    where = (*path, key)
    if where in OWN_WORDS or (path[:1] == ("metadata",) and key in _LABELS):
        return None
    return forbidden(".".join(where)[:200])


def twice(name: str) -> Problem:
    """Return the refusal of a key that is there twice, or in a spelling that some parser takes for it."""
    where = name[:100]
    return bad_request(f"The key `{where}` is there twice.", "duplicate_key")


def forbidden(where: str) -> Problem:
    """Return the refusal of a field that could redirect a request or leak a key."""
    return bad_request(
        f"The field `{where}` is not accepted: where a request goes, and with which key, is configured.",
        "forbidden_field",
    )
