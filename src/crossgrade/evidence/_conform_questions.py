"""What a conformity check asks: small questions whose answers say how a model is served.

A question is asked several times, so that a difference can be told from chance. The questions on the answers
themselves are those of the daily look, too.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

from crossgrade.calls.live import CITY_SCHEMA, ORDER_TOOL
from crossgrade.domain import GenerationSettings, LogprobRequest, Message, ModelRequest
from crossgrade.errors import UsageError

ANSWER_TOKENS = 64
"""Output tokens of an answer that is compared, here and in the daily look."""

MOST_TOKENS_AT_LENGTH = 131_072
_BYTES_PER_TOKEN = 4
_FUNCTION_DRAWS = 3
"""Draws of each question on a function: four of them that all change have a p-value of 1 in 10,000."""

SUBJECTS = (
    "Write the first lines of a story about a lighthouse keeper.",
    "Explain why the sky is blue.",
    "Describe a market in the early morning.",
    "What should one pack for a week in the mountains?",
    "Write a short letter to a neighbour about a noisy dog.",
    "Name some uses of an empty glass jar.",
    "How does a bicycle stay upright?",
    "Describe the taste of a ripe pear.",
    "Tell me about a river that you find interesting.",
    "Write a Python function that reverses a list.",
    "What are the duties of a ship's cook?",
    "Give three reasons to learn a second language.",
    "Describe a small town in winter.",
    "Explain to a child what a bank does.",
    "Write an advertisement for a used piano.",
    "What happens in a beehive during a year?",
    "Write a recipe for a simple soup.",
    "Why do leaves change colour in autumn?",
    "Describe the sound of rain on a roof.",
    "Give advice to somebody who moves to a new city.",
    "What was daily life like in a medieval village?",
    "Write an SQL query that counts orders by month.",
    "Describe an old friend whom you meet by chance.",
    "What makes a good teacher?",
    "Tell a joke about a clockmaker.",
)
"""What is asked of a model whose answers are compared; there is no right answer."""

LEAST_ALPHA = 0.002
"""At a smaller error rate the part of one row is below 0.0001, the least p-value of 9,999 permutations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformSettings:
    """How much a conformity check asks.

    `stages` are the draws of each question on the answers, stage by stage: after each stage the check ends if
    the answers are shown to differ. `lengths` are those of long prompts, in tokens of about four bytes.
    `alpha` is the probability that a row of a healthy offer differs. `prompts` of the subjects are used.
    """

    prompts: int = len(SUBJECTS)
    stages: tuple[int, ...] = (2, 2, 2)
    lengths: tuple[int, ...] = (512, 1024, 2048, 4096)
    alpha: float = 0.01
    seed: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ConformQuestion:
    """A request that is evidence of one check, under a key of its own, and how often it is asked.

    The request names no model: each side is asked by its own id. `expects` is the text that a right answer
    contains, empty where there is none. `stage` is the stage in which the draws from `first` on are asked.
    """

    check: str
    key: str
    request: ModelRequest
    draws: int = 1
    first: int = 1
    stage: int = 0
    expects: str = ""


def check_conform_settings(settings: ConformSettings) -> None:
    """Raise UsageError for settings that no check can have."""
    wrong = None
    if not 1 <= settings.prompts <= len(SUBJECTS):
        wrong = f"{settings.prompts} prompts are asked for, and there are 1 to {len(SUBJECTS)}"
    elif not settings.stages or min(settings.stages) < 1 or sum(settings.stages) > 100:
        wrong = f"the draws of the stages are {settings.stages}; up to 100 in all are possible"
    elif any(not 64 <= each <= MOST_TOKENS_AT_LENGTH for each in settings.lengths):
        wrong = f"the lengths are {settings.lengths}; 64 to {MOST_TOKENS_AT_LENGTH:,} tokens are possible"
    elif not LEAST_ALPHA <= settings.alpha < 1:
        wrong = f"the error rate is {settings.alpha}; {LEAST_ALPHA:g} and more, below 1, is expected"
    if wrong is not None:
        raise UsageError(wrong, code="conform-settings-invalid", hint="leave the option out for its default")


def conform_questions(settings: ConformSettings, hay: str) -> tuple[ConformQuestion, ...]:
    """Return all questions of a check in the order in which they are asked.

    `hay` is text without facts that fills long prompts, at least as long as the longest of them.
    """
    check_conform_settings(settings)
    return (
        *_template(),
        *_counts(),
        *_functions(settings),
        *_context(settings, hay),
        *_logprobs(settings),
        *_seeds(),
        *_answers(settings),
    )


def daily_questions(prompts: int = len(SUBJECTS)) -> tuple[ConformQuestion, ...]:
    """Return the questions of the daily look, each once: greedy and at temperature 1."""
    return tuple(
        ConformQuestion(check="answers", key=f"{at:02}/t{heat:g}", request=_said(text, ANSWER_TOKENS, heat))
        for heat in (0.0, 1.0)
        for at, text in enumerate(SUBJECTS[:prompts])
    )


def _said(text: str, tokens: int, heat: float = 0.0, **more: object) -> ModelRequest:
    settings = GenerationSettings(temperature=heat, max_output_tokens=tokens)
    request = ModelRequest(model="", messages=(Message(role="user", content=text),), settings=settings)
    return replace(request, **more)  # type: ignore[arg-type]  # fields of the request


def _answers(settings: ConformSettings) -> list[ConformQuestion]:
    starts = accumulate((1, *settings.stages[:-1]))
    return [
        replace(question, draws=draws, first=first, stage=stage)
        for stage, (draws, first) in enumerate(zip(settings.stages, starts, strict=True))
        for question in daily_questions(settings.prompts)
    ]


def _template() -> list[ConformQuestion]:
    """Return conversations of several shapes, of which only the tokens of the prompt are counted."""
    user, reply = Message(role="user", content="Hello."), Message(role="assistant", content="Hello to you.")
    rules = Message(role="system", content="Answer in English.")
    shapes = {
        "user": (user,),
        "system": (rules, user),
        "turns": (user, reply, user),
        "system and turns": (rules, user, reply, user, reply, user),
        "blanks": (replace(user, content="  Hello. \n\n"),),
    }
    return [
        ConformQuestion(check="template", key=name, request=replace(_said("", 1), messages=messages))
        for name, messages in shapes.items()
    ]


COUNTED_TEXTS = {
    "words": "The harbour opens at six in the morning and closes at ten in the evening. " * 6,
    "figures": "Order 7413 of 2024-11-05: 3 x 19.90 = 59.70; reference QX-5809/B, 12,345 units. " * 4,
    "letters": "R\u00f6sti, na\u00efve, \u4e2d\u6587\u6d4b\u8bd5, "
    "\u0440\u0443\u0441\u0441\u043a\u0438\u0439, \U0001f600. " * 6,
}
"""Texts whose tokens are counted beside the host's counts."""


def _counts() -> list[ConformQuestion]:
    return [
        ConformQuestion(check="token-counts", key=name, request=_said(text, 1))
        for name, text in COUNTED_TEXTS.items()
    ]


def _functions(settings: ConformSettings) -> list[ConformQuestion]:
    """Return the questions on copying, tools, JSON and stop texts, of which each answer does or does not."""
    rng = Random(settings.seed)  # noqa: S311  # texts to copy, not secrets
    found = []
    for words in (4, 8, 16, 32):
        text = " ".join(f"{rng.randrange(36**4):04x}" for _ in range(words))
        request = _said(f"Copy this line exactly and write nothing else:\n{text}", 16 + 8 * words)
        found.append(("copy", f"{words} words", request, text))
    for order in ("A-7413", "B-2280", "C-9056", "D-3361"):
        text = f"Use the tool to find the tracking code of order {order}."
        found.append(("tools", order, _said(text, 96, tools=(ORDER_TOOL,)), order))
    for city, number in (("Lisbon", 567131), ("Bergen", 291940), ("Osaka", 2753862), ("Lima", 8852000)):
        text = (
            f"{city} lies on the coast and has {number} inhabitants. Describe the city. Answer in JSON with "
            "the keys city (string), inhabitants (integer) and coastal (boolean)."
        )
        found.append(("schema", city, _said(text, 96, response_schema=CITY_SCHEMA), ""))
    for at, subject in enumerate(SUBJECTS[:4]):
        asked = _said(subject, ANSWER_TOKENS)
        stopping = replace(asked, settings=replace(asked.settings, stop=(" the",)))
        found.append(("stop", f"{at:02}", stopping, ""))
    plain = _said("Use the tool to find the tracking code of order A-7413.", 1)
    return [
        *(
            ConformQuestion(check=check, key=key, request=request, draws=_FUNCTION_DRAWS, expects=expects)
            for check, key, request, expects in found
        ),
        ConformQuestion(check="tools", key="without", request=plain),
        ConformQuestion(check="tools", key="with", request=replace(plain, tools=(ORDER_TOOL,))),
    ]


def _context(settings: ConformSettings, hay: str) -> list[ConformQuestion]:
    """Return prompts of growing length with a fact at their beginning or in their middle."""
    gates = {"north": 0.0, "east": 0.0, "south": 0.5, "west": 0.5}
    rng = Random(settings.seed)  # noqa: S311  # facts, not secrets
    found = []
    for tokens in dict.fromkeys(settings.lengths):
        for gate, depth in gates.items():
            code = str(rng.randrange(1000, 10_000))
            fact = f"The access code of the {gate} gate is {code}.\n"
            ask = f"What is the access code of the {gate} gate? Answer with the code alone."
            room = max(0, tokens * _BYTES_PER_TOKEN - len(fact) - len(ask))
            text = f"{_planted(hay, room, depth, fact)}\n\n{ask}"
            found.append(
                ConformQuestion(
                    check="context",
                    key=f"{tokens}/{gate}",
                    request=_said(text, 16),
                    draws=_FUNCTION_DRAWS,
                    expects=code,
                )
            )
    return found


def _planted(hay: str, room: int, depth: float, fact: str) -> str:
    """Return a part of the hay of `room` characters with a fact at the beginning of a line."""
    part = hay[:room]
    at = part.rfind("\n", 0, int(depth * len(part))) + 1 if depth else 0
    return f"{part[:at]}{fact}{part[at:]}"


def _logprobs(settings: ConformSettings) -> list[ConformQuestion]:
    found = []
    for at, subject in enumerate(SUBJECTS[: settings.prompts]):
        asked = _said(subject, 8)
        request = LogprobRequest(model="", messages=asked.messages, settings=asked.settings)
        found.append(ConformQuestion(check="log-probabilities", key=f"{at:02}", request=request))
    return found


def _seeds() -> list[ConformQuestion]:
    asked = [_said(subject, 32, 1.0) for subject in SUBJECTS[:3]]
    return [
        ConformQuestion(
            check="seed",
            key=f"{at:02}",
            request=replace(each, settings=replace(each.settings, seed=7)),
            draws=2,
        )
        for at, each in enumerate(asked)
    ]


def of_check(questions: Sequence[ConformQuestion], check: str) -> list[ConformQuestion]:
    """Return the questions that are evidence of one check."""
    return [each for each in questions if each.check == check]
