"""Measured points of serving throughput, as a CSV table."""

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass

from crossgrade.errors import DataError

MAX_POINTS = 100_000

NEEDED = ("model", "hardware", "precision", "isl", "osl", "concurrency", "out_tok_s_gpu")
"""Columns that a table of measurements must have; `docs/concepts/serving-cost.md` describes all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredPoint:
    """One measurement: a model on GPUs under a load, and its output tokens a second and GPU.

    `in_flight` None is as many as fit; with `tpot_limit_ms` as many as keep to the limit. `ttft_ms` is
    the time to the first token, None if it was not measured.
    `family` names models that share an architecture: cross-validation leaves a family out at a time.
    """

    name: str
    model: str
    family: str
    hardware: str
    precision: str
    tensor_parallel: int
    attention_replicas: int
    expert_parallel: int
    engine: str
    kv_bits: int
    input_tokens: float
    output_tokens: float
    in_flight: float | None
    tpot_limit_ms: float | None
    output_tokens_s_gpu: float
    ttft_ms: float | None = None


def read_measurements(text: str, *, file: str | None = None) -> tuple[MeasuredPoint, ...]:
    """Read measurements from CSV text.

    Optional columns: `id`, `family` (the model's name by default), `backend` (vllm), `tp` (`gpus`),
    `attn_dp` (1), `moe_ep` (1), `kv_bits` (8, or 16 for 16-bit weights), `tpot_limit_ms` and `ttft_ms`.
    `concurrency` is a number, or `max` for as many as fit.
    """
    reader = csv.DictReader(io.StringIO(text))
    missing = [name for name in NEEDED if name not in (reader.fieldnames or ())]
    if missing:
        raise DataError(
            f"measurements lack the column {', '.join(missing)}",
            code="points-columns",
            file=file,
            line=1,
            hint=f"a table of measurements has {', '.join(NEEDED)}",
        )
    points = []
    for line, row in enumerate(reader, start=2):
        if line > MAX_POINTS:
            raise DataError(
                f"more than {MAX_POINTS:,} measurements", code="too-many-rows", file=file, line=line
            )
        points.append(_point(_Row(row, file=file, line=line)))
    if not points:
        raise DataError("no measurement in the table", code="points-empty", file=file, line=1)
    return tuple(points)


class _Row:
    def __init__(self, cells: Mapping[str, str | None], *, file: str | None, line: int) -> None:
        self._cells, self._file, self._line = cells, file, line

    def text(self, name: str, default: str | None = None) -> str:
        found = (self._cells.get(name) or "").strip()
        if found:
            return found
        if default is None:
            raise self.wrong(name, "", "something")
        return default

    def number(self, name: str, default: float | None = None) -> float:
        shown = self.text(name, None if default is None else str(default))
        try:
            value = float(shown)
        except ValueError:
            raise self.wrong(name, shown, "a number") from None
        if not (math.isfinite(value) and 0 < value < 1e12):
            raise self.wrong(name, shown, "a number above 0")
        return value

    def wrong(self, name: str, seen: str, wanted: str) -> DataError:
        return DataError(
            f"{seen[:60]!r} where {wanted} was expected",
            code="point-invalid",
            file=self._file,
            line=self._line,
            where=name,
        )


def _point(row: _Row) -> MeasuredPoint:
    flying = row.text("concurrency")
    precision = row.text("precision")
    limit = row.text("tpot_limit_ms", "-")
    return MeasuredPoint(
        name=row.text("id", "-"),
        model=row.text("model"),
        family=row.text("family", row.text("model")),
        hardware=row.text("hardware"),
        precision=precision,
        tensor_parallel=int(row.number("tp", row.number("gpus", 1))),
        attention_replicas=int(row.number("attn_dp", 1)),
        expert_parallel=int(row.number("moe_ep", 1)),
        engine=row.text("backend", "vllm"),
        kv_bits=int(row.number("kv_bits", 16 if precision == "bf16" else 8)),
        input_tokens=row.number("isl"),
        output_tokens=row.number("osl"),
        in_flight=None if flying == "max" or limit != "-" else row.number("concurrency"),
        tpot_limit_ms=None if limit == "-" else row.number("tpot_limit_ms"),
        output_tokens_s_gpu=row.number("out_tok_s_gpu"),
        ttft_ms=row.number("ttft_ms") if row.text("ttft_ms", "-") != "-" else None,
    )
