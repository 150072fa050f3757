"""`crossgrade access`: test access rules, suspend and restore callers."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import note, print_json, print_table, warn

if TYPE_CHECKING:
    from crossgrade.project import CaseResult, Project

EXIT_DIFFERS = 1


@click.group()
def command() -> None:
    """Test access rules; suspend and restore callers."""


@command.command()
@click.argument("cases", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@config_option
@json_option
def test(cases: Path, config_path: str, *, as_json: bool) -> int:
    """Compare the access rules with the CASES of a YAML file.

    Exits with 1 if a case is decided otherwise. Asks no model and no gateway. The reference of formats lists
    the fields of a case.
    """
    from crossgrade.identity import needless_rules, ungiven_tiers

    with _project(config_path) as project:
        results = project.access.test(cases)
        rules = project.config.access
        needless = list(needless_rules(rules, project.config.routes.values()))
        misspelt = [each for each in ungiven_tiers(rules, project.config.serving.issuers) if each[2]]
    deciding = {each.rule for each in results}
    untested = [rule.name for rule in rules if rule.name not in deciding]
    differing = sum(not each.is_expected for each in results)
    if as_json:
        data = {
            "cases": results,
            "differing": differing,
            "untested_rules": untested,
            "needless_rules": [{"rule": rule.name, "because_of": other.name} for rule, other in needless],
            "ungiven_tiers": [
                {"rule": rule.name, "tier": tier, "meant": meant} for rule, tier, meant in misspelt
            ],
        }
        print_json(data, schema_version=1)
        return EXIT_DIFFERS if differing else 0
    print_table(["case", "expected", "found", "rule", "code", "result"], [_row(each) for each in results])
    for each in results:
        if not each.is_expected:
            warn(f"{each.name}: {each.message or 'the rules allow it'}", code="access-case-differs")
    for rule, other in needless:
        warn(
            f"rule {rule.name} never matches: rule {other.name} before it matches the same requests",
            code="access-rule-needless",
        )
    for rule, tier, meant in misspelt:
        warn(
            f"rule {rule.name}: no issuer of the rule gives tier {tier}; did you mean {meant}?",
            code="access-tier-not-given",
        )
    if untested:
        note(f"no case is decided by: {', '.join(untested)}", code="access-rules-untested")
    return EXIT_DIFFERS if differing else 0


_principal = click.argument("principal", required=False)
_issuer = click.option("--issuer", metavar="URL", help="Issuer of the user's tokens, with `--subject`.")
_subject = click.option("--subject", metavar="SUB", help="The user's `sub` at that issuer.")
_because = click.option("--because", metavar="REASON", required=True, help="Why, for those who ask later.")


@command.command()
@_principal
@_issuer
@_subject
@_because
@config_option
@json_option
def suspend(
    principal: str | None,
    issuer: str | None,
    subject: str | None,
    because: str,
    config_path: str,
    *,
    as_json: bool,
) -> None:
    """Refuse all requests of a PRINCIPAL until it is restored.

    The gateway does so within a second, and within two on other machines. PRINCIPAL is a key's id or name, or
    the id of a user as records have it (`user-…`). The user can also be named with `--issuer` and
    `--subject`. Requests that are running are answered.
    """
    with _project(config_path) as project:
        found = _named(project, principal, issuer, subject)
        changed = project.store.keys.suspend(found, because=because)
    _say(found, "suspended", changed=changed, as_json=as_json)


@command.command()
@_principal
@_issuer
@_subject
@_because
@config_option
@json_option
def restore(
    principal: str | None,
    issuer: str | None,
    subject: str | None,
    because: str,
    config_path: str,
    *,
    as_json: bool,
) -> None:
    """End the suspension of a PRINCIPAL, named as for `suspend`."""
    with _project(config_path) as project:
        found = _named(project, principal, issuer, subject)
        changed = project.store.keys.restore(found, because=because)
    _say(found, "restored", changed=changed, as_json=as_json)


@command.command(name="list")
@click.option("--all", "shows_all", is_flag=True, help="Past suspensions too: every change, oldest first.")
@config_option
@json_option
def list_(config_path: str, *, shows_all: bool, as_json: bool) -> None:
    """List the suspended callers, and why."""
    with _project(config_path) as project:
        events = project.store.keys.suspensions()
        project.store.keys.publish()  # what another machine changed, or somebody deleted
    newest = {each.principal: each for each in events}
    shown = events if shows_all else [each for each in newest.values() if each.kind == "suspended"]
    rows = [
        {
            "principal": each.principal,
            "status": each.kind,
            "at": each.at.isoformat(timespec="seconds"),
            "because": each.because,
        }
        for each in shown
    ]
    if as_json:
        print_json({"suspensions": rows}, schema_version=1)
    elif rows:
        print_table(list(rows[0]), [list(row.values()) for row in rows])
    else:
        note("no caller is suspended", code="none-suspended")


def _project(config_path: str) -> "Project":
    from crossgrade.project import Project

    return Project.open(config_path)


def _named(project: "Project", principal: str | None, issuer: str | None, subject: str | None) -> str:
    """Return the id of the caller that a command names."""
    from crossgrade.errors import UsageError
    from crossgrade.identity import is_subject

    is_user = issuer is not None and subject is not None and principal is None
    if not is_user and (principal is None or issuer is not None or subject is not None):
        raise UsageError(
            "a caller is named by its id, or by `--issuer` and `--subject` together",
            code="principal-unnamed",
            hint="for example `crossgrade access suspend user-0123456789abcdef --because REASON`",
        )
    if principal is None:
        return project.access.user(issuer or "", subject or "")
    return principal if is_subject(principal) else project.store.keys.get(principal).id


def _say(principal: str, kind: str, *, changed: bool, as_json: bool) -> None:
    if as_json:
        print_json({"principal": principal, "status": kind, "changed": changed}, schema_version=1)
        return
    click.echo(f"{kind} {principal}")
    if not changed:
        note(f"nothing changed: it was {kind} already", code="suspension-unchanged")


def _row(result: "CaseResult") -> list[object]:
    outcome = "as expected" if result.is_expected else "DIFFERS"
    return [result.name, result.expected, result.outcome, result.rule, result.code, outcome]
