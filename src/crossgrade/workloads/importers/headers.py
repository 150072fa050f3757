"""Which column of a table is which field: as told, by its name, by the same letters, or by a synonym."""

from collections.abc import Iterator, Mapping, Sequence

from crossgrade.domain import SETUP_FIELDS
from crossgrade.errors import DataError, closest, hint_among
from crossgrade.workloads.importers.request import WORKLOAD, ImportRequest

ID_FIELD = "item_id"
ID_COLUMNS = (ID_FIELD, "sample_id", "id")
QUESTION_COLUMNS = ("prompt", "input", "question")
SHARED_COLUMNS = (
    "workload",
    "segment",
    "group",
    "cluster",
    "weight",
    "input",
    "target",
    "prompt",
    "target_digest",
)
LONG_COLUMNS = (
    "model",
    "score",
    "human",
    "label_probability",
    "label_skipped",
    "epoch",
    "error",
    "unparsed",
    "truncated",
    "finish_reason",
    "output",
    "prompt_digest",
    "settings_digest",
    *SETUP_FIELDS,
    "failure",
    "model_calls",
    "tool_calls",
    "tool_counts",
    "cost_usd",
    "latency_ms",
    "latency_s",
    "ttft_ms",
    "ttft_s",
    "input_tokens",
    "output_tokens",
    "cache_read_input_tokens",
    "cache_creation_input_tokens",
)
FIELDS = (ID_FIELD, *SHARED_COLUMNS, *LONG_COLUMNS)

# A name is here only if it says the unit and can mean nothing else: another one is for `--column`.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    ID_FIELD: (
        *ID_COLUMNS[1:],
        "item",
        "sample",
        "example_id",
        "example",
        "question_id",
        "case_id",
        "instance_id",
        "task_id",
    ),
    "model": ("model_name", "model_id"),
    "score": ("correct", "is_correct", "accuracy", "acc", "passed", "resolved", "is_resolved"),
    "failure": ("failure_mode",),
    "model_calls": ("api_calls", "n_api_calls"),
    "output": ("response", "completion", "prediction", "model_output"),
    "cost_usd": ("usd", "cost_in_usd", "total_cost_usd"),
    "latency_ms": ("latency_in_ms", "duration_ms"),
    "latency_s": ("latency_seconds", "duration_s", "agent_seconds"),
    "input_tokens": ("prompt_tokens", "tokens_in"),
    "output_tokens": ("completion_tokens", "tokens_out"),
}

_PROPOSED: Mapping[str, tuple[str, ...]] = {
    "--column cost_usd={}, if it is dollars a request": ("cost", "total_cost", "price"),
    "--column latency_ms={} or latency_s={}, by its unit": ("latency", "duration", "time", "elapsed"),
    "--column epoch={}, if it numbers the runs of a task": ("attempt", "trial", "try"),
    "--group {}": (
        "subject",
        "category",
        "topic",
        "domain",
        "language",
        "difficulty",
        "level",
        "type",
        "task",
        "subset",
        "source",
    ),
    "--cluster {}": ("conversation_id", "document_id", "session_id", "thread_id"),
}


def same_letters(name: str) -> str:
    """Return a name by its letters and digits alone, so that `Item ID`, `itemId` and `item_id` are one."""
    return "".join(filter(str.isalnum, name)).casefold()


class Header:
    """The columns of a table by field; `ignored` are the columns that no field is taken from.

    Raises `DataError` if a column that the request names is missing, and where the score could be
    more than one column.
    """

    def __init__(self, request: ImportRequest, names: Sequence[str]) -> None:
        """Find the column of every field that there is one for."""
        self._request = request
        self.names = tuple(names)
        self._letters = {same_letters(name): name for name in reversed(self.names)}
        self.told = {
            field: name if name in self.names else self._letters.get(same_letters(name), name)
            for field, name in request.columns.items()
        }
        for field, name in self.told.items():
            if field not in FIELDS:
                raise DataError(
                    f"a table has no field `{field}`",
                    code="table-field-unknown",
                    file=request.path,
                    hint=hint_among(field, FIELDS),
                )
            if name not in self.names:
                raise self.missing(name)
        self.named = {field: column for field in FIELDS if (column := self._named(field)) is not None}
        self.fields = {field: column for field in FIELDS if (column := self._found(field)) is not None}
        self._label()

    def _named(self, field: str) -> str | None:
        """Return the column of a field by its own name, or as told."""
        if field in self.told or field in self.names:
            return self.told.get(field, field)
        found = self._letters.get(same_letters(field))
        return None if found in self.told.values() else found

    def _found(self, field: str) -> str | None:
        if field in self.named:
            return self.named[field]
        taken = {*self.told.values(), *self.named.values()}
        letters = (self._letters.get(same_letters(name)) for name in SYNONYMS.get(field, ()))
        found = [name for name in letters if name is not None and name not in taken]
        if field == "score" and len(found) > 1:
            raise DataError(
                f"the score could be any of the columns {listed(found)}",
                code="column-ambiguous",
                file=self._request.path,
                line=1,
                hint=f"say which with `--column score={found[0]}`",
            )
        return found[0] if found else None

    @property
    def id_column(self) -> str | None:
        """The column of ids by its name alone: in a wide table `example` may as well be the question."""
        names = (self._letters.get(same_letters(name)) for name in ID_COLUMNS)
        return self.told.get(ID_FIELD) or next((name for name in names if name is not None), None)

    def _label(self) -> None:
        """Take segment, group and cluster from the columns that the request names."""
        for field, name in self._request.named_labels().items():
            if name == WORKLOAD:
                continue
            if name not in self.names and same_letters(name) not in self._letters:
                raise self.missing(name)
            self.fields[field] = name if name in self.names else self._letters[same_letters(name)]

    def missing(self, name: str, hint: str = "name one of these columns") -> DataError:
        """Return the error of a column that is not there."""
        return DataError(
            f'there is no column "{name}"; the columns are {listed(self.names)}{closest(name, self.names)}',
            code="column-missing",
            file=self._request.path,
            line=1,
            hint=hint,
        )


def listed(names: Sequence[str]) -> str:
    """Return up to 20 names of columns in quotes, and how many more there are."""
    shown = ", ".join(f'"{name[:60]}"' for name in names[:20])
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def proposals(ignored: Sequence[str]) -> Iterator[str]:
    """Yield for each ignored column that looks useful the option that takes it."""
    for option, names in _PROPOSED.items():
        for name in ignored:
            if same_letters(name) in map(same_letters, names):
                yield option.format(*[name] * option.count("{}"))
