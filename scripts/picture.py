"""Draw the README's picture: the report of its first example, by a headless Chromium.

`python scripts/picture.py` writes docs/pictures/report.png. Chromium must be on PATH.
"""

import shutil
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from crossgrade.domain import Usage
from crossgrade.project import decide_results
from crossgrade.report import write_report

ROOT = Path(__file__).parents[1]
PICTURE = ROOT / "docs" / "pictures" / "report.png"
SIZE = (1000, 900)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def main() -> int:
    """Write the picture; returns 1 without a browser."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        print("error: no Chromium on PATH", file=sys.stderr)
        return 1
    verdict = decide_results(
        ROOT / "src" / "crossgrade" / "data" / "demo" / "bfcl.csv.gz",
        incumbent="gpt-4o-2024-11-20",
        candidates=["llama-4-scout", "llama-4-maverick"],
        segment="segment",
        typical=Usage(input_tokens=500, output_tokens=50),
        requests_per_month=1_000_000,
        now=datetime.now(UTC),
    )
    PICTURE.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        page = write_report([verdict], Path(folder) / "report.html", title="Llama 4 for GPT-4o")
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu",
             f"--window-size={SIZE[0]},{SIZE[1]}", f"--screenshot={PICTURE}", page.resolve().as_uri()],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
