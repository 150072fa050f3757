"""Try the package on other Pythons and dependencies: `python scripts/versions.py FOLDER [NAME...]`.

- `lowest`: every direct dependency at its floor, on the oldest Python; the floors of pyproject.toml
  are those that pass.
- `3.12`, `3.13`, `3.14`: the pinned packages of constraints.txt.
- `neighbours`: the newest release of other packages resolves together with this one.

Each runs in an environment of its own in FOLDER, with the unit and property tests. An interpreter
that uv neither finds nor can download is named as not tried; the paths of interpreters that uv does
not find can be given in CROSSGRADE_PYTHONS, separated as in PATH.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import uv

ROOT = Path(__file__).parents[1]
UV = uv.find_uv_bin()
EXTRAS = ("clickhouse", "duckdb", "excel", "local", "long-context", "parquet", "postgres", "redis", "report")
EXTRAS += ("seal", "serve", "uvloop")
NEIGHBOURS = ("crewai", "deepeval", "instructor", "litellm[proxy]", "vllm")
OLDEST = "3.11"
PINNED = ("3.12", "3.13", "3.14")
TESTS = ("-m", "not slow", "-p", "no:cacheprovider", "tests/unit", "tests/property")


def quietly(*command: str, text: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run uv and return how it ended."""
    return subprocess.run([UV, *command], input=text, capture_output=True, text=True, cwd=ROOT, check=False)


def interpreter(version: str) -> str:
    """Return what names a Python for uv: a path of CROSSGRADE_PYTHONS, or the version."""
    for path in filter(None, os.environ.get("CROSSGRADE_PYTHONS", "").split(os.pathsep)):
        told = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
        if told.startswith(f"Python {version}."):
            return path
    return version


def tested(name: str, version: str, options: list[str], folder: Path) -> bool | None:
    """Install into an environment and run the tests; None where there is no such Python."""
    place = folder / name
    made = quietly("venv", "--clear", "--seed", "--python", interpreter(version), str(place))
    if made.returncode:
        print(f"{name}: not tried: {made.stderr.strip().splitlines()[0]}", flush=True)
        return None
    python, pins = str(place / "bin" / "python"), str(place / "pins.txt")
    wheels = ("--only-binary", ":all:")
    wanted = [*(word for extra in EXTRAS for word in ("--extra", extra)), "--group", "test", "pyproject.toml"]
    steps = (
        ("compile", *wheels, *options, *wanted, "--python", python, "-o", pins),
        ("sync", *wheels, "--compile-bytecode", "--python", python, pins),
        ("install", "--python", python, "--no-deps", "--editable", "."),
    )
    for step in steps:
        done = quietly("pip", *step)
        if done.returncode:
            print(f"{name}: failed: {done.stderr.strip()}", flush=True)
            return False
    print(f"==> {name}: {TESTS[-2]} and {TESTS[-1]} on Python {version}", flush=True)
    workers = os.environ.get("CROSSGRADE_TEST_WORKERS", "2")
    command = [python, "-m", "pytest", "-n", workers, "--dist", "worksteal", *TESTS]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def resolves(neighbour: str) -> bool:
    """Tell whether a neighbour's newest release shares an environment with every extra of ours."""
    options = ("pip", "compile", "-", "--python-version", PINNED[0], "--no-header", "--no-annotate")
    name = neighbour.partition("[")[0]
    alone = quietly(*options, text=neighbour)
    release = re.search(rf"(?m)^{re.escape(name)}==(\S+)$", alone.stdout)
    if release is None:
        print(f"{neighbour}: failed alone: {alone.stderr.strip()}", flush=True)
        return False
    together = quietly(*options, text=f"{neighbour}=={release[1]}\ncrossgrade[all] @ {ROOT.as_uri()}")
    said = f"failed: {together.stderr.strip()}" if together.returncode else "shares an environment"
    print(f"{neighbour} {release[1]}: {said}", flush=True)
    return not together.returncode


def main(folder: str, *names: str) -> int:
    """Try what is asked for, everything without names; 1 when anything failed."""
    place = Path(folder).absolute()
    place.mkdir(parents=True, exist_ok=True)
    results: dict[str, bool | None] = {}
    for name in names or ("neighbours", "lowest", *PINNED):
        if name == "neighbours":
            results[name] = False not in [resolves(each) for each in NEIGHBOURS]
        elif name == "lowest":
            results[name] = tested(name, OLDEST, ["--resolution", "lowest-direct"], place)
        else:
            results[name] = tested(name, name, ["--constraint", "constraints.txt"], place)
    words = {True: "passed", False: "FAILED", None: "not tried"}
    print("==> " + ", ".join(f"{name} {words[result]}" for name, result in results.items()))
    return int(False in results.values())


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
