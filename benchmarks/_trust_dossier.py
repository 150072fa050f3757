"""Figures of the dossier: the demo's workload without a word typed, and a gated route when one expires."""

import contextlib
import json
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks._table import Row
from benchmarks.gateway._served import Served, serving
from crossgrade.domain import Dossier
from crossgrade.errors import DataError
from crossgrade.evidence import check_bom
from crossgrade.project import Project
from crossgrade.testing import FakeProvider

UNTYPED = (1, 2, 6, 12, 13, 15)
"""The fields that must be filled without typing."""

_EXPIRIES = 5
_PATIENCE_S = 10.0


def dossier_rows() -> list[Row]:
    """Make the dossier of the demo's workload; let dossiers of a gated route expire."""
    with TemporaryDirectory(prefix="bench-dossier-") as folder:
        rows = list(_demo_rows(Path(folder)))
    with TemporaryDirectory(prefix="bench-dossier-") as folder:
        return [*rows, *_gate_rows(Path(folder))]


def _demo_rows(folder: Path) -> Iterator[Row]:
    with as_file(files("crossgrade") / "data" / "demo") as data:
        for name in ("crossgrade.yaml", "support.jsonl"):
            shutil.copyfile(data / name, folder / name)
    with Project.open(folder / "crossgrade.yaml") as project:
        result = project.evaluate("support")
        project.decide("support", run_id=result.run_id)
        stored = project.dossiers.make("support")
        project.dossiers.write(stored, folder / "dossier")
    bom = json.loads((folder / "dossier" / "dossier.cdx.json").read_text())
    yield from dossier_figures(stored.dossier, is_valid=_is_valid(bom))


def dossier_figures(dossier: Dossier, *, is_valid: bool) -> Iterator[Row]:
    """Yield the rows about a dossier that was made without statements."""
    filled = [number for number in UNTYPED if dossier.field(number).status == "measured"]
    statuses = ", ".join(
        f"{len(dossier.with_status(status))} {status}" for status in ("measured", "stated", "missing")
    )
    yield Row(
        figure="fields of the demo's dossier filled without typing",
        value=f"{len(filled)} of {len(UNTYPED)}",
        unit="",
        must="all",
        aim="all",
        holds=len(filled) == len(UNTYPED),
        conditions=f"fields {', '.join(map(str, UNTYPED))} of `crossgrade dossier support` after the demo's "
        f"evaluation and decision; all 17: {statuses}",
    )
    others = [each for each in dossier.fields if each.number not in UNTYPED]
    blank = [each for each in others if not (each.gaps if each.status == "missing" else each.facts)]
    yield Row(
        figure=f"blank fields among the other {len(others)}",
        value=float(len(blank)),
        must="0",
        aim="0",
        holds=not blank,
        conditions="a missing field says what is missing, any other one has facts",
    )
    yield Row(
        figure="the demo's dossier as CycloneDX 1.6 is valid",
        value="yes" if is_valid else "no",
        unit="",
        must="yes",
        aim="yes",
        holds=is_valid,
        conditions="the bundled schema of the specification (JSON Schema draft 7), read again from the file; "
        f"{len(dossier.models)} model cards, {len(dossier.fields)} claims, "
        f"{len(dossier.controls)} controls of {len(dossier.frameworks)} frameworks",
    )


def _is_valid(document: dict[str, object]) -> bool:
    try:
        check_bom(document)
    except DataError:
        return False
    return True


def _gate_rows(folder: Path) -> Iterator[Row]:
    """How long it takes until a gated route answers after a new dossier, and refuses after its end."""
    (folder / "t.jsonl").write_text('{"input": "a", "target": "b"}\n')
    with FakeProvider("hello", api_key="sk-behind") as provider:
        model = {
            "provider": "openai-compatible",
            "model": "m",
            "base_url": provider.base_url,
            "api_key_env": "BEHIND",
        }
        config = {
            "models": {"current": model, "cheap": {**model, "model": "n"}},
            "workloads": {
                "triage": {
                    "dataset": "t.jsonl",
                    "scorer": {"kind": "exact"},
                    "incumbent": "current",
                    "candidates": ["cheap"],
                }
            },
            "routes": {"cyber": {"workload": "triage", "gated": True}},
            "access": {"rules": [{"name": "audited", "evidence": "dossier"}]},
        }
        with serving(folder, config, environ={"BEHIND": "sk-behind"}) as served:
            seconds = [_opened_and_served_s(served) for _ in range(_EXPIRIES)]
    opened, late = (max(each) for each in zip(*seconds, strict=True))
    asked = "`crossgrade serve`, one worker, asked every 10 ms"
    yield Row(
        figure="gated route refuses after its dossier was made, longest",
        value=opened,
        unit="s",
        must="<= 1",
        holds=opened <= 1,
        conditions=f"{asked}; until the first answer, from the end of `Project.dossiers.make`",
        spread=f"{_EXPIRIES} dossiers",
    )
    yield Row(
        figure="gated route answers after its dossier expired, longest",
        value=late,
        unit="s",
        must="<= 1",
        holds=late <= 1,
        conditions=f"{asked}; dossiers that end about 2 s after they were made",
        spread=f"{_EXPIRIES} dossiers",
    )


def _opened_and_served_s(served: Served) -> tuple[float, float]:
    """Make a dossier that ends in 2 s.

    Returns the seconds until a request is answered, and for how long after the end requests still are.
    """
    end = datetime.now(UTC) + timedelta(seconds=2)
    with Project.open(served.folder / "crossgrade.yaml") as project:
        project.dossiers.make("triage", now=end - timedelta(days=project.config.dossier.valid_days))
    made = time.time()
    opened, last, stop = None, 0.0, end.timestamp() + _PATIENCE_S
    while time.time() < stop:
        asked = time.time()
        if _is_answered(served):
            last = asked
            opened = time.time() - made if opened is None else opened
        elif asked > end.timestamp():
            break
        time.sleep(0.01)
    assert opened is not None, "the dossier never opened the route"
    return opened, max(0.0, last - end.timestamp())


def _is_answered(served: Served) -> bool:
    body = json.dumps({"model": "cyber", "messages": [{"role": "user", "content": "hi"}]}).encode()
    headers = {"authorization": f"Bearer {served.key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{served.url}/v1/chat/completions", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=_PATIENCE_S) as answer:
            return answer.status == 200
    except urllib.error.HTTPError as error:
        with contextlib.closing(error):
            return False
