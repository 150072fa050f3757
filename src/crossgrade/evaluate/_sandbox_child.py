"""Runs inside the sandbox: it sets the limits, then runs the answer's program, then the tests.

Its source is handed to a fresh interpreter with `-c`; it imports the standard library only.
It reports on the pipe that was its standard output, in lines that begin with a random word
the answer's program was not given.
"""

import json
import os
import resource
import sys


def main() -> None:
    """Read one job from standard input, run it, and report `started`, then `passed` or `failed`."""
    job = json.loads(sys.stdin.buffer.read())
    report = os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)
    for name, value in job["limits"].items():
        hard = resource.getrlimit(getattr(resource, name))[1]
        limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(getattr(resource, name), (limit, limit))
    secret = job.pop("secret")

    def say(word: str, why: str = "") -> None:
        line = json.dumps([secret, word, why[:500]]) + "\n"
        os.write(report, line.encode())

    say("started")
    scope = {"__name__": "answer"}
    try:
        exec(compile(job["program"], "answer.py", "exec"), scope)  # noqa: S102  # the sandbox exists to run it
        exec(compile(job["tests"], "tests.py", "exec"), scope)  # noqa: S102  # tests of the user's own dataset
    except BaseException as error:  # noqa: BLE001  # SystemExit and KeyboardInterrupt are failures too
        say("failed", f"{type(error).__name__}: {error}")
    else:
        say("passed")
    os._exit(0)


if __name__ == "__main__":
    main()
