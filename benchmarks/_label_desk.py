"""A desk for labelling with texts of its own, and its page on a loopback port.

`python -m benchmarks._label_desk FOLDER PORT SCALE ITEMS` serves the page until it is killed.
"""

import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import uvicorn

from crossgrade.project import LabelBound, LabelDesk
from crossgrade.store import LabelDraw, LabelScale, Rater, Store
from crossgrade.ui import entry_path, label_app
from crossgrade.workloads import LabelRow

SUBJECT = "run:labelled"
TITLE = "support-replies"
RUBRIC = """**Right** means that a customer could act on the reply:

- it answers what was asked
- its facts agree with the policy: 30 days, refunds in 3 to 5 working days
- it promises nothing that the policy does not"""
REQUEST = (
    "Hello, the lamp that I ordered arrived on Monday and is too bright for the bedroom. "
    "Can I send it back, and when do I get my money?"
)
ANSWERS = (
    """You can return the lamp **within 30 days** of delivery. Here is how:

1. Open *Orders* and choose the order.
2. Select **Return an item** and give the reason.
3. Print the label and hand the parcel to any post office.

The refund arrives 3 to 5 working days after we receive the lamp. Shipping is refunded for damaged goods only.""",
    """You can return the lamp **within 14 days** of delivery. Here is how:

1. Open *Orders* and choose the order.
2. Select **Return an item**.
3. Print the label and hand the parcel to any post office.

The refund arrives within 10 working days after we receive the lamp. `Help > Returns` has the details.""",
)
BOUNDS = (
    LabelBound(
        candidate="llama-4-maverick", floor=0.9, judged=0.981, value=0.953, low=0.908, high=1.004, labels=118, needed=140
    ),
    LabelBound(candidate="llama-4-scout", floor=0.9, judged=0.94, value=0.871, low=0.802, high=0.943, labels=118),
)  # fmt: skip


def open_desk(
    store: Store,
    *,
    scale: LabelScale = "right-wrong",
    items: int = 100,
    texts: Mapping[int, tuple[str, tuple[str, ...]]] | None = None,
    rubric: str = RUBRIC,
    **others: Any,
) -> LabelDesk:
    """Open the desk of a store's draw, which is made if there is none; `texts` replaces those of an item."""
    ids = tuple(f"ticket/{number:04}" for number in range(1, items + 1))
    draw = store.labels.newest_draw(SUBJECT)
    if draw is None:
        draw = LabelDraw(
            subject=SUBJECT, kind="random", scale=scale, seed=1, items=ids, probabilities=dict.fromkeys(ids, 1.0)
        )  # fmt: skip
        store.labels.append_draw(draw)
    rows = {}
    for number, name in enumerate(ids, 1):
        request, answers = (texts or {}).get(number, (REQUEST, ANSWERS))
        rows[name] = LabelRow(id=name, request=request, answers=answers)
    return LabelDesk(store, draw, rows, title=TITLE, rubric=rubric, bounds=lambda: BOUNDS, **others)


def invited(desk: LabelDesk, name: str = "Ada", *, owner: bool = True, days: float = 7, **others: Any) -> str:
    """Invite a rater, and return the path of the one-time link."""
    ends = datetime.now(UTC) + timedelta(days=days)
    return entry_path(desk.invite(Rater(subject=SUBJECT, name=name, ends_at=ends, is_owner=owner, **others)))


def free_port() -> int:
    """Return a loopback port that nothing listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def server_of(desk: LabelDesk, port: int) -> uvicorn.Server:
    """Return the server of a desk's page, as `crossgrade label` runs it."""
    app = label_app(desk, hosts=[f"127.0.0.1:{port}"])
    return uvicorn.Server(
        uvicorn.Config(
            app, host="127.0.0.1", port=port, http="h11", ws="none", lifespan="off", access_log=False,
            log_level="critical", server_header=False, proxy_headers=False, timeout_graceful_shutdown=2,
        )
    )  # fmt: skip


@contextmanager
def served(desk: LabelDesk, port: int | None = None) -> Iterator[str]:
    """Serve a desk's page from a thread, and yield its address."""
    port = port or free_port()
    server = server_of(desk, port)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise OSError(f"the page could not be served on port {port}")
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def main(arguments: Sequence[str]) -> None:
    """Serve the page of the store in a folder."""
    folder, port, scale, items = arguments
    with Store.open(Path(folder) / "crossgrade.db") as store:
        server_of(open_desk(store, scale=scale, items=int(items)), int(port)).run()  # type: ignore[arg-type]  # one of the scales


if __name__ == "__main__":
    main(sys.argv[1:])
