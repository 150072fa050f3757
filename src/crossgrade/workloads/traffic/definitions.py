"""Definitions of OpenAI's evals: how an item becomes a request, what is right, and which scorer corresponds.

Nothing of a definition is ever executed. A criterion that no scorer corresponds to is an error that says so.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crossgrade.errors import DataError, UsageError, closest
from crossgrade.workloads.files import as_number, as_text
from crossgrade.workloads.traffic.formats import LOG_FORMATS, LogFormat
from crossgrade.workloads.traffic.formats.samples import asked_messages, item_of
from crossgrade.workloads.traffic.request import BadValueError, LoggedRequest

ITEMS = "openai-eval-data"
_PLACE = re.compile(r"\{\{\s*([\w.-]+)\s*\}\}")
_ANSWER = "sample.output_text"
"""What a template calls the answer."""

_BEST = 10
_SCORERS = {"eq": "exact", "like": "includes", "ilike": "includes"}
"""The scorer that an operation of a string check corresponds to."""

_Found = tuple[dict[str, Any], str | None, tuple[str, ...]]
"""A scorer, the template of the right answer, and how the scorer differs from the criterion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalDefinition:
    """What a definition says: the scorer that corresponds, the messages and the right answer as templates.

    `messages` are (role, template) pairs, or `messages_at` is the path of an item's own messages. Without
    both, these are `input`. `target` is a template, None if the definition names no right answer. `differs`
    says in words how the scorer differs from the criterion.
    """

    scorer: Mapping[str, Any]
    messages: tuple[tuple[str, str], ...] = ()
    messages_at: str = "item.input"
    target: str | None = None
    differs: tuple[str, ...] = field(default=())

    def read(self, row: Mapping[str, Any], *, texts: bool) -> LoggedRequest:
        """Read a line of eval data by the definition. Raises `BadValueError` if the item lacks a field."""
        item = item_of(row)
        given = [{"role": role, "content": filled(text, item)} for role, text in self.messages]
        messages = given or asked_messages(_at(self.messages_at, item), self.messages_at)
        found = LoggedRequest(format=ITEMS, call="chat")
        if texts:
            found.messages = messages
            found.target = None if self.target is None else filled(self.target, item)
        return found

    def formats(self, known: Mapping[str, LogFormat]) -> dict[str, LogFormat]:
        """Return the known formats, of which eval data is read by this definition."""
        own = LOG_FORMATS[ITEMS]
        mine = LogFormat(ITEMS, own.marks, self.read, only=own.only, is_samples=True)
        return {**known, ITEMS: mine}


def filled(template: str, item: Mapping[str, Any]) -> str:
    """Return a template with an item's values. Raises `BadValueError` if the item lacks one."""
    return _PLACE.sub(lambda found: as_text(_at(found[1], item)) or "", template)


def _at(path: str, item: Mapping[str, Any]) -> Any:
    head, *names = path.split(".")
    value: Any = item
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    if head != "item" or not names or value is None:
        raise BadValueError(f"the item has no {path!r}")
    return value


def definition_of(trees: Sequence[Mapping[str, Any]], *, criterion: str | None = None) -> EvalDefinition:
    """Return what an eval's definition says, with the run that asked by it where one is given.

    A tree is an eval of the API (`testing_criteria`), a run of one (`data_source`), or a registry file of the
    open-source openai/evals. `criterion` names one of several.

    Raises `DataError` for another form, and for a criterion to which no scorer corresponds; `UsageError` if
    there are several and none is named.
    """
    criteria: dict[str, Mapping[str, Any]] = {}
    asking: Mapping[str, Any] = {}
    for tree in trees:
        found = tree.get("testing_criteria")
        if isinstance(found, list):
            named = [each for each in found if isinstance(each, Mapping)]
            criteria |= {str(each.get("name") or each.get("type")): each for each in named}
        elif isinstance(tree.get("data_source"), Mapping):
            asking = tree["data_source"]
        else:
            classes = {str(name): each for name, each in tree.items() if _is_registered(each)}
            if not classes:
                raise _unreadable(
                    "neither an eval (`testing_criteria`), a run (`data_source`) nor a registry"
                )
            criteria |= classes
    name, chosen = _chosen(criteria, criterion)
    messages, messages_at = _asking(asking)
    return _corresponding(name, chosen, messages, messages_at)


def _is_registered(each: object) -> bool:
    return isinstance(each, Mapping) and isinstance(each.get("class"), str)


def _chosen(criteria: Mapping[str, Mapping[str, Any]], wanted: str | None) -> tuple[str, Mapping[str, Any]]:
    listed = ", ".join(criteria)
    if not criteria:
        raise _unreadable("no criterion is in it")
    if wanted is None and len(criteria) > 1:
        raise UsageError(
            f"the criterion must be chosen, for a workload has one scorer: {listed}",
            code="criterion-not-named",
            hint=f"name one: --criterion {next(iter(criteria))!r}",
        )
    name = next(iter(criteria)) if wanted is None else wanted
    if name not in criteria:
        raise UsageError(
            f"there is no criterion {name!r}{closest(name, criteria)}; there are {listed}",
            code="criterion-unknown",
            hint="name one of these",
        )
    return name, criteria[name]


def _asking(source: Mapping[str, Any]) -> tuple[tuple[tuple[str, str], ...], str]:
    given = source.get("input_messages")
    given = given if isinstance(given, Mapping) else {}
    reference = given.get("item_reference")
    if isinstance(reference, str):
        return (), reference
    template = given.get("template")
    found = [] if not isinstance(template, list) else [_message(each) for each in template]
    for _, text in found:
        _check_places(text, lambda path: path.startswith("item."))
    return tuple(found), "item.input"


def _message(each: Any) -> tuple[str, str]:
    role = each.get("role") if isinstance(each, Mapping) else None
    content = each.get("content") if isinstance(each, Mapping) else None
    text = content.get("text") if isinstance(content, Mapping) else content
    if not isinstance(role, str) or not isinstance(text, str):
        raise _unreadable("a message of it has no role or no text")
    return role, text


def _check_places(text: str, is_known: Callable[[str], bool]) -> None:
    """Refuse a template that asks for more than the fields of an item, or computes anything."""
    unknown = [path for path in _PLACE.findall(text) if not is_known(path)]
    if unknown or "{{" in _PLACE.sub("", text) or "{%" in text:
        seen = unknown[0] if unknown else text[:60]
        raise _unreadable(f"a template has {seen!r}, which is no field of an item")


def _corresponding(
    name: str, criterion: Mapping[str, Any], messages: tuple[tuple[str, str], ...], messages_at: str
) -> EvalDefinition:
    kind = as_text(criterion.get("type")) or str(criterion.get("class")).rpartition(":")[2]
    if kind == "string_check":
        scorer, target, differs = _string_check(name, criterion)
    elif kind in {"label_model", "score_model"}:
        shown = {path for _, text in messages for path in _PLACE.findall(text)} or {messages_at}
        scorer, target, differs = _judged(name, kind, criterion, shown)
    elif kind == "Includes":
        arguments = criterion.get("args")
        ignore = isinstance(arguments, Mapping) and arguments.get("ignore_case") is True
        scorer, target, differs = {"kind": "includes", "options": {"ignore_case": ignore}}, None, ()
    else:
        raise _without_counterpart(name, kind[:60], "its rule is that of no scorer")
    return EvalDefinition(
        scorer=scorer, messages=messages, messages_at=messages_at, target=target, differs=differs
    )


def _string_check(name: str, criterion: Mapping[str, Any]) -> _Found:
    compared, reference = criterion.get("input"), criterion.get("reference")
    operation = as_text(criterion.get("operation")) or "none"
    place = _PLACE.fullmatch(compared.strip()) if isinstance(compared, str) else None
    if place is None or place[1] != _ANSWER:
        raise _without_counterpart(name, "string_check", f"it checks {str(compared)[:60]!r}, not the answer")
    if operation not in _SCORERS or not isinstance(reference, str):
        raise _without_counterpart(name, "string_check", f"no scorer has its operation {operation[:60]!r}")
    _check_places(reference, lambda path: path.startswith("item."))
    options: dict[str, Any] = {"ignore_case": operation == "ilike"}
    differs: tuple[str, ...] = ()
    if operation == "eq":
        options["strip_punctuation"] = False
        differs = ("white space does not count",)
    return {"kind": _SCORERS[operation], "options": options}, reference, differs


def _judged(name: str, kind: str, criterion: Mapping[str, Any], shown: set[str]) -> _Found:
    given = criterion.get("input")
    texts = [_message(each)[1] for each in given] if isinstance(given, list) else []
    rubric = "\n\n".join(texts)
    paths = dict.fromkeys(_PLACE.findall(rubric))
    others = [path for path in paths if path not in {_ANSWER, *shown}]
    if not texts or len(others) > 1 or any(not path.startswith("item.") for path in others):
        seen = ", ".join(others) or "nothing"
        reason = f"its prompt shows {seen}; a judge is shown the request, the answer and the target"
        raise _without_counterpart(name, kind, reason)
    words = {_ANSWER: "(the answer)"} | dict.fromkeys(shown, "(the request)")
    words |= dict.fromkeys(others, "(the correct answer)")
    criteria = _PLACE.sub(lambda found: words[found[1]], rubric)
    options: dict[str, Any] = {"show_target": bool(others)}
    if kind == "label_model":
        labels, passing = (_texts(name, criterion.get(each)) for each in ("labels", "passing_labels"))
        if unknown := [each for each in passing if each not in labels]:
            raise _without_counterpart(name, kind, f"{unknown[0][:60]!r} passes, which is none of its labels")
        criteria += f"\n\nOf the labels {', '.join(labels)}, these pass: {', '.join(passing)}."
        options["scale"] = "pass_fail"
    else:
        options["best"] = _best(name, criterion.get("range"))
    options["criteria"] = criteria
    target = "{{" + others[0] + "}}" if others else None
    model = as_text(criterion.get("model"))
    return {"kind": "judge", "options": options}, target, (f"the prompt and model are not those of {model}",)


def _best(name: str, scale: Any) -> int:
    """Return the best rating of a scale from 1; of any other scale a judge has no ratings."""
    stated = scale if isinstance(scale, list) else []
    ends = [None if isinstance(each, bool) else as_number(each) for each in stated]
    if len(ends) == 2 and ends[0] == 1 and ends[1] in range(2, _BEST + 1):
        return int(ends[1] or 0)
    seen = (as_text(scale) or "[0,1]")[:60]
    raise _without_counterpart(
        name, "score_model", f"its range is {seen}; a judge gives ratings from 1 to 2 … {_BEST}"
    )


def _texts(name: str, value: Any) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(each, str) for each in value):
        raise _without_counterpart(name, "label_model", "its labels are no list of texts")
    return value


def _without_counterpart(name: str, kind: str, reason: str) -> DataError:
    return DataError(
        f"the criterion {name!r} ({kind}) has no counterpart: {reason}",
        code="criterion-without-counterpart",
        hint="leave --definition out, and choose a scorer in crossgrade.yaml",
    )


def _unreadable(seen: str) -> DataError:
    return DataError(
        f"the definition cannot be read: {seen}",
        code="definition-unreadable",
        hint="give the JSON of an eval and of its run, or a registry's YAML",
    )
