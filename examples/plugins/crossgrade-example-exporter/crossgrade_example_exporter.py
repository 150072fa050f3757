"""An exporter: routes as a `map` of nginx, from the model that a client names to the one that answers."""

from collections.abc import Sequence

from crossgrade.routing.export import Exported, Exporter, RoutePlan, unsaid


def write(plans: Sequence[RoutePlan]) -> Exported:
    """Return the configuration, and in notes what nginx does not carry."""
    lines = ["map $arg_model $answers {"]
    notes: list[str] = []
    for plan in plans:
        moves = plan.candidate is not None and plan.share == 1 and not plan.segments
        offer = plan.candidate if moves and plan.candidate is not None else plan.incumbent
        lines += [f'    "{name}" "{offer.model}";' for name in plan.names]
        notes += unsaid(plan, "nginx")
    return Exported(text="\n".join([*lines, "}", ""]), notes=tuple(notes))


NGINX_MAP = Exporter(name="nginx-map", write=write)
