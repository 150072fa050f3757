"""`crossgrade port` where it meets a planted link, a tuning that has ended, or a reflection model that fails."""

from tests.e2e.driving import CommandLine, Project
from tests.e2e.test_port import failed

__all__ = ["failed"]  # a fixture


def test_the_page_is_never_written_through_a_link(cli: CommandLine, failed: Project) -> None:
    precious = failed.folder.parent / "precious.txt"
    precious.write_text("precious")
    page = failed.folder / "crossgrade-port-echo-new.html"
    page.symlink_to(precious)
    cli.succeeds("port", "echo", "--candidate", "new", "--variants", "4", "--yes")
    assert precious.read_text() == "precious"
    assert "<html" in page.read_text()
