"""What people's labels have to do with a verdict, in plain words."""

import math
from collections.abc import Iterator

from crossgrade.decide._records import Certificate, LabelCounts, Remark
from crossgrade.decide._sentence import Findings
from crossgrade.decide._words import count, listed
from crossgrade.stats import LEAST_LABELS


def label_reasons(found: Findings) -> Iterator[Remark]:
    """Yield why labels do not count yet, which count against the candidate, and whose are doubtful."""
    labels = found.view.settings.labels
    if labels is None:
        return
    if labels.left:
        yield Remark(
            "labels-unfinished",
            f"{labels.left:,} of {labels.drawn:,} items are neither labelled nor skipped, so no label "
            "counts yet: stopping at a good moment would choose the verdict.",
        )
    if labels.rounds > 1:
        yield Remark(
            "labels-rounds",
            f"{labels.rounds} rounds of labels were planned. Each is tested at "
            f"{found.view.settings.alpha:.4g}, so that all together keep to the workload's error rate.",
        )
    if labels.skipped:
        yield Remark(
            "labels-skipped",
            f"People skipped {labels.skipped:,} of {labels.drawn:,} drawn items. Each counts against either "
            f"outcome: for the lower bound {found.incumbent} is right there and the candidate wrong, for the "
            "upper bound it is the other way round.",
        )
    if labels.hasty:
        yield Remark(
            "labels-hasty",
            f"WARNING: {listed(labels.hasty)} labelled faster than anyone can read. The labels count.",
        )


def label_changes(labels: LabelCounts | None, workload: str) -> Iterator[Remark]:
    """Yield that the drawn items must be labelled, where some are left."""
    if labels is not None and labels.left:
        yield Remark(
            "labels-finished",
            f"Labels or skips of the {count(labels.left, 'item')} that are left: "
            f"`crossgrade label {workload}`.",
        )


def first_changes(found: Findings, best: Certificate) -> Iterator[Remark]:
    """Yield how many labels are missing before any bound can be computed."""
    counted = best.retention.effective_labels or best.retention.labels or 0
    missing = math.ceil(LEAST_LABELS - counted - 1e-9)
    workload, labels = found.view.evidence.workload, found.view.settings.labels
    yield Remark(
        "more-labels",
        f"People's scores of {count(missing, 'more sample')}, drawn at random: "
        f"`crossgrade label {workload}`.",
        candidate=best.candidate,
        segments=() if best.segment is None else (best.segment,),
    )
    if labels is not None:
        yield from again_changes(labels, workload)


def again_changes(labels: LabelCounts, workload: str) -> Iterator[Remark]:
    """Yield that more labels are a second look, and how they can be made."""
    yield Remark(
        "labels-again",
        "More labels because of what these say add a second chance of a wrong verdict. "
        f"`crossgrade label {workload}` adds them only in rounds that were planned before the first "
        f"(`--rounds`, here {labels.rounds}). A run on other samples is another test, with its own chance.",
    )
