"""Replicas: the same model at several addresses, which share its requests."""

from collections.abc import Iterator, Mapping

from crossgrade.config._problems import shown
from crossgrade.config._schema import ModelSection
from crossgrade.errors import hint_among

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
