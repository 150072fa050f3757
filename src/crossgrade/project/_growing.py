"""Whether a route that is to grow ever can: what is tested once, and audits that nothing would score, bar it.

`config validate` asks this, a run before it spends, and `route apply`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from crossgrade.config import Config
from crossgrade.domain import GrowthBar, Reason, RouteSpec, Workload, growth_bars
from crossgrade.errors import ConfigError

if TYPE_CHECKING:
    from crossgrade.evaluate import ScorerKind

_KEYS: Mapping[GrowthBar, str] = {"cluster": "cluster_field", "whole_floor": "whole_floor"}


def growing_routes(config: Config, workload: str) -> tuple[RouteSpec, ...]:
    """Return the routes of a workload that are to grow."""
    return tuple(route for route in config.routes.values() if route.grow and route.workload == workload)


def refuse_growth(config: Config, routes: Iterable[RouteSpec], scorers: "Mapping[str, ScorerKind]") -> None:
    """Raise `ConfigError` for the first of these routes that is to grow and never could."""
    for route in routes:
        for found in growth_findings(config, route, scorers):
            if isinstance(found, ConfigError):
                raise found


def growth_findings(
    config: Config, route: RouteSpec, scorers: "Mapping[str, ScorerKind]"
) -> Iterator[ConfigError | Reason]:
    """Yield why a route that is to grow cannot, or that it grows by people's scores only.

    Nothing is said of a scorer that is not known: it is an error of the workload.
    """
    workload = config.workloads.get(route.workload or "")
    kind = None if workload is None else scorers.get(workload.scorer.kind)
    if not route.grow or workload is None or kind is None:
        return
    yield from _tested_once(config, route, workload, asks_model=kind.asks_model)
    if not kind.asks_model:
        yield from _unscored(config, route, workload, scorers)


def _tested_once(
    config: Config, route: RouteSpec, workload: Workload, *, asks_model: bool
) -> Iterator[ConfigError]:
    scorer = workload.scorer.kind if asks_model else None
    for bar in growth_bars(judge=scorer, cluster=workload.cluster, whole_floor=workload.whole_floor):
        key = _KEYS.get(bar)
        beside = f"`{key}`" if key else f"the scorer `{scorer}`, which asks a model,"
        other = f"remove `{key}`" if key else "choose a scorer that asks no model"
        yield config.error(
            f"routes.{route.name}.grow",
            f"`grow` beside {beside} of workload {workload.name}: that is tested once, at the end, so no "
            "audit can go on from it",
            f"remove `grow`, or {other}",
            code="growth-tested-once",
        )


def _unscored(
    config: Config, route: RouteSpec, workload: Workload, scorers: "Mapping[str, ScorerKind]"
) -> Iterator[ConfigError | Reason]:
    from crossgrade.evaluate import lacks_live

    lacks, watching = lacks_live(workload.scorer, scorers), config.watching
    if lacks is None:
        return
    if watching.label_share == 0:
        yield config.error(
            f"routes.{route.name}.grow",
            f"`grow`, and no audit could be scored: {lacks.text}, and `watch.label_share` is 0",
            "choose another scorer, let people score (`watch.label_share`), or remove `grow`",
            code="growth-unscored",
        )
    else:
        yield Reason(
            "growth-by-people",
            f"route {route.name} grows by people's scores only: {lacks.text}. People get "
            f"{100 * watching.label_share:.3g} % of the audits, in `crossgrade watch --label-file FILE`. An "
            f"audit that has no score after {watching.keep_text_days} days counts as the worst case",
        )
