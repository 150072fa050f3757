"""Identifiers that sort by the time they were made."""

import os
import time
from uuid import UUID


def new_id() -> str:
    """Return a fresh UUID version 7 (RFC 9562, section 5.7) as text.

    48 bits of Unix milliseconds, then 74 random bits: identifiers sort by the millisecond
    they were made in, and need no database to be unique.
    """
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(UUID(int=value))
