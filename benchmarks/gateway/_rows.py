"""From the measured quantities to the rows of docs/benchmarks/gateway.md; nothing here measures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks._table import Row
from benchmarks.gateway._measure import BODY_RUNS, DIRECT, Measured, Quantities

OURS = "ours"
NGINX = "nginx"
THROUGHPUT = {"LiteLLM": (150, 250), "Portkey": (30, 50), "TensorZero": (3, 5)}
"""Peer to how many times its requests a second a core ours must and should have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One row: its name, its value a round, the bounds, and how the same quantity is shown for each server.

    `needs` are the servers without which there is no value, `beside` those that are shown (empty: all).
    """

    name: str
    unit: str
    must: float
    aim: float
    values: Callable[[], list[float]]
    shown: Callable[[Quantities], str]
    conditions: str
    needs: tuple[str, ...] = (OURS,)
    beside: tuple[str, ...] = ()
    above: bool = False


def rows(measured: Measured) -> list[Row]:
    """The rows of the issue's table, in its order; what a missing server leaves open says why."""
    return [_row(figure, measured) for figure in _figures(measured)]


def ratios(over: Sequence[float], under: Sequence[float]) -> list[float]:
    """Quotients of the same rounds, so that the machine's load of the moment is on both sides."""
    return [a / b for a, b in zip(over, under, strict=True) if b]


def added(measured: Mapping[str, Quantities], name: str, quantity: str) -> list[float]:
    """What a server adds to the upstream's own, round by round."""
    pairs = zip(measured[name][quantity], measured[DIRECT][quantity], strict=True)
    return [with_server - alone for with_server, alone in pairs]


def _figures(measured: Measured) -> list[Figure]:
    def by_nginx(quantity: str) -> Callable[[], list[float]]:
        return lambda: ratios(measured[OURS][quantity], measured[NGINX][quantity])

    def added_by_nginx(quantity: str) -> Callable[[], list[float]]:
        return lambda: ratios(added(measured, OURS, quantity), added(measured, NGINX, quantity))

    def added_shown(quantity: str) -> Callable[[Quantities], str]:
        alone = median(measured[DIRECT][quantity]) if DIRECT in measured else 0.0
        return lambda q: f"{median(q[quantity]) - alone:.0f} µs"

    both = (OURS, NGINX)
    saturated = "JSON answers of 1 kB, 64 connections that never pause, upstream without delay"
    return [
        Figure(
            name="CPU per JSON request",
            unit="× nginx", must=3, aim=2, needs=both,
            values=by_nginx("json_cpu_us"), shown=_micro("json_cpu_us"), conditions=saturated,
        ),
        Figure(
            name="CPU per stream event, events 10 ms apart",
            unit="× nginx", must=1.5, aim=1.1, needs=both,
            values=by_nginx("paced_cpu_us"), shown=_micro("paced_cpu_us"),
            conditions="25 streams a second of 51 events, the first after 50 ms",
        ),
        Figure(
            name="CPU per stream event, events without a pause",
            unit="× nginx", must=1.5, aim=1.1, needs=both,
            values=by_nginx("burst_cpu_us"), shown=_micro("burst_cpu_us"),
            conditions="streams of 51 events, 32 connections that never pause",
        ),
        *(_throughput(measured, peer, saturated) for peer in THROUGHPUT),
        Figure(
            name="added median at 50 requests a second",
            unit="× nginx", must=3, aim=1.8, needs=(*both, DIRECT),
            values=added_by_nginx("calm_p50_us"), shown=added_shown("calm_p50_us"),
            conditions="over no gateway, open loop, counted from the moment each request was due",
        ),
        Figure(
            name="added median at 50 requests a second, upstream 50 ms",
            unit="× nginx", must=3, aim=1.8, needs=(*both, DIRECT),
            values=added_by_nginx("delayed_p50_us"), shown=added_shown("delayed_p50_us"),
            conditions="the same with an upstream that answers after 50 ms",
        ),
        Figure(
            name="resident memory a worker",
            unit="MiB", must=60, aim=40,
            values=lambda: measured[OURS]["worker_rss_mib"], shown=_memory,
            conditions="after the rounds; for each server its largest process that accepts connections, and all of "
            "its processes",
        ),
        *(_body_memory(measured, where) for where in ("first", "last")),
        *(_body_cpu(by_nginx, where) for where in ("first", "last")),
        Figure(
            name="CPU from start to first answer",
            unit="s", must=1, aim=0.5,
            values=lambda: measured[OURS]["start_cpu_s"],
            shown=lambda q: f"{median(q['start_cpu_s']):.2f} s",
            conditions="all processes, until the first 200 through to the upstream",
        ),
    ]  # fmt: skip


def _throughput(measured: Measured, peer: str, conditions: str) -> Figure:
    must, aim = THROUGHPUT[peer]
    return Figure(
        name=f"requests a second a core, ours divided by {peer}'s",
        unit="×", must=must, aim=aim, above=True, needs=(OURS, peer), beside=(OURS, peer),
        values=lambda: ratios(measured[peer]["json_cpu_us"], measured[OURS]["json_cpu_us"]),
        shown=lambda q: f"{1e6 / median(q['json_cpu_us']):,.0f}/s a core by CPU time, {median(q['json_per_s']):,.0f}/s seen",
        conditions=f"{conditions}; one second divided by the CPU time of a request",
    )  # fmt: skip


def _body_memory(measured: Measured, where: str) -> Figure:
    return Figure(
        name=f"40 MB body, `model` {where}: memory added",
        unit="MiB", must=5, aim=1,
        values=lambda: [max(measured[OURS][f"{where}_added_mib"])],
        shown=lambda q: f"{max(q[f'{where}_added_mib']):.1f} MiB",
        conditions=f"most of {BODY_RUNS}: peak of all processes, and of the machine's shared memory, over before; a "
        "body on disk is not counted",
    )  # fmt: skip


def _body_cpu(by_nginx: Callable[[str], Callable[[], list[float]]], where: str) -> Figure:
    return Figure(
        name=f"40 MB body, `model` {where}: CPU",
        unit="× nginx", must=1, aim=0.3, needs=(OURS, NGINX),
        values=by_nginx(f"{where}_cpu_ms"),
        shown=lambda q: f"{median(q[f'{where}_cpu_ms']):.0f} ms, {median(q[f'{where}_wall_ms']):.0f} ms long",
        conditions="one request at a time; nginx buffers bodies to disk unless told otherwise",
    )  # fmt: skip


def _micro(quantity: str) -> Callable[[Quantities], str]:
    return lambda q: f"{median(q[quantity]):.1f} µs"


def _memory(q: Quantities) -> str:
    return (
        f"{q['worker_rss_mib'][-1]:.0f} MiB, {q['processes'][-1]:.0f} processes {q['all_rss_mib'][-1]:.0f} MiB "
        f"(shared pages once: {q['all_pss_mib'][-1]:.0f})"
    )


def _row(figure: Figure, measured: Measured) -> Row:
    sign = "≥" if figure.above else "≤"
    row: Row = {
        "figure": figure.name,
        "value": None,
        "unit": figure.unit,
        "must": f"{sign} {figure.must:g}",
        "aim": f"{sign} {figure.aim:g}",
        "holds": False,
        "peers": _peers(figure, measured),
    }
    absent = [name for name in figure.needs if name not in measured]
    if absent:
        causes = "; ".join(measured.missing.get(name, f"{name} was left out") for name in absent)
        return {**row, "unit": "", "conditions": f"not measured: {causes}"}
    values = figure.values()
    value = median(values)
    bad, unrecorded = (
        sum(sum(measured[name].get(what, [])) for name in figure.needs) for what in ("bad", "unrecorded")
    )
    reached = value >= figure.must if figure.above else value <= figure.must
    conditions = [figure.conditions]
    if bad:
        conditions.append(f"{bad:.0f} bad answers among these servers, in all phases")
    if unrecorded:
        conditions.append(f"{unrecorded:.0f} answers without a record of their cost")
    return {
        **row,
        "value": round(value, 3),
        "holds": reached and not bad and not unrecorded,
        "conditions": "; ".join(conditions),
        "spread": spread(values),
    }


def spread(values: Sequence[float]) -> str:
    """How many values there were and how far apart."""
    if len(values) == 1:
        return ""
    return f"median of {len(values)}, {min(values):.3g}–{max(values):.3g}"


def _peers(figure: Figure, measured: Measured) -> dict[str, float | str]:
    """Each server's own quantity, with its version and its bad answers; those not measured say why."""
    found: dict[str, float | str] = {}
    shown = figure.beside or tuple(name for name in measured if name != DIRECT)
    for name in shown:
        quantities = measured.get(name, {})
        try:
            text = figure.shown(quantities)
        except KeyError:
            continue  # a quantity that does not exist for this server
        bad = sum(quantities.get("bad", []))
        if bad:
            text += f" ({bad:.0f} bad answers)"
        found[" ".join(part for part in (name, measured.versions.get(name, "")) if part)] = text
    causes = {
        name: f"not measured: {cause}"
        for name, cause in measured.missing.items()
        if name != OURS and (not figure.beside or name in figure.beside)
    }
    return found | causes
