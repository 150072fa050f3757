"""Fills prompts: `{field}` is replaced by the sample's field, and nothing else changes."""

from dataclasses import fields
from decimal import Decimal
from typing import Literal

import msgspec

from crossgrade.calls import request_digest
from crossgrade.domain import (
    JSON,
    PLACEHOLDER,
    GrammarRequest,
    Message,
    ModelAnswer,
    ModelRequest,
    PromptTemplate,
    Sample,
    Variant,
    Workload,
)
from crossgrade.errors import DataError
from crossgrade.routing import opening_text
from crossgrade.store import Response, new_id

MAX_FIELD_CHARS = 4_000_000
"""Longest field that goes into a prompt: about a million tokens, more than any model takes."""


class _Turn(msgspec.Struct):
    role: Literal["system", "user", "assistant"]
    content: str


class Template:
    """A text with placeholders, parsed once.

    Braces that do not enclose a field name, as in JSON, stay as they are.
    """

    def __init__(self, text: str) -> None:
        # Odd places hold field names, even ones the text between them.
        self._parts = PLACEHOLDER.split(text)

    def fill(self, sample: Sample) -> str:
        """Return the text for a sample. Raises `DataError` for a field it lacks or one too long."""
        if len(self._parts) == 1:
            return self._parts[0]
        filled = self._parts.copy()
        for place in range(1, len(filled), 2):
            filled[place] = _field(sample, filled[place])
        return "".join(filled)

    def fields(self, sample: Sample) -> list[str]:
        """Return the texts that `fill` puts into the placeholders."""
        return [_field(sample, name) for name in self._parts[1::2]]


class Prompt:
    """How one variant asks about a sample."""

    def __init__(self, variant: Variant) -> None:
        template: PromptTemplate = variant.prompt
        self._variant = variant
        self._user = Template(template.user)
        self._system = None if template.system is None else Template(template.system)

    def input(self, sample: Sample) -> str:
        """Return what the sample itself puts into the prompt, without the template's words."""
        earlier = [f"{each.role}: {each.content}" for each in self._history(sample)]
        return "\n".join((*earlier, *self._user.fields(sample)))

    def request(self, sample: Sample) -> ModelRequest:
        """Return the request about a sample. Raises `DataError` as `Template.fill` does."""
        variant = self._variant
        user = self._user.fill(sample)
        messages: tuple[Message, ...] = ()
        if not variant.prompt.text:
            if self._system is not None:
                messages = (Message(role="system", content=self._system.fill(sample)),)
            messages = (*messages, *self._history(sample), Message(role="user", content=user))
        asked = ModelRequest(
            model=variant.offer.model,
            messages=messages,
            text=user if variant.prompt.text else None,
            settings=variant.settings,
            response_schema=variant.prompt.response_schema,
        )
        grammar = variant.prompt.grammar
        if grammar is None:
            return asked
        return GrammarRequest(
            **{each.name: getattr(asked, each.name) for each in fields(asked)}, grammar=grammar
        )

    def _history(self, sample: Sample) -> tuple[Message, ...]:
        """Return the conversation's earlier messages; none where the sample begins it."""
        name = self._variant.prompt.history
        turns = None if name is None else sample.fields.get(name)
        if not turns:
            return ()
        try:
            found = msgspec.convert(turns, tuple[_Turn, ...])
            return tuple(Message(role=each.role, content=each.content) for each in found)
        except msgspec.ValidationError as error:
            raise DataError(
                f"the earlier messages in `{name}` of sample `{sample.id}` cannot be read: {error}",
                code="history-invalid",
                line=sample.line,
                hint="write a list of {role: user or assistant, content: text}",
            ) from error


def _field(sample: Sample, name: str) -> str:
    try:
        text = as_text(sample.fields[name])
    except KeyError:
        known = ", ".join(f"{{{field}}}" for field in list(sample.fields)[:20])
        raise DataError(
            f"the prompt asks for {{{name}}}, which sample `{sample.id}` does not have; it has {known}",
            code="prompt-field-missing",
            line=sample.line,
            hint="name one of these fields in the prompt, or add the field to the dataset",
        ) from None
    if len(text) > MAX_FIELD_CHARS:
        raise DataError(
            f"field `{name}` of sample `{sample.id}` has {len(text)} characters, "
            f"more than the {MAX_FIELD_CHARS} that a prompt may take from a field",
            code="prompt-field-too-long",
            line=sample.line,
            hint="shorten the field, or split the sample",
        )
    return text


def as_text(value: JSON) -> str:
    """Return a field in the form for prompts: texts unchanged, nothing for None, else JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else msgspec.json.encode(value).decode()


def request_bytes(workload: Workload, sample: Sample) -> int:
    """Return the body that asks the incumbent about a sample, written without any space.

    Clients may add spaces and escapes, so a body that arrives is as long or longer. A limit in bytes thus
    never moves more than was tested.
    """
    return body_bytes(request_about(workload, sample))


def request_about(workload: Workload, sample: Sample) -> ModelRequest:
    """Return what the incumbent is asked about a sample. Raises `DataError` as `Template.fill` does."""
    return request_of(workload.incumbent, sample)


def request_of(variant: Variant, sample: Sample) -> ModelRequest:
    """Return what a variant is asked about a sample. Raises `DataError` as `Template.fill` does."""
    return Prompt(variant).request(sample)


def body_bytes(request: ModelRequest) -> int:
    """Return the length of the body with a request's texts alone, written without any space."""
    if request.text is not None:
        tree: object = {"model": request.model, "prompt": request.text}
    else:
        messages = [{"role": each.role, "content": each.content} for each in request.messages]
        tree = {"model": request.model, "messages": messages}
    return len(msgspec.json.encode(tree))


def uncarried(workload: Workload, sample: Sample) -> str | None:
    """Return the field that keeps a sample's request from models of other APIs, None if nothing does."""
    found = sample.fields.get(workload.uncarried_field)
    text = as_text(found) if found else ""
    return None if not text or text in workload.dropped else text


def may_answer(workload: Workload, sample: Sample, candidate: str, most_bytes: int | None) -> bool:
    """Return whether a candidate may answer the request about a sample.

    It must fit in `most_bytes` (None: no limit), and the candidate's API must be able to express it.
    """
    if candidate in workload.across and uncarried(workload, sample) is not None:
        return False
    return most_bytes is None or request_bytes(workload, sample) <= most_bytes


def opening_of(workload: Workload, sample: Sample) -> str:
    """Return the opening of the conversation that asks the incumbent about a sample, as a router reads it."""
    request = request_about(workload, sample)
    if request.text is not None:
        return request.text
    return opening_text((each.role, each.content or "") for each in request.messages)


def request_text(workload: Workload, sample: Sample) -> str:
    """Return everything that the incumbent is sent about a sample, as the text whose tokens are counted."""
    request = request_about(workload, sample)
    return request.text or "\n".join(each.content or "" for each in request.messages)


def logged_response(
    variant: Variant, sample: Sample, answer: ModelAnswer, cost_usd: Decimal | None
) -> Response | None:
    """Return a logged answer as the response to what a run would ask, or None for a local model.

    A run of the same variant, prompt and settings then finds it paid for. The answer of a local model
    depends on its file and engine, which no log names.
    """
    if variant.offer.provider == "local":
        return None
    request = Prompt(variant).request(sample)
    return Response(
        id=new_id(),
        request_digest=request_digest(variant.offer, request, epoch=1),
        offer=variant.offer.name,
        answer=answer,
        cost_usd=cost_usd,
    )


def request_digests(workload: Workload, sample: Sample) -> list[str]:
    """Return the digests of what a run of a workload asks hosted models about a sample."""
    return [
        request_digest(variant.offer, Prompt(variant).request(sample), epoch=epoch)
        for variant in (workload.incumbent, *workload.candidates)
        for epoch in range(1, workload.epochs + 1)
    ]
