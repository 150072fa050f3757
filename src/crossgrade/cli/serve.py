"""`crossgrade serve`: the gateway that carries out what was decided."""

import click

from crossgrade.cli._frame import config_option
from crossgrade.cli._output import note


@click.command()
@click.option("--host", help="Address to listen on, instead of the configuration's.")
@click.option("--port", type=click.IntRange(1, 65_535), help="Port, instead of the configuration's.")
@click.option("--workers", type=click.IntRange(1, 256), help="Processes that serve; one a core.")
@click.option(
    "--open-on-loopback", is_flag=True, help="Serve this machine without keys; for trying things out."
)
@config_option
def command(
    host: str | None, port: int | None, workers: int | None, config_path: str, *, open_on_loopback: bool
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
    asyncio.run(Serve(config_path, overrides=overrides, on_event=note).run())
