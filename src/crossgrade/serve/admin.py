"""The admin process: `python -m crossgrade.serve.admin SETTINGS CONFIG`, on a loopback port of its own."""

import os
import sys
import time
from pathlib import Path

from crossgrade.errors import CrossgradeError, MissingExtraError, UsageError
from crossgrade.gateway import read_settings
from crossgrade.project import Project
from crossgrade.telemetry import log_line

ADMIN_KEY_ENV = "CROSSGRADE_ADMIN_KEY"
"""The variable with the admin API's key; without it there is no admin API."""

_SHORTEST_KEY = 16


def main() -> None:
    """Serve the admin API until SIGTERM."""
    try:
        _serve(Path(sys.argv[1]), sys.argv[2])
    except CrossgradeError as error:
        line = log_line("admin", at=time.time(), level="error", error=error.message, hint=error.hint)
        print(line, file=sys.stderr)
        sys.exit(error.exit_code)


def _serve(settings_path: Path, config_path: str) -> None:
    try:
        import uvicorn

        from crossgrade.serve._admin import build_admin
    except ModuleNotFoundError as error:
        raise MissingExtraError("the admin API", "serve") from error
    settings = read_settings(settings_path)
    key = os.environ.get(ADMIN_KEY_ENV, "")
    if len(key) < _SHORTEST_KEY or not key.isascii() or not key.isprintable():
        raise UsageError(
            f"{ADMIN_KEY_ENV} is no usable key: it has to be {_SHORTEST_KEY} or more printable characters",
            code="admin-key-invalid",
            hint=f"export {ADMIN_KEY_ENV}=$(openssl rand -hex 24)",
        )
    with Project.open(config_path) as project:
        project.store.routes.current()  # opens the store, and raises what is wrong with it
        uvicorn.run(
            build_admin(project, settings, key),
            host="127.0.0.1",
            port=settings.serving.admin_port,
            http="h11",  # httptools' server merges trailers into headers
            ws="none",
            lifespan="off",
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=32,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=5,
        )


if __name__ == "__main__":
    main()
