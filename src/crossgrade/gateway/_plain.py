"""Plain answers: whole in one read, their head without anything that asks for a closer look.

The parser calls back for each header. Of a plain answer only the body is expected, and one expression
finds it: a tenth less code runs for a JSON request. Any other answer is for the parser, which
has seen nothing of it.
"""

import re

MOST_HEAD_BYTES = 65_536
MOST_BODY_BYTES = 99_999_999
"""The largest length that is read here: eight digits."""

_NAME = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]*:"
_VALUE = rb"[^\r\n\0]*\r\n"
_OTHERS = (
    rb"(?:[BD-OQ-SVWYZbd-oq-svwyz]%b%b|[Xx]-(?![Rr][Aa])%b%b|[Cc]ontent-[Tt]ype:[ \t]*application/json%b)*+"
) % (_NAME, _VALUE, _NAME, _VALUE, _VALUE)
"""Any headers but those that frame the answer, code it, or are for the client to see.

Of the letters with which one of those begins (content-length, content-encoding, connection,
proxy-connection, transfer-encoding, trailer, upgrade, anthropic-ratelimit, x-ratelimit) only
what is surely none is let through: that is twice as fast as to name them all in any case.
"""

_PLAIN = re.compile(
    rb"HTTP/1\.1 200 [^\r\n\0]*\r\n%b[Cc]ontent-[Ll]ength:[ \t]*([0-9]{1,8})[ \t]*\r\n%b\r\n"
    % (_OTHERS, _OTHERS)
)


def plain_body(data: bytes) -> bytes | None:
    """Return the body of a plain answer with status 200, None where these bytes are anything else."""
    head = _PLAIN.match(data)
    if head is None:
        return None
    start = head.end()
    if len(data) - start != int(head[1]) or start > MOST_HEAD_BYTES:
        return None
    return data[start:]
