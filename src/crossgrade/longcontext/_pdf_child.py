"""The script that reads a PDF in a process of its own, and writes its pages' text to standard output as JSON.

It limits its own time and memory first, so that a malicious file ends only this process. It is run as a
script, so that it starts without the rest of the package.
"""

import json
import logging
import resource
import sys


def main() -> None:
    """Print the text of a PDF as a JSON object.

    The arguments are the path and the limits: CPU seconds, bytes of memory, pages, characters.
    """
    path, *numbers = sys.argv[1:]
    cpu_s, memory_bytes, most_pages, most_characters = map(int, numbers)
    _limit(resource.RLIMIT_CPU, cpu_s)
    _limit(resource.RLIMIT_AS, memory_bytes)
    logging.disable()
    try:
        said = _read(path, most_pages, most_characters)
    except Exception as error:  # noqa: BLE001  # a damaged file may make the library raise anything
        said = {"error": f"{type(error).__name__}: {error}"[:200]}
    sys.stdout.write(json.dumps(said))


def _limit(name: int, value: int) -> None:
    hard = resource.getrlimit(name)[1]
    limit = value if hard == resource.RLIM_INFINITY else min(value, hard)
    try:
        resource.setrlimit(name, (limit, hard))
    except (ValueError, OSError):
        return  # not every system can limit an address space


def _read(path: str, most_pages: int, most_characters: int) -> dict[str, object]:
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, FileNotDecryptedError

    reader = PdfReader(path)
    try:
        found = len(reader.pages)
    except (DependencyError, FileNotDecryptedError):
        return {"encrypted": True}
    if found > most_pages:
        return {"pages": found}
    texts, size, failed = [], 0, 0
    for page in reader.pages:
        try:
            text = page.extract_text()
        except Exception:  # noqa: BLE001  # the other pages may still be readable
            text, failed = "", failed + 1
        texts.append(text)
        size += len(text)
        if size > most_characters:
            return {"characters": size}
    return {"texts": texts, "failed": failed}


if __name__ == "__main__":
    main()
