"""Draws items where labels help the most: a pilot at random first, then the others by what it shows.

The settings of such a draw have `labels`, how many items are planned in all, `stage` (`pilot` or `main`), and
`pilot` and `pilot_probability`, the number of the pilot's items, which come first, and each item's
probability to be one of them.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from crossgrade.domain import JSON
from crossgrade.errors import UsageError
from crossgrade.routing import position
from crossgrade.store import LabelDraw

if TYPE_CHECKING:
    import numpy as np

    from crossgrade.workloads import Results


class PilotDraw(NamedTuple):
    """The `items` of a pilot, and each item's probability to be one of them."""

    items: frozenset[str]
    share: float


def pilot_size(labels: int) -> int:
    """Return how many of a planned number of labels are the pilot's.

    Raises UsageError where that would be all of them.
    """
    from crossgrade.stats import LEAST_PILOT, PILOT_SHARE

    pilot = max(round(PILOT_SHARE * labels), LEAST_PILOT)
    if pilot >= labels:
        raise UsageError(
            f"a pilot has {LEAST_PILOT} labels at least, and {labels} are planned in all",
            code="label-count-invalid",
            hint=f"give `--labels` more than {LEAST_PILOT}, or draw at random: leave out `--draw`",
        )
    return pilot


def pilot_settings(labels: int, pilot: int, items: int) -> dict[str, JSON]:
    """Return the settings of a pilot of some of `items` for a planned number of labels."""
    return {"labels": labels, "stage": "pilot", "pilot": pilot, "pilot_probability": pilot / items}


def pilot_of(draw: LabelDraw) -> PilotDraw | None:
    """Return the pilot that a draw is or began with, None if it has none."""
    count, share = draw.settings.get("pilot"), draw.settings.get("pilot_probability")
    if not isinstance(count, int) or not isinstance(share, float):
        return None
    return PilotDraw(frozenset(draw.items[:count]), share)


def planned_labels(draw: LabelDraw) -> int:
    """Return how many items a draw was to have in all; a main draw may have a few more or fewer."""
    planned = draw.settings.get("labels")
    return planned if isinstance(planned, int) else len(draw.items)


def still_to_draw(draw: LabelDraw) -> int:
    """Return about how many items are drawn once the pilot is labelled, 0 if none are."""
    is_pilot = draw.settings.get("stage") == "pilot"
    return max(planned_labels(draw) - len(draw.items), 1) if is_pilot else 0


def main_draw(
    pilot: LabelDraw, results: "Results", *, run: str, incumbent: str, floor: float, now: datetime
) -> LabelDraw:
    """Return the draw of a pilot's items and those that its labels and the judge's scores lead to.

    `results` are the run's, with the pilot's labels in the column `human`. Everything random follows from the
    pilot's seed, and the draw's id from the pilot's: two processes make the same, and it is recorded once.
    Items that the pilot could not draw are left out, as are those that were erased since.
    """
    import numpy as np

    from crossgrade.stats import draw_labels, label_probabilities

    first = pilot_of(pilot)
    assert first is not None
    columns = _columns(pilot, results, run=run, incumbent=incumbent)
    items, judged, human = columns.items, columns.judged, columns.human
    rng = np.random.default_rng((pilot.seed, len(pilot.items)))
    probabilities = label_probabilities(
        judged[0], judged[1:], human[0], human[1:],
        floor=floor, labels=min(planned_labels(pilot), len(items)), pilot=first.share, rng=rng,
        weights=columns.weights, clusters=columns.clusters,
    )  # fmt: skip
    were_drawn = np.array([name in first.items for name in items])
    anew = draw_labels(probabilities, rng, pilot=first.share, drawn=were_drawn)
    drawn = [items[place] for place in np.flatnonzero(anew)]
    order = sorted(drawn, key=lambda each: position(each, f"label draw {pilot.seed}"))
    return replace(
        pilot,
        id=f"{pilot.id}-main",
        items=(*pilot.items, *order),
        probabilities=dict(zip(items, probabilities.tolist(), strict=True)),
        settings={**pilot.settings, "stage": "main"},
        at=max(now, pilot.at + timedelta(microseconds=1)),
    )


def labels_to_certify(
    draw: LabelDraw, results: "Results", *, run: str, incumbent: str, floor: float, alpha: float
) -> dict[str, int]:
    """Return how many labels in all would probably certify each candidate if it was as good as the incumbent.

    `results` are the run's, with the labels so far in the column `human`. Of these, only how far people and
    the judge differ is used, and of a draw after a pilot only the pilot's. What they say of the retention
    plays no part, so that it may be looked at while people label. A candidate is left out if fewer than 40
    items are labelled, if no number of labels would do, and where the floor asks for a better candidate.
    """
    import numpy as np

    from crossgrade.stats import LEAST_PILOT, labels_needed

    columns, first = _columns(draw, results, run=run, incumbent=incumbent), pilot_of(draw)
    judged, human = columns.judged, columns.human
    if first is not None:
        human = np.where([each in first.items for each in columns.items], human, np.nan)
    scored = int(np.isfinite(human).all(axis=0).sum())
    if not LEAST_PILOT <= scored < len(columns.items) or floor >= 1:
        return {}
    found = {}
    for row, candidate in enumerate(columns.models[1:], 1):
        wanted = labels_needed(
            judged[0], judged[row], human[0], human[row],
            floor=floor, planned_retention=1.0, pilot=scored / len(columns.items),
            rng=np.random.default_rng(draw.seed), draw="residual" if draw.kind == "residual" else "random",
            alpha=alpha, weights=columns.weights, clusters=columns.clusters,
        )  # fmt: skip
        if wanted is not None:
            found[candidate] = wanted
    return found


def certified_by(
    draw: LabelDraw, results: "Results", *, run: str, incumbent: str, floor: float, alpha: float
) -> float | None:
    """Return the retention from which on all labels of a draw would probably certify every candidate.

    It takes people to differ as the judge's scores do, and holds also if the judge agrees with nobody. None
    if so many labels would certify no retention that the scores can have.
    """
    from crossgrade.stats import least_labelled

    columns = _columns(draw, results, run=run, incumbent=incumbent)
    if not columns.items:  # all were erased
        return None
    labels = min(planned_labels(draw), len(columns.items))
    found = [
        least_labelled(columns.judged[0], one, labels=labels, floor=floor, alpha=alpha)
        for one in columns.judged[1:]
    ]
    known = [each for each in found if each is not None]
    return max(known) if known and len(known) == len(found) else None


class _Columns(NamedTuple):
    """The scores of a draw's items: rows of the matrices are `models`, columns are `items`, sorted."""

    items: list[str]
    models: list[str]
    judged: "np.ndarray"
    human: "np.ndarray"
    weights: "np.ndarray | None"
    clusters: list[str]


def _columns(draw: LabelDraw, results: "Results", *, run: str, incumbent: str) -> _Columns:
    """Return the judge's and people's scores of all items that a draw could have, drawn or not."""
    import numpy as np

    from crossgrade.workloads import asked_of_all

    asked = {name: rows for name, rows in asked_of_all(results, run) if name in draw.probabilities}
    items, models = sorted(asked), _models(results, incumbent)
    rows = [[asked[name][model] for name in items] for model in models]
    return _Columns(
        items=items,
        models=models,
        judged=np.nan_to_num(results.score[rows]).clip(0.0, 1.0),  # any function of them will do: see stats
        human=results.amounts.get("human", np.full(len(results), np.nan))[rows],
        weights=_weights(results, rows[0]),
        clusters=_clusters(results, rows[0]),
    )


def _models(results: "Results", incumbent: str) -> list[str]:
    """Return the models, the incumbent first."""
    return [incumbent, *(each for each in results.model_names if each != incumbent)]


def _weights(results: "Results", rows: Sequence[int]) -> "np.ndarray | None":
    """Return the weights of some rows, None if all are the same; the mean stands for one that is missing."""
    import numpy as np

    if "weight" not in results.amounts:
        return None
    weight = results.amounts["weight"][rows]
    known = weight[np.isfinite(weight)]
    return np.where(np.isfinite(weight), weight, known.mean()) if known.any() else None


def _clusters(results: "Results", rows: Sequence[int]) -> list[str]:
    """Return the cluster of each of some rows; epochs of a sample are in one."""
    samples, clusters = results.samples, results.labels.get("cluster")
    found = []
    for row in rows:
        code = -1 if clusters is None else clusters.codes[row]
        own = f"sample {samples.names[samples.codes[row]]}"
        found.append(own if clusters is None or code < 0 else f"cluster {clusters.names[code]}")
    return found
