"""Prepares a run before it asks anything: draws and checks samples, and records or finds the run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, cast

import msgspec
import numpy as np

from crossgrade.calls import canonical_json, digest
from crossgrade.decide import LARGEST_BLOCK, RunDesign
from crossgrade.domain import JSON, ModelAnswer, Sample, Variant, Workload
from crossgrade.errors import UsageError
from crossgrade.evaluate._case import OpenVariant
from crossgrade.evaluate._prompt import may_answer, request_bytes, uncarried
from crossgrade.evaluate.scorers import PairScorer, PythonScorer, Scorer
from crossgrade.store import Run, new_id
from crossgrade.workloads import Dataset

if TYPE_CHECKING:
    from crossgrade.store import Store


def shuffled_samples(
    workload: Workload, dataset: Dataset, *, whole_clusters: bool = True, grown_from: Sequence[int] = ()
) -> list[Sample]:
    """Return a dataset's samples in the order in which a run asks them: shuffled by the seed.

    Samples that share a cluster stay together, in file order, unless `whole_clusters` is False. A plan of
    more samples of the same dataset begins with those of a smaller one. Where the dataset had fewer samples
    before (`grown_from`), those come first, in the order that they had, and then each addition.
    """
    order: list[Sample] = []
    for start, end in pairwise((0, *grown_from, len(dataset.samples))):
        rng = np.random.default_rng((workload.seed, start) if start else workload.seed)
        units = _units(dataset.samples[start:end], whole_clusters=whole_clusters)
        order += [sample for index in rng.permutation(len(units)) for sample in units[index]]
    return order


def _units(samples: Sequence[Sample], *, whole_clusters: bool) -> list[list[Sample]]:
    """Return what is shuffled: clusters, and samples that have none."""
    if not whole_clusters:
        return [[sample] for sample in samples]
    clusters: dict[tuple[bool, str], list[Sample]] = {}
    for sample in samples:
        unit = (False, sample.id) if sample.cluster is None else (True, sample.cluster)
        clusters.setdefault(unit, []).append(sample)
    return list(clusters.values())


def planned_samples(workload: Workload, dataset: Dataset, design: RunDesign | None = None) -> list[Sample]:
    """Return the samples that a run asks, in its order; without a `design` those of a new run."""
    design = design or new_design(workload, dataset)
    return _in_order(workload, dataset, design)[: design.samples]


def _in_order(workload: Workload, dataset: Dataset, design: RunDesign) -> list[Sample]:
    if design.order is not None:
        samples = {sample.id: sample for sample in dataset.samples}
        return [samples[each] for each in design.order]
    return shuffled_samples(
        workload, dataset, whole_clusters=design.whole_clusters, grown_from=design.grown_from
    )


def askable_samples(workload: Workload, dataset: Dataset, design: RunDesign) -> list[Sample]:
    """Return the samples that a run may ask, in its order: more than are planned until blocks are chosen."""
    samples = _in_order(workload, dataset, design)
    open_yet = design.pilot > 0 and design.blocks is None
    return samples[: design.samples * LARGEST_BLOCK if open_yet else design.samples]


def new_design(
    workload: Workload, dataset: Dataset, *, pilot: int = 0, grown_from: tuple[int, ...] = ()
) -> RunDesign:
    """Return the design of a run that is the first of its plan: pairs, clusters as a whole.

    `workload.planned` samples are planned, or as many as whole clusters leave of them: at least one cluster.
    After `pilot` samples, where there are more, the run may choose blocks.
    """
    samples = shuffled_samples(workload, dataset, grown_from=grown_from)
    n = min(workload.planned or len(samples), len(samples))
    ends = [at for at in range(1, len(samples)) if not _together(samples[at - 1], samples[at])]
    n = max((at for at in (*ends, len(samples)) if at <= n), default=min((*ends, len(samples))))
    pilot = pilot if pilot < n else 0
    return RunDesign(samples=n, first_samples=n, grown_from=grown_from, pilot=pilot, before=n if pilot else 0)


def _together(one: Sample, other: Sample) -> bool:
    return one.cluster is not None and one.cluster == other.cluster


def idle_samples(
    workload: Workload, plan: Sequence[Sample], design: RunDesign, max_bytes: Mapping[str, int]
) -> frozenset[str]:
    """Return the ids of planned samples that no model is asked: unpaired, and for no candidate to answer."""
    names = [variant.name for variant in workload.candidates]
    if design.blocks is None or not all(name in max_bytes or name in workload.across for name in names):
        return frozenset()
    return frozenset(
        sample.id
        for position, sample in enumerate(plan)
        if not design.pairs_at(position)
        and not any(may_answer(workload, sample, name, max_bytes.get(name)) for name in names)
    )


def check_answerable(workload: Workload, samples: Sequence[Sample], max_bytes: Mapping[str, int]) -> None:
    """Raise `UsageError` for a candidate that may answer none of the planned samples."""
    for name in dict.fromkeys((*workload.across, *max_bytes)) if samples else ():
        most = max_bytes.get(name)
        if any(may_answer(workload, sample, name, most) for sample in samples):
            continue
        carried = [each for each in samples if may_answer(workload, each, name, None)]
        planned = f"{len(samples):,} planned samples of `{workload.name}`"
        if not carried:
            raise UsageError(
                f"none of the {planned} can be carried from the API `{workload.client_api}` to that of "
                f"`{name}`: {uncarried(workload, samples[0])}",
                code="samples-not-carried",
                hint=f"take `{name}` out of `candidates`, or let the clients leave these fields out",
            )
        shortest = min(request_bytes(workload, sample) for sample in carried)
        raise UsageError(
            f"`{name}` is to answer requests of at most {most:,} bytes, and the shortest of the {planned} "
            f"that it could be sent has {shortest:,}",
            code="samples-too-long",
            hint=f"take `{name}` out of `candidates`, or give the dataset shorter samples",
        )


async def check_samples(
    samples: Sequence[Sample], variants: Sequence[OpenVariant], scorer: Scorer | PairScorer
) -> None:
    """Raise `DataError` for a sample that a prompt or the scorer cannot use, before money is spent."""
    blank = ModelAnswer(text="")
    # A function of the user's may do anything: it sees real answers only.
    tries_blank = not (hasattr(scorer, "score_pair") or isinstance(scorer, PythonScorer))
    for sample in samples:
        for variant in variants:
            variant.request(sample)
        if tries_blank:
            await cast("Scorer", scorer).score(sample, blank)


def begin(
    workload: Workload,
    dataset: Dataset,
    *,
    scorer_digest: str,
    design: RunDesign,
    store: "Store",
    resume: str | None,
    weights: Mapping[str, str] = MappingProxyType({}),
) -> Run:
    """Record a new run and its design, or return the one to resume if it was made under the same settings.

    `weights` has the digests of local models' files, by variant.
    """
    settings = run_settings(
        workload, dataset_digest=dataset.digest, scorer_digest=scorer_digest, weights=weights
    )
    if resume is None:
        run = Run(
            id=new_id(),
            workload=workload.name,
            dataset_digest=dataset.digest,
            settings=settings,
            settings_digest=digest(settings),
            seed=workload.seed,
            planned=design.samples,
        )
        store.runs.append(run, design)
        return run
    run = store.runs.get(resume, workload.name)
    if run.settings_digest != digest(settings):
        names = sorted(name for name, value in settings.items() if run.settings.get(name) != value)
        raise UsageError(
            f"run {run.id} was made with other settings: {', '.join(names)} changed since",
            code="run-settings-changed",
            hint="start a new run: answers to unchanged requests are reused, not paid for again",
        )
    return run


def run_settings(
    workload: Workload,
    *,
    dataset_digest: str,
    scorer_digest: str,
    weights: Mapping[str, str] = MappingProxyType({}),
) -> dict[str, JSON]:
    """Return everything that a run's evidence depends on, as JSON. A run is resumed only if it is equal.

    Runs of safety suites record what they measure, and the digests of local models' files (`weights`, by
    variant): their labels count as long as these are the same. Prices, time limits and concurrency may
    change between the parts of a run, so they are left out.
    """
    settings = {
        "workload": workload.name,
        "dataset_digest": dataset_digest,
        "scorer": workload.scorer,
        "scorer_digest": scorer_digest,
        "incumbent": variant_settings(workload.incumbent),
        "candidates": [variant_settings(variant) for variant in workload.candidates],
        "floor": workload.floor,
        "alpha": workload.alpha,
        "mode": workload.mode,
        "planned": workload.planned,
        "epochs": workload.epochs,
        "seed": workload.seed,
        "segment": workload.segment,
        "cluster": workload.cluster,
        "errors_count_as_zero": workload.errors_count_as_zero,
        "splits_only": workload.splits_only,
    }
    if workload.suite is not None:
        settings |= {"measures": workload.suite.measures, "weights": dict(weights)}
    if workload.probes:
        settings["probes"] = list(workload.probes)
    if workload.across:
        settings["across"] = {"client_api": workload.client_api, "candidates": list(workload.across)}
    if workload.baseline is not None:
        settings["baseline"] = {
            "id": workload.baseline.baseline_id,
            "digest": workload.baseline.digest,
            "numbers": dict(workload.baseline.numbers),
        }
    if workload.agent is not None:  # its files are in the dataset's digest
        agent, limits = workload.agent, workload.agent.limits
        settings["agent"] = {
            "name": agent.name,
            "version": agent.version,
            "command": agent.command,
            "variables": dict(agent.variables),
            "limits": {name: each for name, each in asdict(limits).items() if each is not None},
        }
    if workload.tuning is not None:
        settings["tuning"] = workload.tuning
    if workload.logged_traffic is not None:
        settings["represented_share"] = workload.logged_traffic.represented_share
    # As they will be read back, so that they can be compared.
    as_read: dict[str, JSON] = msgspec.json.decode(canonical_json(settings))
    return as_read


def variant_settings(variant: Variant) -> dict[str, Any]:
    """Return what identifies a variant in the settings of a run: its model, prompt and decoding settings."""
    offer, prompt = variant.offer, asdict(variant.prompt)
    for name in ("history", "grammar"):  # as runs were recorded before prompts had them
        if prompt[name] is None:
            del prompt[name]
    adapter = {} if offer.adapter is None else {"adapter": offer.adapter}
    return {
        "name": variant.name,
        "provider": offer.provider,
        "model": offer.model,
        **adapter,
        "base_url": offer.base_url,
        "prompt": prompt,
        "settings": variant.settings,
    }
