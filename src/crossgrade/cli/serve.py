"""`crossgrade serve`: the gateway that carries out what was decided."""

import time
from typing import Literal

import click

from crossgrade.cli._frame import config_option
from crossgrade.cli._output import note


@click.command()
@click.option("--host", help="Address to listen on, instead of the configuration's.")
@click.option(
    "--port", type=click.IntRange(1, 65_535), metavar="PORT", help="Port, instead of the configuration's."
)
@click.option("--workers", type=click.IntRange(1, 256), metavar="N", help="Processes that serve; one a core.")
@click.option(
    "--open-on-loopback", is_flag=True, help="Serve this machine without keys; for trying things out."
)
@click.option(
    "--log-json", "logs_json", is_flag=True, help="Write all that happens as lines of JSON, as workers do."
)
@config_option
def command(
    host: str | None,
    port: int | None,
    workers: int | None,
    config_path: str,
    *,
    open_on_loopback: bool,
    logs_json: bool,
) -> None:
    """Serve the project's routes as an OpenAI-compatible API.

    Sends each request where the certified policy says, within budgets and limits, until SIGTERM
    or Ctrl-C; requests in flight are then finished. SIGHUP reads the configuration again. What
    happens is written to stderr, one line each. Without keys (`crossgrade keys create`) nobody
    is let in.
    """
    import asyncio

    from crossgrade.serve import Serve

    given = {"host": host, "port": port, "workers": workers, "open_on_loopback": open_on_loopback or None}
    overrides = {name: value for name, value in given.items() if value is not None}
    on_event = _log if logs_json else note
    asyncio.run(Serve(config_path, overrides=overrides, on_event=on_event).run())


def _log(event: str) -> None:
    from crossgrade.telemetry import log_line

    level: Literal["info", "warning"] = "warning" if event.startswith(("warning", "not reloaded")) else "info"
    click.echo(log_line("serve", at=time.time(), level=level, message=event), err=True)
