"""The end of the demo: the verdict is served, its traffic changes, and it takes itself back."""

import csv
import importlib.util
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crossgrade.cli._output import as_typed, note
from crossgrade.errors import CrossgradeError

if TYPE_CHECKING:
    from crossgrade.project import Project
    from crossgrade.store import Alarm

WORKLOAD = "support"
MOVED, WRONG = "sentiment", "routing"
"""The segment that the verdict moves, and the one whose tickets will come under its name."""

DRIFTED = 100
LOOK_EVERY = 20
_READY_S = 60.0
_LABELS = "labels.csv"


def serve_and_watch(
    project: "Project", verdict_id: str, folder: Path, say: Callable[[str], None]
) -> "Alarm | None":
    """Serve a verdict, plant a fall in quality, and let the watch step the route back; return its alarm."""
    tickets = _tickets(folder / "support.jsonl")
    table = project.apply(verdict_id)
    say(f"\n   served: route table {table.version} in force, `crossgrade serve` on this machine\n")
    with _gateway(folder) as (url, ask):
        say(f"   {ask.client} at {url}, model `{WORKLOAD}`:")
        for segment in (MOVED, WRONG):
            say(_shown(tickets[segment][0], ask(tickets[segment][0], segment)))
        say(
            f"\n   planted: a new release of the help desk sends {WRONG} tickets under the name {MOVED}."
            "\n   The shadow asks the other model too; we know the right answers and label each pair:"
        )
        alarm = _drift(tickets[WRONG], ask, folder, verdict_id)
        if alarm is None:
            say("   no alarm yet: the e-values above say how far it is; more pairs would settle it")
            return None
        say(f"   {_alarm_words(alarm)}\n")
        ticket = tickets[MOVED][1]
        _wait(lambda: ask(ticket, MOVED).target != _candidate(project, verdict_id), "the gateway's new table")
        say(_shown(ticket, ask(ticket, MOVED)))
    history = f"{as_typed()} route history --config {folder}/crossgrade.yaml"
    say(f"   the route is back at the incumbent: {history}")
    return alarm


def _candidate(project: "Project", verdict_id: str) -> str | None:
    return project.store.verdicts.get(verdict_id).verdict.policy.candidate


class _Answer:
    """What a client saw: the answer's text, and the target named in its headers."""

    def __init__(self, text: str, headers: Mapping[str, str]) -> None:
        self.text = text.strip()
        self.target = headers["x-crossgrade-target"]


class _Client:
    """Asks the gateway as its users would: through the openai package where that is installed."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/v1"
        self.client = "no openai package here: a plain HTTP client"
        if importlib.util.find_spec("openai") is not None:
            import openai

            self.client = f"openai-python {openai.__version__}"

    def __call__(self, ticket: Mapping[str, str], segment: str) -> _Answer:
        body: dict[str, Any] = {
            "model": WORKLOAD,
            "prompt": f"{ticket['examples']}{ticket['ticket']} =>",
            "max_tokens": 8,
            "temperature": 0,
            "stop": ["\n"],
        }
        headers = {"x-crossgrade-segment": segment}
        if self.client.startswith("openai"):
            import openai

            with openai.OpenAI(base_url=self._url, api_key="none", max_retries=0) as client:
                raw = client.completions.with_raw_response.create(**body, extra_headers=headers)
            return _Answer(raw.parse().choices[0].text, raw.headers)
        request = urllib.request.Request(  # noqa: S310 -- our own gateway
            f"{self._url}/completions",
            data=json.dumps(body).encode(),
            headers={"content-type": "application/json", **headers},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 -- our own gateway
            return _Answer(json.load(answer)["choices"][0]["text"], answer.headers)


@contextmanager
def _gateway(folder: Path) -> Iterator[tuple[str, _Client]]:
    """Run `crossgrade serve` on a free port, without keys; its log is `serve.log`."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "crossgrade", "serve", "--open-on-loopback", "--port", str(port)]
    log = folder / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)  # noqa: S603 -- ourselves
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(lambda: process.poll() is not None or _is_ready(url), "the gateway")
        if process.poll() is not None:
            raise CrossgradeError("the gateway did not start", code="demo-gateway", hint=f"read {log}")
        yield url, _Client(url)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health/readiness", timeout=5):  # noqa: S310 -- our own gateway
            return True
    except OSError:
        return False


def _drift(
    tickets: Sequence[Mapping[str, str]], ask: _Client, folder: Path, verdict_id: str
) -> "Alarm | None":
    """Send tickets, label their pairs, and look, until the watch raises its alarm; return it."""
    from crossgrade.project import Project
    from crossgrade.watch import look

    answers = {f"{ticket['examples']}{ticket['ticket']} =>": ticket["target"] for ticket in tickets}
    labels = folder / _LABELS
    for start in range(0, min(DRIFTED, len(tickets)), LOOK_EVERY):
        batch = tickets[start : start + LOOK_EVERY]
        for ticket in batch:
            ask(ticket, MOVED)
        with Project.open(folder / "crossgrade.yaml") as project:
            _wait(partial(_has_pairs, project, verdict_id, start + len(batch) + 2), "the shadow's pairs")
            look(project, label_file=labels)
            _label(labels, answers)
            found = look(project, label_file=labels)
        standing = next(iter(found.standings), None)
        if standing is not None and standing.retention is not None:
            note(
                f"     {standing.audits} pairs counted, {standing.held} held: "
                f"retention {standing.retention:.2f}, floor {standing.floor:.2f}; "
                f"e-values: claim {standing.e_claim:.3g} of {standing.e_claim_at:.0f}, "
                f"change {standing.e_change:.3g} of {standing.e_change_at:.0f}"
            )
        if found.alarms:
            return found.alarms[0]
    return None


def _alarm_words(alarm: "Alarm") -> str:
    seen: Mapping[str, Any] = alarm.detail
    return (
        f"ALARM {alarm.kind} on {alarm.route}, segment {alarm.segment}: e-value "
        f"{seen['e_value']:.3g} of {seen['threshold']:.0f} after {seen['audits']} pairs; stepped back"
    )


def _has_pairs(project: "Project", verdict_id: str, count: int) -> bool:
    return len(project.store.pairs.recent(WORKLOAD, verdict_id=verdict_id, limit=count)) >= count


def _label(path: Path, answers: Mapping[str, str]) -> None:
    """Fill a labelling file in as people would who know the right answers."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        return
    for row in rows:
        target = next((right for prompt, right in answers.items() if prompt in row["request"]), None)
        if target is not None:
            row["score_1"] = "1" if row["answer_1"].strip() == target else "0"
            row["score_2"] = "1" if row["answer_2"].strip() == target else "0"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _tickets(path: Path) -> dict[str, list[dict[str, str]]]:
    """Return the demo's tickets by segment."""
    found: dict[str, list[dict[str, str]]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        found.setdefault(row["segment"], []).append(row)
    return found


def _shown(ticket: Mapping[str, str], answer: _Answer) -> str:
    return f"     {ticket['ticket'][:60]!r} -> {answer.text!r}, answered by {answer.target}"


def _wait(condition: Callable[[], bool], what: str) -> None:
    """Wait for another process; raises CrossgradeError when it takes too long."""
    give_up = time.monotonic() + _READY_S
    while not condition():
        if time.monotonic() > give_up:
            raise CrossgradeError(
                f"{what} did not come within {_READY_S:g} s", code="demo-timeout", hint="read serve.log"
            )
        time.sleep(0.1)
