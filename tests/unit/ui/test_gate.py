"""What the page refuses: strange hosts, other sites' forms and frames, unknown fields, strangers, used links."""

import http.client
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest

from benchmarks._label_desk import invited, open_desk
from crossgrade.project import LabelDesk
from crossgrade.store import Store
from crossgrade.ui import label_app
from tests.codes import raises_code

FORM = "application/x-www-form-urlencoded"
OWN = {"Sec_Fetch_Site": "same-origin"}
ITEM = "/item?id=ticket%2F0001"


class Caller:
    """A client that sends exactly what a test says."""

    def __init__(self, base: str) -> None:
        self.host = urlsplit(base).netloc
        self.cookie = ""

    def __call__(
        self, method: str, path: str, form: Mapping[str, str] | bytes | None = None, **headers: str
    ) -> tuple[http.client.HTTPResponse, str]:
        connection = http.client.HTTPConnection(self.host, timeout=20)
        body = urlencode(form).encode() if isinstance(form, Mapping) else form
        sent = {"Host": self.host, "Cookie": self.cookie} | (
            {"Content-Type": FORM} if body is not None else {}
        )
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body=body, headers={k: v for k, v in sent.items() if v})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response, text

    def enter(self, path: str) -> None:
        link = parse_qs(urlsplit(path).query)["link"][0]
        response, text = self("POST", "/enter", {"link": link}, **OWN)
        assert response.status == 303, text
        self.cookie = response.headers["Set-Cookie"].split(";")[0]


@pytest.fixture
def desk(store: Store) -> LabelDesk:
    return open_desk(store, items=3)


@pytest.fixture
def caller(desk: LabelDesk, serve: Callable[..., str]) -> Caller:
    return Caller(serve(desk))


def given(desk: LabelDesk) -> Any:
    return desk.item(desk.raters()[0], "ticket/0001")[1]


def form(**changes: str) -> dict[str, str]:
    fields = {
        "action": "0" * 32,
        "shown": "2026-11-29T12:00:00+00:00",
        "answers": "2",
        "look": "",
        "note": "",
    }
    return (
        fields
        | {"score-a": "1", "score-b": "0"}
        | {name.replace("_", "-"): text for name, text in changes.items()}
    )


def test_items_of_more_answers_than_a_page_can_name_are_refused(store: Store) -> None:
    desk = open_desk(store, items=1, texts={1: ("request", ("answer",) * 27)})
    with raises_code("label-answers-many"):
        label_app(desk, hosts={"127.0.0.1:8400"})


def test_every_answer_has_the_headers_of_safety(desk: LabelDesk, caller: Caller) -> None:
    caller.enter(invited(desk))
    for path in ("/", ITEM, "/standing", "/style.css", "/nothing", "/enter?link=x"):
        response, _ = caller("GET", path)
        policy = dict(
            part.strip().split(" ", 1) for part in response.headers["Content-Security-Policy"].split(";")
        )
        assert policy == {
            "default-src": "'none'", "script-src": "'self'", "style-src": "'self'", "connect-src": "'self'",
            "img-src": "'none'", "form-action": "'self'", "frame-ancestors": "'none'", "base-uri": "'none'",
        }  # fmt: skip
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        kept = "public, max-age=31536000, immutable" if path == "/style.css" else "no-store"
        assert response.headers["Cache-Control"] == kept


def test_the_cookie_is_for_this_page_only(desk: LabelDesk, caller: Caller) -> None:
    link = parse_qs(urlsplit(invited(desk)).query)["link"][0]
    response, _ = caller("POST", "/enter", {"link": link}, **OWN)
    cookie = response.headers["Set-Cookie"]
    name, attributes = cookie.split("=", 1)[0], {part.strip().lower() for part in cookie.split(";")[1:]}
    assert name == f"crossgrade_label_{caller.host.split(':')[1]}"
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert link not in cookie


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "attacker.example"}, "page-host-unknown"),
        ({"Host": "127.0.0.1"}, "page-host-unknown"),
        ({"Sec_Fetch_Site": "cross-site"}, "page-other-site"),
        ({"Sec_Fetch_Site": "same-site"}, "page-other-site"),
        ({"Sec_Fetch_Site": "none"}, "page-other-site"),
        ({"Sec_Fetch_Site": ""}, "page-other-site"),
        ({"Sec_Fetch_Site": "", "Origin": "http://attacker.example"}, "page-other-site"),
        ({"Sec_Fetch_Site": "", "Origin": "null"}, "page-other-site"),
    ],
)
def test_what_comes_from_elsewhere_is_refused(
    desk: LabelDesk, caller: Caller, headers: dict[str, str], code: str
) -> None:
    caller.enter(invited(desk))
    response, text = caller("POST", ITEM, form(), **({"Sec_Fetch_Site": "same-origin"} | headers))
    assert response.status == (421 if code == "page-host-unknown" else 403)
    assert code in text
    assert given(desk) is None


def test_a_browser_without_fetch_metadata_sends_its_origin(desk: LabelDesk, caller: Caller) -> None:
    caller.enter(invited(desk))
    response, _ = caller("POST", ITEM, form(), Origin=f"http://{caller.host}")
    assert response.status == 303
    assert given(desk).scores == (1.0, 0.0)


@pytest.mark.parametrize(
    ("body", "code", "status"),
    [
        (form(stray="1"), "form-field-unknown", 400),
        (form(action="x"), "form-invalid", 400),
        (form(shown="yesterday"), "form-invalid", 400),
        (form(shown="2026-11-29"), "form-invalid", 400),
        (form(score_b=""), "label-incomplete", 400),
        (form(score_b="0.5"), "label-incomplete", 400),
        (form(answers="3"), "label-incomplete", 400),
        (form(answers="99"), "label-incomplete", 400),
        (form(answers="1", score_b=""), "label-scores-invalid", 400),
        (form(skip="boredom"), "label-skip-invalid", 400),
        (form(note="x" * 2_001), "label-note-too-long", 400),
        (form(note="x" * 70_000), "form-too-large", 400),
        (urlencode(form()).encode() + b"&note=twice", "form-invalid", 400),
        (b"\xff", "form-invalid", 400),
        (b"a=%FF", "form-invalid", 400),
        (b"&".join(b"a=1" for _ in range(100)), "form-invalid", 400),
        (b"", "form-invalid", 400),
    ],
)  # fmt: skip
def test_a_form_that_the_page_did_not_make_is_refused(
    desk: LabelDesk, caller: Caller, body: Any, code: str, status: int
) -> None:
    caller.enter(invited(desk))
    response, text = caller("POST", ITEM, body, **OWN)
    assert (response.status, code in text) == (status, True), text
    assert given(desk) is None


def test_another_type_of_body_is_refused(desk: LabelDesk, caller: Caller) -> None:
    caller.enter(invited(desk))
    _, text = caller("POST", ITEM, b"{}", Content_Type="application/json", **OWN)
    assert "form-type-unknown" in text


def test_an_action_that_is_sent_twice_is_saved_once(desk: LabelDesk, caller: Caller, store: Store) -> None:
    caller.enter(invited(desk))
    for _ in range(2):
        response, _ = caller("POST", ITEM, form(), **OWN)
        assert response.status == 303
    response, text = caller("POST", ITEM, form(score_a="0"), **OWN)
    assert (response.status, "with another label" in text) == (409, True)
    assert given(desk).scores == (1.0, 0.0)
    assert store.labels.count(desk.standing().subject) == 1


def test_a_link_is_used_up_by_the_button_only_and_once(desk: LabelDesk, caller: Caller) -> None:
    path = invited(desk)
    for method in ("GET", "HEAD", "GET"):
        assert caller(method, path)[0].status == 200
    caller.enter(path)
    own = caller.cookie
    link = {"link": parse_qs(urlsplit(path).query)["link"][0]}
    assert caller("POST", "/enter", link, **OWN)[0].status == 303  # the same browser goes on
    caller.cookie = ""
    response, text = caller("POST", "/enter", link, **OWN)
    assert (response.status, "label-link-used" in text) == (401, True)
    assert "label-link-unknown" in caller("POST", "/enter", {"link": "guess"}, **OWN)[1]
    caller.cookie = own
    assert caller("GET", ITEM)[0].status == 200


@pytest.mark.parametrize("path", ["/", ITEM, "/standing", "/done", "/text?of=a", "/whole?of=a"])
def test_without_a_session_nothing_is_shown(caller: Caller, path: str) -> None:
    response, text = caller("GET", path)
    assert (response.status, "label-session-missing" in text, "lamp" in text) == (401, True, False)
    caller.cookie = f"crossgrade_label_{caller.host.split(':')[1]}=guess"
    response, text = caller("GET", path)
    assert (response.status, "label-session-unknown" in text) == (401, True)


def test_a_session_ends_with_the_raters_time(desk: LabelDesk, caller: Caller) -> None:
    path = invited(desk, days=1)
    caller.enter(path)
    assert caller("GET", ITEM)[0].status == 200
    desk._now = lambda: desk.raters()[0].ends_at
    response, text = caller("GET", ITEM)
    assert (response.status, "label-link-ended" in text) == (401, True)


def test_other_raters_see_neither_bound_nor_models(desk: LabelDesk, caller: Caller) -> None:
    caller.enter(invited(desk, "Grace", owner=False))
    response, text = caller("GET", "/standing")
    assert (response.status, "label-owner-only" in text) == (403, True)
    for path in ("/standing", "/enter?link=x", ITEM, "/done", "/text?id=ticket%2F0001&of=a"):
        text = caller("GET", path)[1]
        assert "llama" not in text
        assert "Standing" not in text


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing", 404, "path-unknown"),
        ("GET", "/item?id=other", 404, "label-item-unknown"),
        ("GET", "/item", 404, "label-item-unknown"),
        ("GET", "/text?id=ticket%2F0001&of=z", 404, "label-text-unknown"),
        ("GET", "/text?id=ticket%2F0001&of=a&from=-1", 400, "form-invalid"),
        ("GET", "/undo", 405, "method-not-allowed"),
        ("DELETE", "/item", 405, "method-not-allowed"),
    ],
)
def test_errors_are_pages_with_their_code(
    desk: LabelDesk, caller: Caller, method: str, path: str, status: int, code: str
) -> None:
    caller.enter(invited(desk))
    response, text = caller(method, path, **OWN)
    assert (response.status, code in text) == (status, True), text


def test_a_failure_of_the_page_says_nothing_of_its_cause(
    desk: LabelDesk, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller.enter(invited(desk))
    monkeypatch.setattr(desk, "progress", lambda _: {}["secret"])
    response, text = caller("GET", ITEM)
    assert (response.status, "page-failed" in text, "secret" in text) == (500, True, False)
    assert "default-src 'none'" in response.headers["Content-Security-Policy"]


def test_a_long_text_comes_in_parts_or_as_a_file(store: Store, serve: Callable[..., str]) -> None:
    text = "".join(f"line {number} é\n" for number in range(800_000))
    desk = open_desk(store, items=1, texts={1: ("why", (text, "short"))})
    caller = Caller(serve(desk))
    caller.enter(invited(desk))
    _, page = caller("GET", ITEM)
    assert len(page) < 80_000
    assert f"{len(text):,}" in page
    _, part = caller("GET", f"{ITEM.replace('item?', 'text?')}&of=a&from=20000")
    assert text[20_000:69_000] in part
    assert len(part) < 60_000
    response, whole = caller("GET", f"{ITEM.replace('item?', 'whole?')}&of=a")
    assert whole == text
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
