"""Opens a Llama 4 checkpoint as the reference of a conformity check."""

from collections.abc import Mapping
from pathlib import Path

from crossgrade.domain import Offer
from crossgrade.errors import DataError, UsageError
from crossgrade.evidence import ReferenceModel
from crossgrade.longcontext import read_chat_format

REFERENCE = "reference"
"""The name, after `--against`, of a checkpoint that is computed here, and of its side of the check."""


def reference_offer(path: Path) -> Offer:
    """Return what a fingerprint names in place of an offer: no offer has this provider."""
    return Offer(name=REFERENCE, provider=REFERENCE, model=path.name)


def checkpoint_of(offer: Offer, given: Path | None, root: Path, environ: Mapping[str, str]) -> Path:
    """Return the checkpoint that an offer is compared with: the one given, or a local model's own file.

    Raises UsageError for an offer that is not local if none is given.
    """
    if given is not None:
        return given
    if offer.provider != "local":
        raise UsageError(
            f"the weights of {offer.name!r} are not here",
            code="checkpoint-needed",
            hint="give a folder with config.json and .safetensors files, or a GGUF file, with `--checkpoint`",
        )
    from crossgrade.providers.models import ModelShelf, models_home

    return Path(ModelShelf(models_home(environ)).find(offer.model, root=root).path)


def open_reference(path: Path) -> ReferenceModel:
    """Read a checkpoint, its tokenizer and its chat template.

    Raises what `read_checkpoint` and `read_chat_format` raise, and `DataError` (`tokenizer-mismatch`) for a
    tokenizer with tokens that the weights do not have.
    """
    from crossgrade.providers.checkpoints import read_checkpoint

    checkpoint = read_checkpoint(path)
    chat = read_chat_format(path)
    words = checkpoint.architecture.vocabulary
    most = max(chat.vocabulary - 1, *chat.ends, 0)
    if most >= words:
        raise DataError(
            f"there is a token {most:,} in the tokenizer or as an end; the weights have {words:,}",
            code="tokenizer-mismatch",
            file=path,
            hint="give the tokenizer.json that belongs to these weights",
        )
    return ReferenceModel(
        name=path.name,
        weights=checkpoint.weights,
        shape=checkpoint.shape,
        prompt_of=chat.prompt_of,
        text_of=chat.text_of,
        ends=chat.ends,
    )
