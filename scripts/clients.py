"""Install the clients of tests/clients/clients.txt: `python scripts/clients.py FOLDER [NAME...]`.

Each gets an environment of its own, `FOLDER/client-NAME`; one that is there already is kept. Which
Python packages a client pulls in is not pinned here: a user's installation is not either.
"""

import shutil
import subprocess
import sys
from pathlib import Path

LIST = Path(__file__).parents[1] / "tests" / "clients" / "clients.txt"


def wanted(names: list[str]) -> list[tuple[str, list[str]]]:
    """Return (name, packages) rows of the list, those of `names` alone where any are given."""
    lines = LIST.read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines if line and not line.startswith("#")]
    return [(name, packages) for name, *packages in rows if not names or name in names]


def install(name: str, packages: list[str], folder: Path) -> None:
    """Install one client; its folder gets its name only when the installation is complete."""
    place = folder / f"client-{name}"
    if (place / ".installed").exists():
        return
    print(f"==> {' '.join(packages)}", flush=True)
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    if name.startswith("node"):
        npm = shutil.which("npm")
        assert npm, "npm is not installed"
        (place / "package.json").write_text("{}")
        subprocess.run([npm, "install", "--silent", "--no-audit", *packages], cwd=place, check=True)
    else:
        subprocess.run([sys.executable, "-m", "venv", str(place)], check=True)
        pip = [str(place / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "-q"]
        subprocess.run([*pip, *packages], check=True)
    (place / ".installed").touch()


def main(folder: str, *names: str) -> None:
    """Install what is asked for, one after the other."""
    for name, packages in wanted(list(names)):
        install(name, packages, Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
