"""Which answers are taken without the parser: only those about which nothing has to be known but the body."""

import pytest

from crossgrade.gateway._head import plain_body


def _answer(*lines: bytes, body: bytes = b'{"id":"a"}', status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\n%b\r\n%b" % (status, b"".join(line + b"\r\n" for line in lines), body)


@pytest.mark.parametrize(
    "lines",
    [
        (b"content-length: 10",),
        (b"Content-Type: application/json", b"Content-length:10"),
        (b"date: today", b"server: uvicorn", b"Content-Length:  10 ", b"X-Request-Id: a b\tc"),
    ],
)
def test_a_plain_answer_is_its_body(lines: tuple[bytes, ...]) -> None:
    assert plain_body(_answer(*lines)) == b'{"id":"a"}'


@pytest.mark.parametrize(
    "lines",
    [
        (),
        (b"content-length: 9",),
        (b"content-length: 11",),
        (b"content-length: 10", b"content-length: 10"),
        (b"content-length: 10", b"Transfer-Encoding: chunked"),
        (b"content-length: 10", b"transfer-encoding : chunked"),
        (b"content-encoding: gzip", b"content-length: 10"),
        (b"connection: close", b"content-length: 10"),
        (b"upgrade: h2c", b"content-length: 10"),
        (b"content-type: text/event-stream", b"content-length: 10"),
        (b"X-RateLimit-Limit-Requests: 5", b"content-length: 10"),
        (b"anthropic-ratelimit-requests-limit: 5", b"content-length: 10"),
        (b"CONTENT-LENGTH: 10",),
        (b"Trailer: x", b"content-length: 10"),
        (b"Proxy-Connection: close", b"content-length: 10"),
        (b"Content-Length: 10", b"CONTENT-LENGTH: 10"),
        (b"content-type: Text/Event-Stream", b"content-length: 10"),
        (b": no name", b"content-length: 10"),
        (b"content-length: +10",),
        (b"content-length: 1_0",),
        (b"content-length: 0x0a",),
        (b"content-length: 10, 10",),
        (b"content-length: 10", b" folded: line"),
        (b"content-length: 10", b"no colon"),
        (b"content-length: 10", b"bad name: a"),
        (b"content-length: 10", b"nul: a\x00b"),
        (b"content-length: 10", b"bare: a\rb"),
        (b"content-length: 10", b"bare: a\nb"),
        (b"a: " + b"a" * 70_000, b"content-length: 10"),
    ],
)
def test_anything_that_has_to_be_known_is_for_the_parser(lines: tuple[bytes, ...]) -> None:
    assert plain_body(_answer(*lines)) is None


def test_only_one_whole_answer_of_status_200_is_plain() -> None:
    line = b"content-length: 10"
    whole = _answer(line)
    assert plain_body(whole + b"HTTP/1.1 200 OK\r\n") is None
    assert all(plain_body(whole[:end]) is None for end in range(len(whole)))
    for status in (b"100 Continue", b"204 No Content", b"429 Slow down", b"500 Oh", b"200", b"2000 OK"):
        assert plain_body(_answer(line, status=status)) is None
    assert plain_body(whole.replace(b"HTTP/1.1", b"HTTP/1.0")) is None
