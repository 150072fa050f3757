"""What tells one kind of request from another, and words in which a person recognises it.

The strongest facts come first: what the team calls the application (route, team, key), the system
prompt, the tools, the shape of the answer, and where there is no system prompt how the user's
first text begins.
"""

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, NamedTuple

from crossgrade.workloads._redact import redact_text
from crossgrade.workloads.traffic.chat import tool_names
from crossgrade.workloads.traffic.request import LoggedRequest, mapping
from crossgrade.workloads.traffic.turns import Turns

_MOST_KINDS = 50_000
_HEAD_CHARACTERS = 400
_OPENING_WORDS = 3
_NAMING_WORDS = 3
_VARIES = re.compile(r"[0-9][0-9a-fA-F:./_-]*")
_QUOTED = re.compile(r"\"[^\"]{0,80}\"|'[^']{0,80}'|https?://\S+|\S+@\S+")
_NUMBERED = re.compile(r"[0-9#@]")
_WORDS_OF_NO_HELP = (
    "a agent an and are as assistant at be by can could did do does for from given helpful how "
    "i if in into is it its me must my no not of on or our please should that the their this to us "
    "we what when which who why will with you your "
)
_FILLER = frozenset(_WORDS_OF_NO_HELP.split())


class Kind(NamedTuple):
    """The facts of a kind of request; `system` is the head of its prompt with numbers as `#`."""

    route: str | None
    system: str | None
    tools: tuple[str, ...]
    shape: str
    opening: str
    call: str = "chat"

    def without_opening(self) -> "Kind":
        """Return the kind by its stronger facts alone."""
        return self._replace(opening="")


NOTHING = Kind(None, None, (), "", "")
"""The kind of requests of which no fact is known."""


class Kinds:
    """Kinds by number, as they came, without their routes; beyond 50,000 the weaker facts are dropped."""

    def __init__(self) -> None:
        self.known: list[Kind] = []
        self._numbers: dict[Kind, int] = {}
        self._systems: dict[str, str] = {}

    def number(self, request: LoggedRequest, turns: Turns | None, call: str) -> int:
        """Return the number of a request's kind, -1 where nothing tells it.

        `turns` is None where its messages are unknown, `call` the kind of call.
        """
        bare = turns is None and request.tools is None and request.response_format is None
        if bare and call == "chat":
            return -1
        kind = self._kind(request, turns, call)
        return -1 if kind == NOTHING else self.add(kind)

    def add(self, kind: Kind) -> int:
        """Return the number of a kind, -1 if there are too many."""
        found = self._numbers.get(kind)
        if found is not None:
            return found
        if len(self.known) >= _MOST_KINDS:
            kind = kind.without_opening()
        if len(self.known) >= _MOST_KINDS + 10_000 and kind not in self._numbers:
            return -1
        found = self._numbers.setdefault(kind, len(self.known))
        if found == len(self.known):
            self.known.append(kind)
        return found

    def _kind(self, request: LoggedRequest, turns: Turns | None, call: str) -> Kind:
        """Return the facts that tell a request's kind; its route is kept apart."""
        question = turns.question if turns else None
        return Kind(
            route=None,
            system=self._head(turns.system if turns else None),
            tools=tool_names(request.tools) if request.tools else (),
            shape=shape_of(request.response_format),
            opening="" if question is None else _opening(question),
            call=call,
        )

    def _head(self, system: str | None) -> str | None:
        if system is None:
            return None
        head = system[:_HEAD_CHARACTERS]
        found = self._systems.get(head)
        if found is None:
            found = _VARIES.sub("#", _QUOTED.sub("…", redact_text(" ".join(head.split()))))[:200]
            if len(self._systems) < _MOST_KINDS:
                self._systems[head] = found
        return found


def shape_of(response_format: Any) -> str:
    """Return `json` or `schema` where an answer must be JSON, else nothing."""
    if not isinstance(response_format, Mapping):
        return ""
    kind = response_format.get("type")
    return {"json_object": "json", "json_schema": "schema"}.get(kind if isinstance(kind, str) else "", "")


def schema_of(response_format: Any) -> dict[str, Any] | None:
    """Return the JSON schema that an answer must follow: that of any object where none is named."""
    shape = shape_of(response_format)
    if not shape:
        return None
    schema = mapping(mapping(response_format.get("json_schema")).get("schema"))
    return dict(schema) if schema else {"type": "object"}


def _opening(question: str) -> str:
    """Return the first words, `#` for one with a number; two requests of one template begin alike."""
    words = question[:200].lower().split(maxsplit=_OPENING_WORDS)[:_OPENING_WORDS]
    return " ".join(["#" if _NUMBERED.search(word) else word[:24] for word in words])


def words_of(kind: Kind, *, with_prompt: bool = False) -> list[str]:
    """Return the words that name a kind: its route, else what its system prompt is about.

    `with_prompt` adds what the prompt is about to the route, where several prompts share it.
    """
    about = telling(kind.system)[:_NAMING_WORDS] or list(kind.tools[:2])
    named = [kind.route, *(about if with_prompt else ())] if kind.route else about
    if kind.call != "chat":
        named = [*named, kind.call]
    if kind.opening:
        named += [word for word in telling(kind.opening) if word not in named][:3]
    return named or ["requests"]


def slug(words: list[str]) -> str:
    """Return a name for crossgrade.yaml: small letters, digits and hyphens."""
    plain = unicodedata.normalize("NFKD", " ".join(words))
    plain = "".join(each for each in plain if not unicodedata.combining(each))
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")[:48].strip("-") or "requests"


def telling(text: str | None) -> list[str]:
    """Return the words of a text that say what it is about, each once."""
    found: dict[str, None] = {}
    for word in re.findall(r"[^\W\d_][\w-]{2,}", (text or "").lower()):
        if word not in _FILLER:
            found.setdefault(word)
    return list(found)
