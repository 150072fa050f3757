"""`crossgrade claims`: headline figures on open against proprietary models, computed again."""

import sys
from datetime import datetime
from typing import TYPE_CHECKING

import click

from crossgrade.cli._frame import config_option, json_option
from crossgrade.cli._offers import catalog_here, day, day_option
from crossgrade.cli._output import note, print_fields, print_json, print_table, styled
from crossgrade.errors import NotFoundError, closest

if TYPE_CHECKING:
    from crossgrade.catalog.claims import Claim, Figure

_TONES = {
    "reproduced": "green",
    "as the vendor states": "blue",
    "misattributed": "yellow",
    "contradicted": "red",
    "unverifiable": "blue",
}


@click.command()
@click.argument("names", nargs=-1, metavar="[CLAIM]...")
@day_option
@config_option
@json_option
def command(names: tuple[str, ...], on: datetime | None, config_path: str, *, as_json: bool) -> None:
    """Recompute headline figures on open and closed models.

    Each is reproduced, as the vendor states (its only source), misattributed (it is another figure
    than it claims to be), contradicted or unverifiable. With CLAIM everything that was computed
    about it is shown.
    """
    from crossgrade.catalog.claims import check_claims

    claims = check_claims(catalog_here(config_path), day(on))
    known = {claim.name: claim for claim in claims}
    for name in names:
        if name not in known:
            raise NotFoundError(
                f"there is no claim {name[:80]!r}{closest(name, known)}",
                code="claim-unknown",
                hint=f"there are: {', '.join(known)}",
            )
    chosen = [known[name] for name in names] if names else list(claims)
    if as_json:
        print_json({"on": day(on), "claims": chosen}, schema_version=1)
        return
    if names:
        for claim in chosen:
            _show(claim)
        return
    print_table(
        ("claim", "quoted", "as", "verdict", "really", "computed as claimed", "with what is sold today"),
        [
            (
                claim.name,
                f"{claim.quoted:g} {claim.unit}",
                claim.quoted_as,
                claim.status,
                claim.is_really,
                _claimed(claim),
                _today(claim),
            )
            for claim in chosen
        ],
    )
    counts = {status: sum(claim.status == status for claim in claims) for status in _TONES}
    said = (styled(f"{count} {status}", sys.stderr, fg=_TONES[status]) for status, count in counts.items())
    click.echo(f"{len(claims)} claims: {', '.join(said)}", err=True)
    note("`crossgrade claims CLAIM` shows basis, source and the command that computes it")


def _claimed(claim: "Claim") -> str | None:
    """Return the value of the figure that the claim says it is."""
    found = next((each for each in claim.figures if each.name == claim.quoted_as), None)
    return None if found is None or found.value is None else f"{found.value:.4g} {found.unit}"


def _today(claim: "Claim") -> str | None:
    """Return the first of the figures with what is sold now; None where prices do not matter."""
    found = next((each for each in claim.today if each.value is not None), None)
    return None if found is None else f"{found.value:.3g} {found.unit} ({found.name})"


def _computed(figure: "Figure") -> str | None:
    if figure.value is None:
        return None
    stated = " (as the vendor states)" if figure.stated_by_vendor else ""
    return f"{figure.value:.5g} {figure.unit}{stated}"


def _show(claim: "Claim") -> None:
    print_fields(
        {
            "claim": claim.name,
            "statement": claim.statement,
            "verdict": claim.status,
            "quoted": f"{claim.quoted:g} {claim.unit} as {claim.quoted_as}",
            "really": claim.is_really,
            "computed": {each.name: _computed(each) for each in claim.figures},
            "with what is sold today": {each.name: _computed(each) for each in claim.today} or None,
            "basis": claim.basis,
            "source": claim.source,
            "on": claim.on,
            "command": claim.command or "none: it was published, and nothing here computes it",
            "note": claim.note or None,
        }
    )
