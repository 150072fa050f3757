"""The peers, each installed into an environment of its own under .venvs/ and configured like ours."""

import functools
import json
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.gateway._server import NotMeasured, Target
from benchmarks.gateway._tools import EVENTS, free_port

_VENVS = Path(__file__).parents[2] / ".venvs"
_MODELS = ("mock", "mock-d50", "mock-d50-i10")
_KEY = "sk-bench-0f3a9d7c5e1b48a2b6d4c8e09f7a1b3c"
_BEARER = f"Authorization: Bearer {_KEY}"
_INSTALL_LIMIT_S = 900

_PORTKEY = {
    "private": True,
    "dependencies": {
        "@portkey-ai/gateway": "1.15.2",
        "@hono/node-server": "1.13.8",
        "@hono/node-ws": "1.2.0",
        "hono": "4.9.7",
    },
    "overrides": {
        "@hono/node-server": "$@hono/node-server",
        "@hono/node-ws": "$@hono/node-ws",
        "hono": "$hono",
    },
}
"""With the newest versions that its own package allows, it answers 500 to every stream."""

_NGINX = """
{user}
worker_processes 1;
daemon off;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;
  keepalive_requests 100000000;
  client_max_body_size 0;
  tcp_nodelay on;
  upstream mock {{ server 127.0.0.1:{upstream}; keepalive 512; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location / {{
      proxy_pass http://mock; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
      proxy_request_buffering {buffered};
    }}
  }}
}}
"""

_TENSORZERO_START = """
import signal, sys
from tensorzero.tensorzero import _start_http_gateway
gateway = _start_http_gateway(config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False)
print(gateway.base_url, flush=True)
signal.pause()
"""


def nginx(folder: Path, upstream: int, *, buffered: bool = True) -> Target:
    """Plain forwarding, one worker; request bodies buffered to disk as it does unless told otherwise."""
    program = _nginx()
    port = free_port()
    prefix = folder / f"nginx-{port}"
    prefix.mkdir()
    user = f"user {pwd.getpwuid(0).pw_name};" if os.getuid() == 0 else ""
    (prefix / "nginx.conf").write_text(
        _NGINX.format(
            user=user, folder=prefix, upstream=upstream, port=port, buffered="on" if buffered else "off"
        ),
        encoding="utf-8",
    )
    shown = subprocess.run([program, "-v"], capture_output=True, text=True, check=True).stderr
    return Target(
        name="nginx" if buffered else "nginx unbuffered",
        version=shown.strip().rsplit("/", 1)[-1],
        command=[str(program), "-p", str(prefix), "-e", "stderr", "-c", str(prefix / "nginx.conf")],
        port=port,
        events=EVENTS,
        bodies_only=not buffered,
    )


def litellm(folder: Path, upstream: int) -> Target:
    """One worker, production settings, its master key checked, no database and no callbacks."""
    bin_folder = _python_environment("litellm", "litellm[proxy]")
    port = free_port()
    models = [
        {
            "model_name": name,
            "litellm_params": {
                "model": f"openai/{name}",
                "api_base": f"http://127.0.0.1:{upstream}/v1",
                "api_key": "sk-upstream",
            },
        }
        for name in _MODELS
    ]
    config = {
        "model_list": models,
        "litellm_settings": {"num_retries": 0, "request_timeout": 600, "set_verbose": False, "callbacks": []},
        "general_settings": {
            "master_key": _KEY,
            "disable_spend_logs": True,
            "background_health_checks": False,
        },
    }
    (folder / "litellm.yaml").write_text(json.dumps(config), encoding="utf-8")
    command = [f"{bin_folder}/litellm", "--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1"]
    return Target(
        name="LiteLLM",
        version=_python_version(bin_folder, "litellm"),
        command=[*command, "--port", str(port), "--num_workers", "1", "--telemetry", "False"],
        port=port,
        headers=[_BEARER],
        environment={
            "NO_DOCS": "True",
            "DISABLE_ADMIN_UI": "True",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "PATH": f"{bin_folder}:{os.environ['PATH']}",
        },
    )


def tensorzero(folder: Path, upstream: int) -> Target:
    """The HTTP gateway that its Python package embeds, observability off; it picks its own port."""
    bin_folder = _python_environment("tensorzero", "tensorzero")
    lines = ["[gateway]", "observability.enabled = false"]
    for name in _MODELS:
        lines += [
            f"[models.{name}]",
            'routing = ["up"]',
            f"[models.{name}.providers.up]",
            'type = "openai"',
            f'api_base = "http://127.0.0.1:{upstream}/v1/"',
            f'model_name = "{name}"',
            'api_key_location = "env::MOCK_KEY"',
        ]
    (folder / "tensorzero.toml").write_text("\n".join(lines), encoding="utf-8")
    return Target(
        name="TensorZero",
        version=_python_version(bin_folder, "tensorzero"),
        command=[f"{bin_folder}/python", "-c", _TENSORZERO_START, str(folder / "tensorzero.toml")],
        path="/openai/v1/chat/completions",
        headers=[_BEARER],
        model="tensorzero::model_name::{}",
        environment={"MOCK_KEY": "sk-upstream"},
    )


def portkey(folder: Path, upstream: int) -> Target:  # noqa: ARG001  every peer is made from the same two things
    """Headless on Node.js; the upstream's address comes with each request, as its users send it."""
    home = _VENVS / "gateway-portkey"
    package = home / "node_modules" / "@portkey-ai" / "gateway"
    if not package.exists():
        home.mkdir(parents=True, exist_ok=True)
        (home / "package.json").write_text(json.dumps(_PORTKEY), encoding="utf-8")
        _install("Portkey", ["npm", "install", "--no-fund", "--no-audit", "--ignore-scripts"], home)
    node = shutil.which("node")
    if not node:
        raise NotMeasured("Node.js is not installed")
    port = free_port()
    return Target(
        name="Portkey",
        version=json.loads((package / "package.json").read_text(encoding="utf-8"))["version"],
        command=[node, str(package / "build" / "start-server.js"), f"--port={port}", "--headless"],
        port=port,
        headers=[
            _BEARER,
            "x-portkey-provider: openai",
            f"x-portkey-custom-host: http://127.0.0.1:{upstream}/v1",
        ],
        environment={"TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost", "NODE_ENV": "production"},
    )


PEERS: dict[str, Callable[[Path, int], Target]] = {
    "nginx": nginx,
    "nginx unbuffered": functools.partial(nginx, buffered=False),
    "TensorZero": tensorzero,
    "Portkey": portkey,
    "LiteLLM": litellm,
}


def _nginx() -> str:
    """The installed nginx, else Debian's package unpacked beside the other peers, not installed."""
    found = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if found:
        return found
    home = _VENVS / "gateway-nginx"
    program = home / "usr" / "sbin" / "nginx"
    if not program.exists():
        home.mkdir(parents=True, exist_ok=True)
        try:
            _install("nginx", ["apt-get", "download", "nginx"], home)
        except NotMeasured:
            _install("nginx's package list", ["apt-get", "update", "-qq"], home)
            _install("nginx", ["apt-get", "download", "nginx"], home)
        _install("nginx", ["dpkg-deb", "-x", str(next(home.glob("nginx_*.deb"))), str(home)], home)
    return str(program)


def _python_environment(name: str, package: str) -> Path:
    home = _VENVS / f"gateway-{name}"
    if not _version_of(home / "bin", name):
        home.mkdir(parents=True, exist_ok=True)
        _install(name, [sys.executable, "-m", "venv", str(home)], home)
        _install(name, [str(home / "bin" / "pip"), "install", "--quiet", package], home)
    return home / "bin"


def _version_of(bin_folder: Path, package: str) -> str:
    found = next(bin_folder.parent.glob(f"lib/python*/site-packages/{package}-*.dist-info"), None)
    return found.name.removesuffix(".dist-info").rsplit("-", 1)[1] if found else ""


def _python_version(bin_folder: Path, package: str) -> str:
    version = _version_of(bin_folder, package)
    if not version:
        raise NotMeasured(f"{package} is not in its environment after it was installed")
    return version


def _install(name: str, command: list[str], folder: Path) -> None:
    print(f"    installing {name}", file=sys.stderr, flush=True)
    try:
        ran = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_LIMIT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NotMeasured(f"{name} cannot be installed: {error}") from error
    if ran.returncode:
        last = (ran.stderr.strip() or ran.stdout.strip()).splitlines()[-1:] or [f"exit code {ran.returncode}"]
        raise NotMeasured(f"{name} cannot be installed: {last[0]}")
