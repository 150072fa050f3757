"""`crossgrade witness`: cosigns the ledgers of others, on a machine or under an account of its own."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from crossgrade.cli._frame import FunctionT, json_option
from crossgrade.cli._loopback import LOOPBACK, listen, stopped_by_interrupt
from crossgrade.cli._output import note, print_json, print_table
from crossgrade.errors import MissingExtraError, NotFoundError, hint_among

if TYPE_CHECKING:
    from crossgrade.serve import WitnessFolder

SCHEMA_VERSION = 1
_STATE = "crossgrade-witness"


def _state_option(function: FunctionT) -> FunctionT:
    return click.option(
        "--state",
        "state",
        metavar="FOLDER",
        type=click.Path(file_okay=False, path_type=Path),
        default=_STATE,
        show_default=True,
        envvar="CROSSGRADE_WITNESS",
        help="Folder with the witness's key and what it cosigned.",
    )(function)


@click.group()
def command() -> None:
    """Cosign ledgers, so that their operators cannot rewrite them.

    Run it under another account, or better on another machine, than the gateway whose ledger it witnesses.
    """


@command.command()
@click.argument("name")
@click.option(
    "--log", "logs", metavar="VKEY", multiple=True, help="Public key of a ledger; repeat for more of them."
)
@_state_option
@json_option
def init(name: str, *, logs: tuple[str, ...], state: Path, as_json: bool) -> None:
    """Make a witness's key and folder, and print its public key.

    NAME is like a URL without its scheme, such as `witness.example.com`. It need not be an address.
    """
    from crossgrade.ledger import NoteVerifier
    from crossgrade.serve import WitnessFolder

    for vkey in logs:
        NoteVerifier.of_log(vkey)  # before anything is made
    folder = WitnessFolder.create(state, name)
    for vkey in logs:
        folder.add(vkey, now_s=_now_s())
    if as_json:
        shown = {"state": str(state), "key": folder.verifier.text, "logs": list(folder.origins)}
        print_json(shown, schema_version=SCHEMA_VERSION)
    else:
        click.echo(folder.verifier.text)
    note(
        "give this public key to the ledgers' operators and to those who verify; the private key never "
        f"leaves {state}",
        code="witness-made",
    )


@command.command()
@click.argument("vkey")
@click.option("--only", "is_only", is_flag=True, help="Let no other key sign for this ledger any more.")
@_state_option
@json_option
def add(vkey: str, *, is_only: bool, state: Path, as_json: bool) -> None:
    """Witness another ledger, or one under a new key, by its VKEY.

    A witness that runs takes it after a restart. After `crossgrade audit rotate` add the new key, and
    add it again with `--only` once the witness has cosigned under it.
    """
    from crossgrade.serve import WitnessFolder

    added = WitnessFolder.open(state).add(vkey, now_s=_now_s(), is_only=is_only)
    if as_json:
        print_json({"origin": added.name, "key": added.text}, schema_version=SCHEMA_VERSION)
    else:
        click.echo(added.name)


@command.command(name="list")
@_state_option
@json_option
def list_(*, state: Path, as_json: bool) -> None:
    """List the ledgers, and what was last cosigned of each.

    A conflict is a checkpoint that a ledger's key signed with another root than the one of the same size that
    was cosigned before. Both notes are kept in the folder `conflicts`, as proof. `crossgrade audit verify
    FOLDER --against NOTE --against NOTE` says so.
    """
    from crossgrade.serve import WitnessFolder

    folder = WitnessFolder.open(state)
    rows = [_row(folder, origin) for origin in folder.origins]
    if as_json:
        print_json({"key": folder.verifier.text, "logs": rows}, schema_version=SCHEMA_VERSION)
    elif rows:
        cells = [
            [
                row["origin"],
                f"{row['size']:,}",
                row["cosigned_at"],
                len(row["conflicts"]),
                row["last_refused"] and f"{row['last_refused']['size']:,} at {row['last_refused']['at']}",
            ]
            for row in rows
        ]
        heads = ["ledger", "entries", "cosigned", "conflicts", "last refused"]
        print_table(heads, cells, right=("entries", "conflicts"))
    else:
        note("no ledgers yet: `crossgrade witness add VKEY` adds one", code="witness-no-logs")


@command.command()
@click.argument("ledger")
@_state_option
@json_option
def show(ledger: str, *, state: Path, as_json: bool) -> None:
    """Print what was last cosigned of a LEDGER.

    It is a note that everybody can verify: `crossgrade audit verify FOLDER --against NOTE` does.
    """
    from crossgrade.serve import WitnessFolder

    folder = WitnessFolder.open(state)
    if ledger not in folder.origins:
        raise NotFoundError(
            f"the witness in {state} has no ledger {ledger!r}",
            code="witness-log-unknown",
            hint=hint_among(ledger, folder.origins) or "`crossgrade witness add VKEY` adds one",
        )
    kept = str(folder.record(ledger).note)
    if as_json:
        print_json({**_row(folder, ledger), "note": kept}, schema_version=SCHEMA_VERSION)
    else:
        click.echo(kept, nl=False)


@command.command()
@click.option(
    "--host",
    metavar="ADDRESS",
    default=LOOPBACK,
    show_default=True,
    help="IPv4 or IPv6 address to listen on; 0.0.0.0 is every one of this machine.",
)
@click.option(
    "--port", type=click.IntRange(0, 65_535), default=8401, show_default=True, metavar="PORT",
    help="Port to listen on; 0 is any that is free.",
)  # fmt: skip
@_state_option
def serve(*, host: str, port: int, state: Path) -> None:
    """Cosign checkpoints of the ledgers, over HTTP, until Ctrl-C.

    Every decision is on disk before it is answered. The log on stderr is lines of JSON.
    """
    from crossgrade.serve import WitnessFolder

    try:
        from crossgrade.serve import witness_server
    except ModuleNotFoundError as error:
        raise MissingExtraError("the witness", "serve") from error
    folder = WitnessFolder.open(state)
    with folder.served(), listen(port, host) as socket, suppress(KeyboardInterrupt):
        server = witness_server(folder)
        with stopped_by_interrupt(server):
            address = f"[{host}]" if ":" in host else host
            note(
                f"{folder.verifier.name} witnesses {len(folder.origins)} ledgers at "
                f"http://{address}:{socket.getsockname()[1]}",
                code="witness-serves",
            )
            server.run(sockets=[socket])


def _row(folder: "WitnessFolder", origin: str) -> dict[str, Any]:
    record = folder.record(origin)
    at = datetime.fromtimestamp(record.cosigned_at_s, UTC) if record.checkpoint.size else None
    refused = folder.refusal(origin)
    return {
        "origin": origin,
        "keys": [each.text for each in folder.keys(origin)],
        "size": record.checkpoint.size,
        "root": record.checkpoint.root.hex(),
        "cosigned_at": at and at.isoformat(timespec="seconds"),
        "conflicts": [
            {"refused": str(pair.refused), "cosigned": str(pair.cosigned)}
            for pair in folder.conflicts(origin)
        ],
        "last_refused": refused
        and {
            "at": datetime.fromtimestamp(refused.at_s, UTC).isoformat(timespec="seconds"),
            "size": refused.size,
            "reason": refused.reason,
        },
    }


def _now_s() -> int:
    return int(datetime.now(UTC).timestamp())
