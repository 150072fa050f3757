"""The plugins that a verdict rests on: the guards that decided it, and which are missing or have changed."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from crossgrade.domain import PluginUse
from crossgrade.project._plugin_objects import PluginKind
from crossgrade.project._plugins import Plugins

if TYPE_CHECKING:
    from crossgrade.decide import Guard, GuardKind, Verdict, View

_RECORDED: tuple[PluginKind, ...] = ("scorer", "guard")
"""The kinds of plugins that a verdict rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginProblem:
    """A plugin of a verdict that is missing or has changed; `found` is what has its name now."""

    use: PluginUse
    found: PluginUse | None = None

    @property
    def code(self) -> str:
        """The code of the problem: missing, or different."""
        return "verdict-plugin-missing" if self.found is None else "verdict-plugin-differs"

    @property
    def words(self) -> str:
        """What is missing or differs."""
        name = f"{self.use.kind} `{self.use.name}` of {self.use.package} {self.use.version}"
        if self.found is None:
            return f"{name} is not among the plugins of this project"
        seen = self.found.version
        if self.found.package != self.use.package:
            seen = f"that of {self.found.package} {seen}"
        elif seen == self.use.version:
            seen = f"{seen} with other files"
        return f"{name} is {seen} now"


def guards_of(verdict: "Verdict", plugins: Plugins) -> "Mapping[str, GuardKind]":
    """Return the guards that a verdict was decided with.

    A guard whose plugin is missing or differs returns what is recorded.
    """
    from crossgrade.decide import GUARDS, GuardKind

    amiss = {each.use.name for each in plugin_problems(verdict, plugins)}
    found = dict(GUARDS)
    for use in verdict.settings.plugins:
        if use.kind == "guard" and use.name not in amiss:
            found[use.name] = plugins.guards[use.name]
        elif use.kind == "guard":
            recorded = tuple(each for each in verdict.guards if each.name == use.name)
            found[use.name] = GuardKind(name=use.name, look=partial(_as_recorded, recorded))
    return found


def _as_recorded(guards: "tuple[Guard, ...]", _view: "View") -> "tuple[Guard, ...]":
    return guards


def plugin_problems(verdict: "Verdict", plugins: Plugins) -> tuple[PluginProblem, ...]:
    """Return which plugins of a verdict are missing or have changed."""
    here = {(use.kind, use.name): use for kind in _RECORDED for use in plugins.uses(kind)}
    problems = []
    for use in verdict.settings.plugins:
        found = here.get((use.kind, use.name))
        if found != use:
            problems.append(PluginProblem(use=use, found=found))
    return tuple(problems)
