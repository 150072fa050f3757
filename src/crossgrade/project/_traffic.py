"""The samples that workloads took from logs: their labels, their sealed values, and whose they are."""

import csv
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from crossgrade.errors import DataError, NotFoundError, StoreError
from crossgrade.project._baselines import forget_sealed
from crossgrade.project._opened import OpenProject
from crossgrade.project._tuned import trainings_folder, tuned_requests

if TYPE_CHECKING:
    from crossgrade.workloads import Seal

STATE_FOLDER = ".crossgrade"
_KEY_FILE = "subjects.key"
_KEY_BYTES = 32
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """What a past verdict rests on: of its `samples`, `removed` have only scores and no text now."""

    id: str
    workload: str
    name: str
    samples: int
    removed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgotten:
    """What was removed of a person (samples by workload, answers), and what rests on fewer samples now.

    `adapters` are those whose weights learned from the samples, with how many they learned: their texts are
    removed from the training set, and the weights stay as they are.
    """

    samples: Mapping[str, int]
    digests: Mapping[str, str]
    answers: int
    verdicts: tuple[Rest, ...]
    baselines: tuple[Rest, ...] = ()
    adapters: Mapping[str, int] = field(default_factory=dict)


def subject_key(root: Path) -> bytes:
    """Return the key of the project's pseudonyms, made when it is first needed (mode 0600).

    Only with it can samples be traced to a person.
    """
    path = root / STATE_FOLDER / _KEY_FILE
    try:
        if path.exists():
            return path.read_bytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        key = os.urandom(_KEY_BYTES)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(key)
    except OSError as error:
        raise StoreError(f"{path} cannot be written ({error.strerror})", code="file-unwritable") from error
    return key


class ProjectTraffic:
    """The samples that a project's workloads took from logs; `Project.traffic`."""

    def __init__(self, project: OpenProject) -> None:
        self._project = project

    def label(self, name: str, labels: Path) -> tuple[int, str]:
        """Take targets from a labelling file into a workload's dataset; return how many, and its new digest.

        Raises NotFoundError for the workload, and DataError for an id that the dataset does not have.
        """
        from crossgrade.workloads import read_dataset

        dataset = self._project.workload(name).dataset
        known = {row["id"]: row for row in _rows(dataset)}
        labelled = 0
        with labels.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            for row in reader:
                identifier, target = row.get("id"), row.get("target")
                if identifier not in known:
                    raise DataError(
                        f"no sample has the id {identifier!r}",
                        code="sample-unknown",
                        file=labels,
                        line=reader.line_num,
                    )
                if target:
                    known[identifier]["target"] = _unescaped(target)
                    labelled += 1
        write_rows(dataset, known.values())
        return labelled, read_dataset(dataset, id_field="id").digest

    def reveal(self, name: str, seal: "Seal", *, samples: Sequence[str] = ()) -> list[dict[str, Any]]:
        """Return a workload's samples (those with these ids) with sealed values restored.

        Raises NotFoundError for the workload, and for an id that the dataset does not have.
        """
        from crossgrade.workloads import revealed

        rows = _rows(self._project.workload(name).dataset)
        known = {row.get("id"): row for row in rows}
        if missing := [each for each in samples if each not in known]:
            raise NotFoundError(
                f"no sample of {name!r} has the id {missing[0]!r}", code="sample-not-in-workload"
            )
        chosen = [known[each] for each in samples] or rows

        def opened(value: Any) -> Any:
            if isinstance(value, dict):
                return {key: opened(each) for key, each in value.items()}
            if isinstance(value, list):
                return [opened(each) for each in value]
            return revealed(value, seal.unseal) if isinstance(value, str) else value

        return [opened(row) for row in chosen]

    def forget(self, subject: str) -> Forgotten:
        """Remove every sample made from a person's requests, and return what verdicts then rest on.

        `subject` is the user as the logs named them. The samples are removed from the datasets and labelling
        files, and their requests and answers from the store. Scores that a verdict counted stay in it as
        numbers. Training sets lose them too. If it is interrupted, run it again. Raises `StoreError` while a
        candidate of such a workload is tuned.
        """
        from crossgrade.tuning import forget_examples
        from crossgrade.workloads import read_dataset
        from crossgrade.workloads.traffic import subject_of

        project, config = self._project, self._project.config
        wanted = subject_of(subject, subject_key(config.root))
        removed: dict[str, int] = {}
        digests: dict[str, str] = {}
        answers = 0
        rests: list[Rest] = []
        sealed: list[Rest] = []
        adapters: dict[str, int] = {}
        for name, workload in config.workloads.items():
            if workload.dataset.suffix != ".jsonl" or not workload.dataset.exists():
                continue
            rows = _rows(workload.dataset)
            gone = {str(row.get("id")) for row in rows if _is_of(row, wanted)}
            if not gone:
                continue
            # The store comes first. If this is interrupted, the dataset still says whose samples these are.
            with project.store.tunings.tuning(name):  # which would ask about them meanwhile
                sealed += [
                    Rest(id=each.id, workload=name, name="baseline", samples=each.answered, removed=len(lost))
                    for each, lost in forget_sealed(project.store, name, gone)
                ]
                erased = project.store.forget(name, gone, _requests(project, name, gone))
                for path, n in forget_examples(trainings_folder(config.root, name), gone).items():
                    adapters[path.relative_to(config.root).as_posix()] = n
            answers += erased.answers
            rests += [
                Rest(
                    id=one,
                    workload=name,
                    name=project.store.verdicts.get(one).verdict.name,
                    samples=n,
                    removed=k,
                )
                for one, (k, n) in erased.verdicts.items()
            ]
            kept = [row for row in rows if str(row.get("id")) not in gone]
            write_rows(workload.dataset, kept)
            removed[name] = len(gone)
            digests[name] = read_dataset(workload.dataset).digest if kept else "empty"
            _forget_labels(workload.dataset, {row["id"] for row in kept})
        return Forgotten(
            samples=removed,
            digests=digests,
            answers=answers,
            verdicts=tuple(rests),
            baselines=tuple(sealed),
            adapters=adapters,
        )


def _is_of(row: Mapping[str, Any], subject: str) -> bool:
    named = row.get("subject")
    return subject in named if isinstance(named, list) else named == subject


def _requests(project: OpenProject, name: str, samples: set[str]) -> list[str]:
    """Return the digests of what a run would ask about some samples, whoever was asked."""
    from crossgrade.evaluate import request_digests, requests_of_rounds

    workload = project.workload(name)
    wanted = [each for each in project.dataset(workload, copies=True).samples if each.id in samples]
    asked = [digest for each in wanted for digest in request_digests(workload, each)]
    tuned = tuned_requests(project.store, name, samples)
    return [*asked, *tuned, *requests_of_rounds(project.store, samples)]


def _forget_labels(dataset: Path, kept: set[Any]) -> None:
    from crossgrade.workloads.files import whole_file

    path = dataset.with_suffix(".labels.csv")
    if not path.exists():
        return
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [row for row in csv.reader(file) if row]
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows(
        row for number, row in enumerate(lines) if number == 0 or row[0] in kept
    )
    with whole_file(path) as target:
        target.write(out.getvalue())


def _rows(path: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in path.read_bytes().splitlines() if line.strip()]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a dataset of JSON lines, whole or not at all."""
    from crossgrade.workloads.files import whole_file

    with whole_file(path) as file:
        file.writelines(msgspec.json.encode(row).decode() + "\n" for row in rows)


def labels_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the labelling file; a cell that a spreadsheet would compute is written as text."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    earlier = ("history",) if any("history" in row for row in rows) else ()
    names = ("id", *earlier, "input", "logged", "target")
    writer.writerow(names)
    for row in rows:
        turns = "\n".join(f"{each['role']}: {each['content']}" for each in row.get("history") or ())
        # A cell holds one text: where several answers are right, or one is no text, it stays as it is.
        cells = {**row, "history": turns, "target": row["target"] if isinstance(row["target"], str) else None}
        writer.writerow([_escaped(cells.get(name)) for name in names])
    return out.getvalue()


def _escaped(value: Any) -> str:
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(_FORMULA) else text


def _unescaped(text: str) -> str:
    return text[1:] if text.startswith("'") and text[1:].startswith(_FORMULA) else text
