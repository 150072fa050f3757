"""Renders one conversation by a chat template, in a process of its own: a template may run for ever.

Its file is run by the interpreter. It imports Jinja and the standard library only, and limits its own
processor time and memory. It reads one line of JSON from standard input and writes one to standard output.
"""

import json
import sys
from contextlib import suppress
from datetime import datetime
from typing import Any

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment


def main() -> None:
    """Read a template and a conversation; write `text`, or why the template is `invalid` or `refuses`."""
    job = json.loads(sys.stdin.readline())
    _limit(job["seconds"], job["bytes"])
    try:
        template = _environment().from_string(job["source"])
    except TemplateError as error:
        return _say("invalid", str(error))
    try:
        text = template.render(
            messages=job["messages"], add_generation_prompt=True, tools=None, **job["words"]
        )
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001  # what a template does wrong may raise anything
        return _say("refuses", str(error))
    if len(text) <= job["characters"]:  # else it says nothing, which is an error
        return _say("text", text)
    return None


def _environment() -> ImmutableSandboxedEnvironment:
    """Return what Transformers gives to templates, in Jinja's sandbox."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = lambda value, indent=None: json.dumps(
        value, ensure_ascii=False, indent=indent
    )
    environment.globals |= {
        "raise_exception": _refuse,
        "strftime_now": lambda form: datetime.now().astimezone().strftime(str(form)),
    }
    return environment


def _refuse(message: Any) -> str:
    raise TemplateError(str(message))


def _limit(seconds: int, size: int) -> None:
    with suppress(ImportError, OSError, ValueError):  # not on every system; the parent has a limit, too
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _say(word: str, text: str) -> None:
    print(json.dumps({word: text}), flush=True)


if __name__ == "__main__":
    main()
