"""`crossgrade audit`: the ledger of a project, verified, proved, exported and erased from."""

import getpass
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._output import note, one_line, print_fields, print_json, print_table, warn
from crossgrade.errors import StoreError, UsageError, unreadable

if TYPE_CHECKING:
    from crossgrade.ledger import LogEntry, LogVerification, NoteVerifier
    from crossgrade.project import Project
    from crossgrade.serve import Cosigning

SCHEMA_VERSION = 1
EXIT_FOUND = 1
_SHOWN_FINDINGS = 20
_FILE = click.Path(dir_okay=False, path_type=Path)
_FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group()
def command() -> None:
    """Verify, prove and export the ledger of decisions and requests.

    Every decision is an entry, and so is every request of a route that asks for it. Nobody can change an
    entry unseen, the operator included, as long as a witness cosigns the ledger.
    """


@command.command()
@click.argument("name")
@config_option
@json_option
def init(name: str, *, config_path: str, as_json: bool) -> None:
    """Make the key that signs the ledger, and print its public key.

    NAME is like a URL without its scheme, such as `example.com/ledger`. It need not be an address. The key
    for texts beside the ledger is made too. Both are files in the project's state folder that only you may
    read; keep copies of them.
    """
    with _project(config_path) as project:
        vkey = project.ledger.make_key(name)
        paths = project.ledger.key_paths
    if as_json:
        print_json({"key": vkey, "files": list(map(str, paths))}, schema_version=SCHEMA_VERSION)
    else:
        click.echo(vkey)
    note(
        "give this public key to witnesses and to those who verify; keep copies of "
        + " and ".join(map(str, paths)),
        code="ledger-key-made",
    )


@command.command()
@click.option("--because", required=True, metavar="TEXT", help="Why, for the entry of the handover.")
@click.option("--by", metavar="NAME", help="Who rotates it.  [default: your user name]")
@config_option
@json_option
def rotate(because: str, *, by: str | None, config_path: str, as_json: bool) -> None:
    """Replace the key that signs the ledger, and print the new public key.

    The old key signs the entry that names the new one, and nothing after it. Who knows one of the two public
    keys can check the whole ledger.
    """
    with _project(config_path) as project:
        made = project.ledger.rotate(because=because, by=by or getpass.getuser())
        path, _ = project.ledger.key_paths
    if as_json:
        shown = {"key": made.after.text, "before": made.before.text, "seq": made.size - 1}
        print_json(shown, schema_version=SCHEMA_VERSION)
    else:
        click.echo(made.after.text)
    note(
        "give this public key to witnesses (`crossgrade witness add`) and to who verifies; keep a copy of "
        f"{path}, and copy it to every other machine that appends",
        code="ledger-key-handed-over",
    )


@command.command()
@click.argument("folder", type=_FOLDER, required=False)
@click.option("--proof", type=_FILE, help="Check this proof of one entry instead.")
@click.option("--key", metavar="VKEY", help="Public key of the ledger.  [default: the project's own]")
@click.option(
    "--witness",
    "witnesses",
    metavar="VKEY",
    multiple=True,
    help="Public key of a witness that must have cosigned; repeat.",
)
@click.option(
    "--against",
    "kept",
    metavar="NOTE",
    type=_FILE,
    multiple=True,
    help="A checkpoint of this ledger that was kept elsewhere; repeat.",
)
@config_option
@json_option
def verify(
    folder: Path | None,
    *,
    proof: Path | None,
    key: str | None,
    witnesses: tuple[str, ...],
    kept: tuple[Path, ...],
    config_path: str,
    as_json: bool,
) -> int:
    """Check the whole ledger, and name the first bad entry.

    Checks every entry, text, hash and signature. Without FOLDER, checks the project's ledger, and that its
    verdicts and routes are those in it. With a FOLDER of `crossgrade audit export`, needs no project, no
    server and no network. Exits 1 if something is wrong, or if no key was there to check signatures with.
    """
    from crossgrade.ledger import NoteVerifier

    log = None if key is None else NoteVerifier.of_log(key)
    known = [NoteVerifier.of_witness(each) for each in witnesses]
    if proof is not None:
        return _verify_proof(proof, log, known, as_json=as_json)
    from crossgrade.project import read_note_file, verify_ledger_folder

    notes = [read_note_file(path) for path in kept]
    if folder is not None:
        found = verify_ledger_folder(folder, log=log, witnesses=known, kept=notes)
    else:
        with _project(config_path) as project:
            log = log or project.ledger.verifier
            found = project.ledger.verify(log=log, witnesses=known, kept=notes)
    _show(found, log, as_json=as_json)
    return 0 if _holds(found, log) is True else EXIT_FOUND


@command.command()
@click.argument("seq", type=click.IntRange(0))
@click.option("--output", type=_FILE, help="Write the proof to this file.  [default: stdout]")
@config_option
@json_option
def prove(seq: int, *, output: Path | None, config_path: str, as_json: bool) -> None:
    """Write the proof that entry SEQ is in the ledger, as C2SP tlog-proof.

    Everybody can check it with the public keys alone: `crossgrade audit verify --proof FILE --key VKEY`.
    """
    with _project(config_path) as project:
        text = project.ledger.prove(seq).text
    if output is not None:
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise StoreError(
                f"{output} cannot be written ({error.strerror})", code="file-unwritable"
            ) from error
    if as_json:
        print_json({"seq": seq, "proof": text}, schema_version=SCHEMA_VERSION)
    elif output is None:
        click.echo(text, nl=False)


@command.command()
@click.argument("folder", type=_FOLDER)
@config_option
@json_option
def export(folder: Path, *, config_path: str, as_json: bool) -> None:
    """Write the ledger into a new FOLDER of files.

    A verifier on another machine reads them: `crossgrade audit verify FOLDER`. The files are those of C2SP
    tlog-tiles, and the encrypted texts beside them. No key is among them.
    """
    with _project(config_path) as project:
        size = project.ledger.export(folder)
    if as_json:
        print_json({"folder": str(folder), "entries": size}, schema_version=SCHEMA_VERSION)
    else:
        click.echo(f"{size:,} entries in {folder}")


@command.command()
@click.option(
    "--witness",
    "given",
    type=(str, str),
    metavar="URL VKEY",
    multiple=True,
    help="A witness's address and public key; repeat.  [default: those of the configuration]",
)
@config_option
@json_option
def cosign(given: tuple[tuple[str, str], ...], *, config_path: str, as_json: bool) -> int:
    """Ask witnesses to cosign the newest checkpoint.

    `crossgrade serve` does so all the time. Exits 1 if a witness saw another history than this, and 3 if one
    did not answer or refused.
    """
    import asyncio

    from crossgrade.serve import cosign as ask

    with _project(config_path) as project:
        witnesses = given or project.ledger.witnesses
        if not witnesses:
            raise UsageError(
                "there is no witness to ask",
                code="ledger-no-witness",
                hint="name one: `--witness URL VKEY`, with the key that `crossgrade witness init` printed",
            )
        project.ledger.sign()
        asked = asyncio.run(ask(project.store.ledger, witnesses))
    _show_cosigning(asked, as_json=as_json)
    if any(each.is_alarm for each in asked):
        return EXIT_FOUND
    return 0 if all(each.status in {"cosigned", "kept", "empty"} for each in asked) else 3


@command.command()
@click.argument("subject")
@click.option("--because", required=True, metavar="TEXT", help="Why, for the entry of the erasure.")
@click.option("--by", metavar="NAME", help="Who erases.  [default: your user name]")
@click.option("--yes", is_flag=True, help="Do not ask; needed where no terminal is.")
@config_option
@json_option
def erase(subject: str, *, because: str, by: str | None, yes: bool, config_path: str, as_json: bool) -> None:
    """Destroy the texts of a SUBJECT for good, on record.

    SUBJECT is a principal as entries have it. Its texts and their key are gone afterwards, everywhere but in
    backups, where they cannot be read without the key. The entries stay, and the ledger still verifies.
    """
    if not yes:
        click.confirm(f"Destroy all texts of {subject} for good?", abort=True, err=True)
    with _project(config_path) as project:
        count = project.ledger.erase(subject, because=because, by=by or getpass.getuser())
    if as_json:
        print_json({"subject": subject, "texts": count}, schema_version=SCHEMA_VERSION)
    else:
        click.echo(f"{count:,} texts of {subject} erased")


@command.command(name="list")
@click.option("--kind", metavar="KIND", help="Only entries of this kind, such as `verdict` or `request`.")
@click.option(
    "--most", type=click.IntRange(1, 100_000), default=50, show_default=True, help="At most so many."
)
@config_option
@json_option
def list_(*, kind: str | None, most: int, config_path: str, as_json: bool) -> None:
    """List the newest entries, the last one last."""
    from crossgrade.errors import hint_among
    from crossgrade.ledger import ENTRY_KINDS

    if kind is not None and kind not in ENTRY_KINDS:
        hint = hint_among(kind, ENTRY_KINDS)
        raise UsageError(f"`{kind}` is no kind of entry", code="ledger-kind-unknown", hint=hint)
    with _project(config_path) as project:
        entries = project.ledger.entries(kind, most=most)
    if as_json:
        print_json({"entries": [_entry(each) for each in entries]}, schema_version=SCHEMA_VERSION)
    elif entries:
        rows = [[each.seq, _when(each.at), each.kind, _about(each)] for each in entries]
        print_table(["seq", "at", "kind", "about"], rows, right=("seq",))
    else:
        note("the ledger has no such entry yet", code="ledger-empty")


@command.command()
@click.argument("seq", type=click.IntRange(0))
@click.option("--text", "with_text", is_flag=True, help="Decrypt the text beside it too.")
@config_option
@json_option
def show(seq: int, *, with_text: bool, config_path: str, as_json: bool) -> None:
    """Show entry SEQ."""
    with _project(config_path) as project:
        shown = _entry(project.ledger.entry(seq))
        if with_text:
            shown["text"] = project.ledger.text(seq).decode(errors="replace")
    if as_json:
        print_json(shown, schema_version=SCHEMA_VERSION)
    else:
        print_fields(shown)


def _project(config_path: str) -> "Project":
    from crossgrade.project import Project

    return Project.open(config_path)


def _verify_proof(
    path: Path, log: "NoteVerifier | None", witnesses: "Sequence[NoteVerifier]", *, as_json: bool
) -> int:
    from crossgrade.errors import DataError

    if log is None:
        raise UsageError(
            "a proof is checked with the ledger's public key",
            code="ledger-key-not-given",
            hint="give `--key VKEY`, as its owner hands it out",
        )
    content = _proof_file(path)
    findings: list[dict[str, str]] = []
    shown: dict[str, Any] = {}
    try:
        shown, missing = _proved(content, log, witnesses)
    except DataError as error:
        findings.append({"code": error.code, "message": error.message})
    else:
        findings += [
            {"code": "not-cosigned", "message": f"`{name}` has not cosigned the checkpoint"}
            for name in missing
        ]
    shown = {"holds": not findings, **shown}
    if as_json:
        print_json({**shown, "findings": findings}, schema_version=SCHEMA_VERSION)
    else:
        print_fields(shown)
    for finding in findings:
        warn(finding["message"], code=finding["code"])
    return EXIT_FOUND if findings else 0


def _proof_file(path: Path) -> bytes:
    from crossgrade.ledger import MAX_PROOF_BYTES

    try:
        with path.open("rb") as file:
            return file.read(MAX_PROOF_BYTES + 1)
    except OSError as error:
        raise unreadable(path, error) from error


def _proved(
    content: bytes, log: "NoteVerifier", witnesses: "Sequence[NoteVerifier]"
) -> tuple[dict[str, Any], list[str]]:
    """Return what a proof shows, and who has not cosigned it. Raises `DataError` if it does not hold."""
    from crossgrade.ledger import EntryProof, read_entry

    proof = EntryProof.read(content)
    checkpoint, cosigned = proof.verified(log, tuple(witnesses))
    shown = {
        "entry": _entry(read_entry(proof.entry)),
        "ledger": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "cosigned_by": [each.name for each in cosigned],
    }
    return shown, [each.name for each in witnesses if each not in cosigned]


def _holds(found: "LogVerification", log: "NoteVerifier | None") -> bool | str:
    """Return whether a log holds. Without a key anybody could have written its entries: `unsigned`."""
    if found.found:
        return False
    return "unsigned" if log is None and found.size else True


def _show(found: "LogVerification", log: "NoteVerifier | None", *, as_json: bool) -> None:
    names = [each.witness.name for each in found.cosigned]
    cosigned = {
        each.witness.name if names.count(each.witness.name) == 1 else each.witness.text: {
            "entries": each.size,
            "uncosigned": found.size - each.size,
            "at": _when(datetime.fromtimestamp(each.at_s, UTC)),
            "key": each.witness.text,
        }
        for each in found.cosigned
    }
    shown: dict[str, Any] = {
        "holds": _holds(found, log),
        "first_bad_entry": found.first_bad,
        "entries": found.size,
        "root": found.root.hex(),
        "signed": log is not None and found.signed == found.size,
        "signed_by": log.name if log is not None and found.signed else None,
        "signed_entries": found.signed,
        "cosigned": cosigned,
        "kinds": dict(found.kinds),
        "erased_texts": found.erased,
        "unfinished_requests": len(found.unfinished),
    }
    if as_json:
        print_json(
            {
                **shown,
                "keys": [each.text for each in found.keys],
                "unfinished": list(found.unfinished),
                "finding_count": found.found,
                "findings": list(found.findings),
                "remarks": list(found.remarks),
            },
            schema_version=SCHEMA_VERSION,
        )
    else:
        print_fields(shown)
    if log is None and found.size:
        warn(
            "no signature was checked: give the ledger's public key (`--key VKEY`), or make one with "
            "`crossgrade audit init NAME`",
            code="ledger-not-checked",
        )
    if len(found.keys) > 1:
        note(
            f"{len(found.keys)} keys signed it one after another, {found.keys[-1].text} last",
            code="ledger-keys",
        )
    for remark in found.remarks[:_SHOWN_FINDINGS]:
        note(f"entry {remark.seq}: {remark.message}", code=remark.code)
    for finding in found.findings[:_SHOWN_FINDINGS]:
        place = "" if finding.seq is None else f"entry {finding.seq}: "
        warn(f"{place}{finding.message}", code=finding.code)
    if found.found > _SHOWN_FINDINGS:
        note(f"{found.found - _SHOWN_FINDINGS:,} more findings; `--json` lists up to 1,000")


def _show_cosigning(asked: "Sequence[Cosigning]", *, as_json: bool) -> None:
    if as_json:
        print_json({"witnesses": list(asked)}, schema_version=SCHEMA_VERSION)
        return
    rows = [[each.witness, each.status, each.size, each.detail or None] for each in asked]
    print_table(["witness", "status", "entries", "detail"], rows, right=("entries",))


def _entry(entry: "LogEntry") -> dict[str, Any]:
    return {
        "seq": entry.seq,
        "at": entry.at,
        "kind": entry.kind,
        "subject": entry.subject,
        "detail": dict(entry.detail),
    }


def _when(at: datetime) -> str:
    return at.isoformat(timespec="seconds").replace("+00:00", "Z")


_TELLING = {
    "opened": ("verdicts", "keys", "routes"),
    "verdict": ("id", "name", "workload", "valid_until"),
    "route": ("version", "step", "changed", "removed"),
    "step": ("version", "alarm"),
    "alarm": ("route", "alarm", "segment", "witness", "size", "known_size"),
    "key": ("key_id", "event", "name"),
    "handover": ("to", "by", "because"),
    "approval": ("offer", "step", "workload"),
    "dossier": ("id", "workload", "valid_until", "models", "missing"),
    "erasure": ("subject", "texts", "workload", "samples", "by", "because"),
    "access": ("event", "rules_digest", "principal", "route", "model", "decision", "code"),
    "request": ("request", "principal", "route", "model", "programme"),
    "completion": ("request", "target", "status", "error", "cost_usd"),
    "dropped": ("entries", "worker", "until"),
    "suspended": ("principal", "event", "because"),
}
"""The facts of each kind of entry that tell most."""

_MOST_FACTS = 5
_LONGEST_FACT = 60


def _about(entry: "LogEntry") -> str:
    """Return the facts of an entry that tell most, for a line of a list."""
    names = [name for name in _TELLING.get(entry.kind, ()) if entry.detail.get(name) not in (None, [], {})]
    facts = [f"{name} {_fact(entry.detail[name])}" for name in (names or list(entry.detail))[:_MOST_FACTS]]
    return ", ".join(facts)


def _fact(value: Any) -> str:
    """Return a fact in a few characters of one line: of a list the texts in it, or how many things it has."""
    if isinstance(value, list):
        is_plain = all(isinstance(each, str) for each in value)
        value = " ".join(value) if is_plain else sum(_count(each) for each in value)
    text = one_line(str(value))
    return text if len(text) <= _LONGEST_FACT else text[: _LONGEST_FACT - 1] + "…"


def _count(item: Any) -> int:
    """Return how many entries an item of `dropped` stands for, and 1 for every other item."""
    count = item.get("count", 1) if isinstance(item, dict) else 1
    return count if isinstance(count, int) else 1
