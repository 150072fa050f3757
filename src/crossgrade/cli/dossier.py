"""`crossgrade dossier`: what is known of a workload's models, for those who audit them."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import note, one_line, print_json, print_table, warn
from crossgrade.cli._params import complete_workload
from crossgrade.cli._spending import check_report_extra

if TYPE_CHECKING:
    from crossgrade.evidence import Approval
    from crossgrade.project import DossierCheck, Project
    from crossgrade.store import StoredDossier

EXIT_EXPIRED = 1
_LONGEST = 500


@click.command()
@click.argument("workload", shell_complete=complete_workload)
@click.option(
    "--out",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    metavar="FOLDER",
    help="Folder for the page and the CycloneDX document.  [default: dossier-WORKLOAD]",
)
@click.option(
    "--check", "only_check", is_flag=True, help="Say whether the newest dossier still holds; make none."
)
@click.option("--approve", metavar="NAME", help="Record in it that this person approves it.")
@click.option("--role", metavar="ROLE", help="In what role they approve.")
@click.option("--condition", default="", metavar="TEXT", help="On what condition.")
@config_option
@json_option
def command(
    workload: str,
    config_path: str,
    *,
    folder: Path | None,
    approve: str | None,
    role: str | None,
    condition: str,
    only_check: bool,
    as_json: bool,
) -> int:
    """Make the dossier of a WORKLOAD for those who audit its models.

    It says what is measured, stated and missing. It is recorded, entered into the ledger, and opens gated
    routes whose rules ask for a dossier until it expires. With `--check` the exit code is 1 if the newest one
    has expired or a file changed.
    """
    from crossgrade.errors import UsageError
    from crossgrade.project import Project

    approval = _approval(approve, role, condition)
    if only_check and (approval is not None or folder is not None):
        raise UsageError(
            "`--check` makes no dossier, so nothing is approved or written",
            code="options-conflict",
            hint="leave out `--check`, or the other options",
        )
    with Project.open(config_path) as project:
        if only_check:
            return _show_check(project.dossiers.check(workload), as_json=as_json)
        check_report_extra()
        stored = project.dossiers.make(workload, approval=approval)
        written = project.dossiers.write(stored, folder or Path(f"dossier-{workload}"))
        _show(project, stored, written, as_json=as_json)
    return 0


def _approval(name: str | None, role: str | None, condition: str) -> "Approval | None":
    from crossgrade.errors import UsageError

    if name is None and role is None and not condition:
        return None
    if not name or not role:
        raise UsageError(
            "an approval needs `--approve NAME` and `--role ROLE` together",
            code="approval-incomplete",
            hint="for example `--approve 'A. Person' --role 'model risk'`",
        )
    if not all(each.isprintable() and len(each) <= _LONGEST for each in (name, role, condition)):
        raise UsageError(
            f"the approval has characters that cannot be printed, or more than {_LONGEST}",
            code="approval-invalid",
            hint="give name, role and condition on one line each",
        )
    from crossgrade.evidence import Approval

    return Approval(name=name, role=role, condition=condition)


def _show(project: "Project", stored: "StoredDossier", written: tuple[Path, ...], *, as_json: bool) -> None:
    dossier = stored.dossier
    for finding in dossier.findings:
        warn(f"field {finding.field}: {finding.text}", code="dossier-finding")
    if dossier.lacks:
        names = ", ".join(f"{number} {dossier.field(number).name}" for number in dossier.lacks)
        warn(f"it opens no gated route, since required fields are missing: {names}", code="dossier-lacks")
    if as_json:
        files = [str(path) for path in written]
        print_json(
            {"id": stored.id, "digest": stored.digest, "dossier": dossier, "files": files}, schema_version=1
        )
        return
    rows = [
        [
            each.number,
            each.name,
            each.status,
            each.author,
            None if each.at is None else each.at.date().isoformat(),
            None if each.status == "missing" else (each.expires or dossier.valid_until).date().isoformat(),
            "; ".join(each.gaps) or None,
        ]
        for each in dossier.fields
    ]
    print_table(["no.", "field", "status", "by", "on", "expires", "gaps"], rows, right=["no."])
    note(f"dossier {stored.id} holds until {dossier.valid_until:%Y-%m-%d %H:%M} UTC, or until a change")
    for path in written:
        note(f"written to {path}")
    if project.store.ledger.secrets.signer() is None:
        note(
            "it is not signed, because the ledger has no keys: make them with `crossgrade audit init NAME`",
            code="dossier-unsigned",
        )


def _show_check(check: "DossierCheck", *, as_json: bool) -> int:
    if as_json:
        data = {
            "id": check.stored.id,
            "workload": check.stored.dossier.workload,
            "valid_until": check.stored.dossier.valid_until,
            "holds": check.holds,
            "reasons": check.reasons,
            "findings": check.findings,
            "other_verdict": check.other_verdict_id,
        }
        print_json(data, schema_version=1)
    else:
        until = f"{check.stored.dossier.valid_until:%Y-%m-%d %H:%M} UTC"
        click.echo(f"dossier {check.stored.id}: {f'holds until {until}' if check.holds else 'does not hold'}")
        for reason in check.reasons:
            click.echo(f"  {one_line(reason)}")
        for finding in check.findings:
            click.echo(f"  field {finding.field}: {one_line(finding.text)}")
        if check.other_verdict_id is not None:
            note(f"made now, it would state verdict {check.other_verdict_id}", code="dossier-verdict")
        if not check.holds:
            workload = check.stored.dossier.workload
            note(f"make it again with `crossgrade dossier {workload}`", code="dossier-ended")
    return 0 if check.holds else EXIT_EXPIRED
