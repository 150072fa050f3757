"""A distillation before it begins: the model's file, who teaches, which items train, and what it takes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING

from crossgrade.domain import JSON, Offer, Sample, Variant, Workload
from crossgrade.errors import UsageError
from crossgrade.project._opened import OpenProject
from crossgrade.project._tuning_costs import Dollars, asked_usd, sum_dollars, test_estimate
from crossgrade.project._tunings import TuningBasis
from crossgrade.tuning import TrainingSettings

if TYPE_CHECKING:
    from crossgrade.catalog import TeachingTerms
    from crossgrade.providers.models import InstalledModel
    from crossgrade.tuning import BaseModel, TrainingEstimate

CHECK_SHARE = 0.25
"""The share of the development items that train nothing: they show whether there is a gain to test."""

_FEWEST_CHECKED = 10
_BYTES_PER_TOKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilOptions:
    """What is learned, and how.

    `teacher` names the model whose answers are learned where the scorer gives them at least `accept`; without
    one the samples' own labels are. `segments` are those that are learned and tested (empty: all).
    `usd_per_hour` is what an hour of this machine costs (None: unknown).
    """

    teacher: str | None = None
    accept: float = 1.0
    segments: tuple[str, ...] = ()
    training: TrainingSettings = field(default_factory=TrainingSettings)
    usd_per_hour: Decimal | None = None

    @property
    def recorded(self) -> dict[str, JSON]:
        """Everything that the result depends on, as plain JSON."""
        training = {name: value for name, value in asdict(self.training).items() if name != "threads"}
        return {"teacher": self.teacher, "accept": self.accept, "training": training}


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilPlan:
    """A distillation that is ready to begin.

    `training` are the samples that may be learned, and `checking` those that show the gain: neither is a
    certification item. `others` are all samples that no example may be close to. `teaching` says on which
    ground the `teacher` may teach. `estimate` is what the training takes at the length of the samples.
    `cost_usd` is (low, high) of all answers, the teacher's, the scorer's and those of the test too, without
    what hosted models were paid for before (None: a price is unknown). Of one that has ended it is 0.
    """

    basis: TuningBasis
    options: DistilOptions
    model: "InstalledModel"
    base: "BaseModel"
    training: tuple[Sample, ...]
    checking: tuple[Sample, ...]
    others: tuple[Sample, ...]
    estimate: "TrainingEstimate"
    cost_usd: tuple[Decimal, Decimal] | None
    teacher: Variant | None = None
    teaching: "TeachingTerms | None" = None

    @property
    def asked(self) -> Mapping[str, int]:
        """How many answers of each model are wanted before the test, most of them paid for already.

        One that has ended wants none.
        """
        if self.basis.has_ended:
            return {}
        candidate = self.basis.candidate.name
        wanted = {self.basis.workload.incumbent.name: len(self.checking), candidate: 2 * len(self.checking)}
        if self.teacher is not None:
            wanted[self.teacher.name] = wanted.get(self.teacher.name, 0) + len(self.training)
        return wanted

    def near(self, workload: Workload, samples: Sequence[Sample]) -> frozenset[str]:
        """Return the ids of samples that are, or are close to, items that nothing may be trained on.

        Close are near-copies, and samples of one cluster.
        """
        from crossgrade.workloads import near_copies, sample_texts

        everyone = [*self.others, *samples]
        groups = near_copies(sample_texts(everyone, workload))
        closed = set(groups[: len(self.others)])
        clusters = {each.cluster for each in self.others if each.cluster is not None}
        own = {each.id for each in self.others}
        return frozenset(
            sample.id
            for sample, group in zip(samples, groups[len(self.others) :], strict=True)
            if group in closed or sample.cluster in clusters or sample.id in own
        )


def plan_distil(
    project: OpenProject,
    basis_of: Callable[..., TuningBasis],
    name: str,
    candidate: str,
    options: DistilOptions,
) -> DistilPlan:
    """Return what distilling a candidate of a workload will do. Asks and trains nothing.

    `basis_of` is `ProjectTunings.basis`.

    Raises UsageError for a candidate that does not run on this machine, for a teacher that may not teach, and
    for a training that does not fit in memory. Also raises what `ProjectTunings.basis` raises.
    """
    from crossgrade.providers.models import ModelShelf, models_home
    from crossgrade.tuning import check_memory, estimate_training, free_memory_bytes, read_base

    _check_local(project, name, candidate)
    basis = basis_of(
        "distil", name, candidate, segments=options.segments, development=None, options=options.recorded
    )
    offer, workload = basis.candidate.offer, basis.workload
    if project.scores_pairs(workload):
        raise UsageError(
            f"the scorer `{workload.scorer.kind}` of `{name}` compares two answers, and a training needs to "
            "know of one answer whether it is good",
            code="distil-scorer-pairs",
            hint="give the workload a scorer that scores each answer by itself",
        )
    teacher = _teacher(project, workload, options.teacher)
    today = datetime.now(UTC).date()
    teaching = None if teacher is None else project.catalog.teaching(teacher.offer, today)
    model = ModelShelf(models_home(project.environ)).find(offer.model, root=project.config.root)
    base = read_base(Path(model.path), sha256=model.sha256)
    training, checking, others = _divided(basis)
    check_memory(base, options.training, free_memory_bytes())
    tokens = sum(_prompt_bytes(basis.candidate, each) for each in training) / _BYTES_PER_TOKEN
    mean = min(options.training.max_tokens, tokens / max(1, len(training)) + _BYTES_PER_TOKEN)
    return DistilPlan(
        basis=basis,
        options=options,
        model=model,
        base=base,
        training=training,
        checking=checking,
        others=others,
        estimate=estimate_training(base, options.training, mean),
        cost_usd=_cost_usd(project, basis, teacher, training, checking),
        teacher=teacher,
        teaching=teaching,
    )


def _cost_usd(
    project: OpenProject,
    basis: TuningBasis,
    teacher: Variant | None,
    training: Sequence[Sample],
    checking: Sequence[Sample],
) -> Dollars | None:
    if basis.has_ended:
        return Decimal(0), Decimal(0)
    costs = [
        test_estimate(project, basis).cost_usd,
        asked_usd(project, basis, basis.workload.incumbent, checking),
        asked_usd(project, basis, basis.candidate, checking),
        asked_usd(project, basis, basis.candidate, checking, reuse=False),  # as it is trained
    ]
    if teacher is not None:
        costs.append(asked_usd(project, basis, teacher, training))
    return sum_dollars(costs)


def _check_local(project: OpenProject, name: str, candidate: str) -> None:
    offers = {each.name: each.offer for each in project.workload(name).candidates}
    offer = offers.get(candidate)
    if offer is not None and (offer.provider != "local" or offer.base_url is not None):
        raise UsageError(
            f"{candidate} runs at {offer.provider}, and its weights are not here to be trained",
            code="distil-not-local",
            hint="make a candidate with `provider: local` from its GGUF file: `crossgrade models add FILE`",
        )


def _teacher(project: OpenProject, workload: Workload, name: str | None) -> Variant | None:
    """Return the teacher as it is asked: as the workload's variant of that name, or like the incumbent."""
    if name is None:
        return None
    offer: Offer = project.offer(name)
    project.check_allowed(name)
    variants = {each.name: each for each in (workload.incumbent, *workload.candidates)}
    return variants.get(name) or replace(workload.incumbent, offer=offer)


def _divided(basis: TuningBasis) -> tuple[tuple[Sample, ...], tuple[Sample, ...], tuple[Sample, ...]]:
    """Return the samples that train, those that check, and those that no example may be close to."""
    split, samples = basis.split, {each.id: each for each in basis.dataset.samples}
    items = list(split.development)
    checked = max(_FEWEST_CHECKED, round(CHECK_SHARE * len(items)))
    training = [samples[each] for each in items[:-checked]]
    checking = [samples[each] for each in items[-checked:]]
    closed: Collection[str] = {*split.certification, *split.reserved}
    others = [each for each in basis.dataset.samples if each.id in closed]
    return tuple(training), tuple(checking), (*checking, *others)


def _prompt_bytes(variant: Variant, sample: Sample) -> int:
    from crossgrade.calls import prompt_bytes
    from crossgrade.evaluate import request_of

    return prompt_bytes(request_of(variant, sample))
