"""The request of a user to an importer, and the choices that it has to make."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from crossgrade.errors import DataError, closest
from crossgrade.workloads.files import FileLimits, as_text

WORKLOAD = "workload"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRequest:
    """One file or folder to import.

    `model` renames the model of a log that holds one; `models` names the score columns of a wide
    table, `columns` the column of a field, where a table calls it something else. `metric`
    picks a scorer, metric or filter where there are several. `segment`, `group` and
    `cluster` name a column, or a key of the samples' metadata, or are "workload" for what the
    source calls its workload (task, scenario). `file_group` names one of several wide tables: it
    is the group of its rows, and its ids count within it. `allow_unfinished` takes logs of
    runs that did not end well. `passes` takes whether an answer passed as its score, where the source
    says so beside a score.
    """

    path: Path
    model: str | None = None
    models: tuple[str, ...] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    metric: str | None = None
    segment: str | None = None
    group: str | None = None
    cluster: str | None = None
    file_group: str | None = None
    allow_unfinished: bool = False
    passes: bool = False
    limits: FileLimits = field(default_factory=FileLimits)

    def choose(self, choices: Iterable[str], what: str) -> str:
        """Return the one choice there is, or the one that `metric` names.

        A choice of several parts (`exact_match,strict-match`) may be named by one part that no
        other choice has.

        Raises `DataError` listing the choices when there are several, or none by that name.
        """
        names = list(dict.fromkeys(choices))
        listed = ", ".join(names)
        if not names:
            raise DataError(
                f"no sample has a {what}", code="metric-missing", file=self.path, hint="score the log first"
            )
        if self.metric is None:
            if len(names) == 1:
                return names[0]
            raise DataError(
                f"the {what} must be chosen, for the choice can change the verdict: {listed}",
                code="metric-not-named",
                file=self.path,
                hint=f"name one with --metric, such as --metric {quote(names[0])}",
            )
        found = [name for name in names if self.metric == name] or [
            name for name in names if self.metric in name.split(",")
        ]
        if len(found) != 1:
            raise DataError(
                f"`{self.metric}` names {'no' if not found else 'more than one'} {what}: {listed}"
                f"{closest(self.metric, names)}",
                code="metric-unknown",
                file=self.path,
                hint="name one of them in full",
            )
        return found[0]

    def check_models(self, models: Iterable[str]) -> None:
        """Raise `DataError` if this names the model of a folder whose logs name several."""
        names = sorted(set(models))
        if self.model is not None and len(names) > 1:
            raise DataError(
                f"the answers are of {', '.join(names)}, which cannot all be {self.model}",
                code="folder-of-several-models",
                file=self.path,
                hint="leave MODEL= out, or give the logs one by one",
            )

    def named_labels(self) -> dict[str, str]:
        """Return which of segment, group and cluster were named, and how."""
        named = {"segment": self.segment, "group": self.group, "cluster": self.cluster}
        return {label: name for label, name in named.items() if name is not None}

    def label(self, label: str, *places: Mapping[str, object] | None) -> str | None:
        """Return a sample's segment, group or cluster, looked up in its metadata."""
        name = self.named_labels().get(label)
        found = next((place[name] for place in places if name and place and name in place), None)
        return as_text(found)
