"""Searches a model's prompt on development items: single changes first, then mixtures of the best of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from crossgrade.domain import TuningTrial
from crossgrade.tuning._asking import DevelopmentAsker, VariantCount
from crossgrade.tuning._changes import PromptSpace, Tried
from crossgrade.tuning._race import Race
from crossgrade.tuning._reflection import Reflection


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchResult:
    """What a search found: every variant that was tried, and the best one.

    `scores` are those of the best variant on the items, in their order, and `before` those of the variant as
    it was (None: unscored).
    """

    trials: tuple[TuningTrial, ...]
    best: Tried
    scores: tuple[float | None, ...]
    before: tuple[float | None, ...]

    @property
    def has_gain(self) -> bool:
        """Whether another variant than the one as it was did better."""
        return self.best.number != 0


async def search_prompt(
    asker: DevelopmentAsker,
    space: PromptSpace,
    *,
    reflection: Reflection | None = None,
    on_stage: Callable[[str], None] = lambda _: None,
) -> SearchResult:
    """Race the variants of a space over the asker's items, and return the best one.

    With `reflection` a model writes an instruction for the best variant of the first generation, which then
    races with the mixtures. The variant as it was wins where nothing did better. Raises what asking raises.
    """
    name = space.base.variant.name
    tried = {each.number: each for each in space.first()}
    race = Race([sample.weight for sample in asker.samples])

    async def score(wanted: Mapping[int, Sequence[int]]) -> Mapping[int, Sequence[float | None]]:
        return await asker.score({number: each.variant for number, each in tried.items()}, wanted)

    on_stage(f"{name}: {len(tried)} variants")
    finalists = await race.run(list(tried), score, kept=[0])
    asker.check_silence()
    mixed = space.mixtures(_gains(race), list(tried.values()))
    if reflection is not None and finalists:
        best = tried[finalists[0]]
        on_stage(f"{name}: an instruction by the reflection model")
        found = await reflection.instruction(asker, lambda each: space.with_instruction(each, best))
        if found is not None:
            text, read = found
            mixed += space.instructed(text, best, "instruction by reflection", read=read)
    if mixed:
        tried |= {each.number: each for each in mixed}
        on_stage(f"{name}: {len(mixed)} mixtures of the best")
        kept = list(dict.fromkeys((0, *finalists[:2])))
        finalists = race.ranked(
            [*await race.run([each.number for each in mixed], score, kept=kept), *finalists[2:]]
        )
    chosen = _best(race, finalists)
    return SearchResult(
        trials=tuple(
            _trial(name, each, race, asker.counts.get((name, number)), kept=finalists, best=chosen)
            for number, each in tried.items()
        ),
        best=tried[chosen],
        scores=tuple(race.scores.get(chosen, ())),
        before=tuple(race.scores.get(0, ())),
    )


def _gains(race: Race) -> dict[int, float]:
    """Return by how much each variant did better than the one as it was, on the items that it was asked."""
    found = {}
    for number, scores in race.scores.items():
        mean, before = race.mean(number), race.mean(0, len(scores))
        if mean is not None and before is not None:
            found[number] = mean - before
    return found


def _best(race: Race, finalists: Sequence[int]) -> int:
    """Return the variant with the best score, or the one as it was if none did better."""
    before = race.mean(0)
    best = next(iter(finalists), 0)
    score = race.mean(best)
    return 0 if score is None or (before is not None and score <= before) else best


def _trial(
    name: str,
    tried: Tried,
    race: Race,
    count: VariantCount | None,
    *,
    kept: Sequence[int],
    best: int,
) -> TuningTrial:
    count, scores = count or VariantCount(), race.scores.get(tried.number, [])
    return TuningTrial(
        model=name,
        number=tried.number,
        name=tried.name,
        n=len(scores),
        score=race.mean(tried.number),
        prompt=tried.variant.prompt,
        settings=tried.variant.settings,
        unparsed=count.unparsed,
        failed=count.failed,
        refused=count.refused,
        examples=tried.examples,
        cost_usd=count.cost_usd,
        is_kept=tried.number in kept,
        is_best=tried.number == best,
    )


def retention_on(
    weights: Sequence[float], incumbent: Sequence[float | None], candidate: Sequence[float | None]
) -> tuple[float | None, int]:
    """Return the weighted retention on the items that both have a score on, and their number.

    None if there are none, or the incumbent scores nothing on them. It certifies nothing.
    """
    pairs = [
        (weight, one, other)
        for weight, one, other in zip(weights, incumbent, candidate, strict=False)
        if one is not None and other is not None
    ]
    kept = sum(weight * one for weight, one, _ in pairs)
    return (sum(weight * other for weight, _, other in pairs) / kept if kept else None), len(pairs)
