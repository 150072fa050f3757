"""A worker process: `python -m crossgrade.gateway SETTINGS --worker NUMBER`.

`crossgrade serve` starts it.
"""

import argparse
import asyncio
import sys
from pathlib import Path

from crossgrade.errors import CrossgradeError
from crossgrade.gateway._worker import serve
from crossgrade.gateway.settings import read_settings

MOST_DIGITS = 640
"""The longest whole number in JSON. Python takes the square of this to read one, and knows no lower limit."""


def main() -> int:
    """Serve until SIGTERM or SIGINT; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m crossgrade.gateway", description=__doc__)
    parser.add_argument("settings", type=Path, help="the file that `crossgrade serve` wrote")
    parser.add_argument("--worker", type=int, default=0, help="which worker this is, from 0")
    arguments = parser.parse_args()
    sys.set_int_max_str_digits(MOST_DIGITS)
    try:
        import uvloop
    except ImportError:
        run = asyncio.run
    else:
        run = uvloop.run
    try:
        run(serve(read_settings(arguments.settings), arguments.worker))
    except CrossgradeError as error:
        print(f"crossgrade gateway: {error} [{error.code}]", file=sys.stderr)  # the process's only words
        return error.exit_code
    except OSError as error:
        print(f"crossgrade gateway: {error}", file=sys.stderr)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
