"""What an exported folder says of itself, for readers who do not know Crossgrade."""

from crossgrade.project._verdicts import Verification

_README = """\
# A verdict of Crossgrade

{sentence}

This folder has what the verdict was computed from, so that another machine can compute it again,
offline and without the project:

    pip install 'crossgrade[seal]=={version}'
    crossgrade export --verify THIS-FOLDER{key}

- `verdict.json`: the verdict with its settings (`settings`), the dated prices (`price_sources`),
  its time and its error rate.
- `evidence.json`: the columns it was computed from, one value for each sample: scores, costs,
  times, segments, clusters, weights, labels and their probabilities.
- `sibling-N-…`: the same of other workloads that share the error rate, if there are any.
- `manifest.json`: the size and SHA-256 of each of these files, and the versions that computed the
  verdict.
- `signature.note`: a signature on the manifest, if there is one.

## Texts

{texts}

## Signature

{signature}

## What this proves

The figures follow from the evidence and the settings by the recorded method. A signature says
whose figures they are. Neither says that the scores were measured as they should be.
"""

_WITHOUT = """\
Left out. In `evidence.json` numbers stand for what was asked, expected and answered. They say
which texts are the same, and no word of them. Names of samples, segments and models are in the
folder. So are words by which a router or a comparison of traffic tells requests apart, and names
of raters who labelled too fast."""

_WITH = """\
**Included**: what was asked, expected and answered, as far as the evidence has it. Treat the
folder as you treat the traffic itself."""

_SIGNED = """\
Signed with the key of the project's ledger. Its public half is

    {key}

A changed folder may name another key here: get it from the folder's owner."""

_UNSIGNED = """\
**Not signed.** Anybody could have written this folder. To sign it, its owner makes a key with
`crossgrade audit init NAME` and exports the verdict again."""


def readme(check: Verification, *, with_texts: bool, signer: str | None) -> bytes:
    """Return the text of a folder's README; `signer` is the public key that signs it, if any."""
    return _README.format(
        sentence=check.verdict.sentence,
        version=check.today.package_version,
        key="" if signer is None else f" --key '{signer}'",
        texts=_WITH if with_texts else _WITHOUT,
        signature=_UNSIGNED if signer is None else _SIGNED.format(key=signer),
    ).encode()
