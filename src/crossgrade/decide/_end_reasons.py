"""When the incumbent ends, and whether its provider's own newer model was among those compared."""

from collections.abc import Iterator

from crossgrade.decide._records import Remark
from crossgrade.decide._sentence import Findings


def end_reasons(found: Findings) -> Iterator[Remark]:
    """Yield the incumbent's end, if one is known, and its provider's newer model as tried or not tried."""
    known = found.view.settings.incumbent_end
    if known is None:
        return
    if known.retires_on is not None and found.gone_on is None:
        sealed = found.view.settings.baseline is not None
        then = "its sealed answers are what is left" if sealed else "nothing can be compared with it"
        yield Remark(
            "incumbent-ends",
            f"{known.model} ends on {known.retires_on.isoformat()}{known.origin}. "
            f"After that day it answers nothing, and {then}.",
        )
    if known.tried is not None:
        yield Remark(
            "successor-tried",
            f"{known.tried}, a newer model of the incumbent's provider that costs less, was compared.",
            candidate=known.tried,
        )
    elif known.successor is not None and known.retires_on is not None:
        yield Remark(
            "successor-not-tried",
            f"{known.successor}, a newer model of the incumbent's provider that costs less, was not "
            "compared.",
        )


def end_changes(found: Findings) -> Iterator[Remark]:
    """Yield what to compare before the incumbent ends, or with its sealed answers once it has."""
    settings = found.view.settings
    known = settings.incumbent_end
    if known is None or known.retires_on is None or known.tried is not None or known.successor is None:
        return
    if found.gone_on is None:
        when = f" before {known.model} ends on {known.retires_on.isoformat()}"
    elif settings.baseline is not None:
        when = f" with the sealed answers of {known.model}"
    else:
        return
    yield Remark("successor-compared", f"A comparison of {known.successor}{when}.")
