"""`crossgrade export`: a verdict as a folder that others compute again, offline."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._errors import EXIT_DONE, EXIT_GATE_NOT_MET, describe_error, error_record
from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import note, print_fields, print_json, print_verdict, warn
from crossgrade.errors import UsageError

if TYPE_CHECKING:
    from crossgrade.project import ExportCheck, Project, VerdictExport

SCHEMA_VERSION = 1
_FOR_VERIFYING = {"key": "--key", "plugins": "--plugin"}


@click.command()
@click.argument("words", nargs=-1, metavar="VERDICT [WORKLOAD] FOLDER")
@click.option("--with-texts", is_flag=True, help="Put in what was asked, expected and answered, too.")
@click.option(
    "--verify",
    "verify_folder",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="Compute the verdict of this folder again, without a project, and compare.",
)
@click.option("--key", metavar="VKEY", help="With `--verify`: the public key that must have signed.")
@click.option(
    "--plugin",
    "plugins",
    multiple=True,
    metavar="PACKAGE",
    help="With `--verify`: import the guards of this installed package; repeat for more.",
)
@config_option
@json_option
def command(
    words: tuple[str, ...],
    *,
    with_texts: bool,
    verify_folder: Path | None,
    key: str | None,
    plugins: tuple[str, ...],
    config_path: str,
    as_json: bool,
) -> int:
    """Write a verdict as a folder that others verify offline.

    VERDICT is an id, the beginning of one, `latest`, or `latest WORKLOAD`. FOLDER is new: it gets the
    verdict, the evidence and settings that it rests on, the versions that computed it and a manifest, signed
    with the ledger's key if there is one. Texts are left out. `--verify` begins with `holds: yes`, with
    `unsigned` if the verdict recomputes and no signature of a `--key` vouches for it, and with `no` if it
    does not hold. It then exits with 1. With `--json`, `uncovered` has the codes of the notes about what was
    not computed again or has no signature. `crossgrade route export` writes a route for a proxy, and
    `crossgrade runs --export` a run's answers.
    """
    if verify_folder is not None:
        if words or with_texts:
            raise UsageError(
                "`--verify` reads a folder and writes none",
                code="options-conflict",
                hint="leave out VERDICT, FOLDER and `--with-texts`",
            )
        return _verify(verify_folder, key, plugins, as_json=as_json)
    given = [option for name, option in _FOR_VERIFYING.items() if {"key": key, "plugins": plugins}[name]]
    if given:
        raise UsageError(
            f"{given[0]} is for `--verify FOLDER`", code="options-conflict", hint=f"leave out {given[0]}"
        )
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        verdict_id, folder = _named(project, words)
        written = project.export_verdict(verdict_id, folder, with_texts=with_texts)
    _tell_written(written, as_json=as_json)
    return EXIT_DONE


def _named(project: "Project", words: tuple[str, ...]) -> tuple[str, Path]:
    """Return the id of the verdict and the folder that the arguments name."""
    if len(words) == 3 and words[0] == "latest":
        (stored,) = project.newest_verdicts([words[1]])
        return stored.id, Path(words[2])
    if len(words) == 2:
        return words[0], Path(words[1])
    raise UsageError(
        "a verdict and a folder are needed",
        code="verdict-not-named",
        hint="for example `crossgrade export latest WORKLOAD FOLDER`",
    )


def _tell_written(written: "VerdictExport", *, as_json: bool) -> None:
    shown = {
        "verdict": written.verdict_id,
        "folder": str(written.folder),
        "files": list(written.files),
        "with_texts": written.with_texts,
        "signed_by": written.signed_by,
        "unchecked": list(written.unchecked),
    }
    if as_json:
        print_json(shown, schema_version=SCHEMA_VERSION)
    else:
        print_fields(shown)
    if written.with_texts:
        warn(
            "the folder has what was asked, expected and answered: treat it as you treat the traffic",
            code="export-has-texts",
        )
    if written.signed_by is None:
        note(
            "the folder is not signed: `crossgrade audit init NAME` makes a key, then export again",
            code="export-not-signed",
        )
    else:
        note(
            f"recipients need the public key to verify it: `crossgrade export --verify {written.folder.name} "
            f"--key '{written.signed_by}'`",
            code="export-signed",
        )
    _note_unchecked(written.unchecked)


def _note_unchecked(workloads: tuple[str, ...]) -> None:
    if workloads:
        note(
            f"taken as recorded, for want of a verdict on the same scores: {', '.join(workloads)}",
            code="taken-as-recorded",
        )


def _verify(folder: Path, key: str | None, plugins: tuple[str, ...], *, as_json: bool) -> int:
    from crossgrade.project import verify_export

    check = verify_export(folder, key=key, plugins=plugins)
    _note_versions(check)
    if as_json:
        print_json(_record(check), schema_version=SCHEMA_VERSION)
    else:
        print_fields({"holds": _holds(check)})
    for finding in check.findings:
        click.echo(describe_error(finding)[1], err=True, nl=False)
    if not check.holds:
        return EXIT_GATE_NOT_MET
    if not as_json and check.verification is not None:
        print_verdict(check.verification.today)
    _note_held(check)
    return EXIT_DONE


def _holds(check: "ExportCheck") -> str:
    if not check.holds:
        return "no"
    return "yes" if check.signed_by else "unsigned"


def _note_versions(check: "ExportCheck") -> None:
    for each in check.versions:
        here = "not installed" if each.here is None else each.here
        note(f"{each.name} was {each.written} and is {here} here", code="export-version-differs")


def _note_held(check: "ExportCheck") -> None:
    """Say how far the verdict was confirmed, and who vouches for it."""
    found = check.verification
    assert found is not None
    uncovered = _uncovered(check)
    name = f"verdict {found.verdict_id}"
    if "verified-as-older" in uncovered:
        note(
            f"{name} was decided by method {found.verdict.method_version} and cannot be computed again. On "
            f"the same scores today's method {found.today.method_version} gives the same policy",
            code="verified-as-older",
        )
    elif found.rounded:
        note(
            f"{name} recomputed from its folder: {found.rounded:,} numbers differ in their last bits, as "
            "other versions or machines round them, and nothing else",
            code="export-rounded",
        )
    else:
        note(
            f"{name} recomputed from its folder: the figures follow from the evidence, to the bit",
            code="export-verified",
        )
    if "export-reworded" in uncovered:
        note(f"its sentences were written by {found.writer} and not compared", code="export-reworded")
    for plugin in found.plugins:  # of a scorer, whose scores are recorded
        note(f"{name}: {plugin.words} [{plugin.code}]")
    _note_unchecked(found.unchecked)
    if check.signed_by:
        note(f"signed by {', '.join(check.signed_by)}", code="export-signature-right")
    if "export-signature-unchecked" in uncovered:
        note(
            f"the folder says that {', '.join(check.unchecked_signers)} signed it, which was not checked: "
            "add `--key` with the public key that you got from its owner. Until then the evidence, texts and "
            "README may be anybody's",
            code="export-signature-unchecked",
        )
    if "export-not-vouched" in uncovered:
        note(
            "not signed: no key vouches for the evidence. Texts and README do not enter the figures, and are "
            "not covered without a signature",
            code="export-not-vouched",
        )


def _uncovered(check: "ExportCheck") -> list[str]:
    """Return the codes of the notes about what no computation or key covers in a verdict that holds."""
    found = check.verification
    if found is None or not check.holds:
        return []
    conditions = {
        "verified-as-older": found.is_older,
        "export-reworded": found.writer is not None and not found.is_older,
        **{each.code: True for each in found.plugins},
        "taken-as-recorded": bool(found.unchecked),
        "export-signature-unchecked": not check.signed_by and bool(check.unchecked_signers),
        "export-not-vouched": not check.signed_by and not check.unchecked_signers,
    }
    return [code for code, applies in conditions.items() if applies]


def _record(check: "ExportCheck") -> dict[str, Any]:
    """Return the result as programs read it; the verdict is the one that was computed here."""
    from crossgrade.decide import verdict_to_json

    found = check.verification
    return {
        "holds": check.holds,
        "verdict_id": check.manifest.verdict.id,
        "findings": [error_record(each) for each in check.findings],
        "versions": check.versions,
        "signed_by": check.signed_by,
        "unchecked_signers": check.unchecked_signers,
        "rounded": None if found is None else found.rounded,
        "unchecked": () if found is None else found.unchecked,
        "uncovered": _uncovered(check),
        "verdict": verdict_to_json(found.today) if found is not None and check.holds else None,
    }
