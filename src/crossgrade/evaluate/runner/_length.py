"""How long a request about a sample is, in the unit that a gateway sees."""

import msgspec

from crossgrade.domain import Sample, Workload
from crossgrade.evaluate.runner._prompt import Prompt


def request_bytes(workload: Workload, sample: Sample) -> int:
    """Return the bytes of the body that asks the incumbent about a sample, written without any space.

    Clients may add spaces and escapes: a body that arrives is as long or longer, which never moves
    more than was tested.
    """
    request = Prompt(workload.incumbent).request(sample)
    if request.text is not None:
        tree: object = {"model": request.model, "prompt": request.text}
    else:
        messages = [{"role": each.role, "content": each.content} for each in request.messages]
        tree = {"model": request.model, "messages": messages}
    return len(msgspec.json.encode(tree))


def fits(workload: Workload, sample: Sample, most_bytes: int | None) -> bool:
    """Tell whether the request about a sample is of at most so many bytes; None: of however many."""
    return most_bytes is None or request_bytes(workload, sample) <= most_bytes


def request_text(workload: Workload, sample: Sample) -> str:
    """Return all that the incumbent is sent about a sample, as one text: what its tokens are counted on."""
    request = Prompt(workload.incumbent).request(sample)
    return request.text or "\n".join(each.content or "" for each in request.messages)
