"""Work on a cluster of two nodes of Ray, in a process of its own; prints what was seen as JSON.

A node is lost while its work is under way, and at the end the whole cluster. The arguments are a free port for
the cluster's own clients and a log, and the working directory is a project, which is not that of the cluster.
"""

import io
import json
import os
import sys
import time
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
os.environ["RAY_CLIENT_RECONNECT_GRACE_PERIOD"] = "1"

from crossgrade.cli import main
from crossgrade.errors import CrossgradeError, DataError
from crossgrade.project import on_ray


def slow(number: int) -> tuple[int, int]:
    """Return a square and the process that computed it."""
    time.sleep(0.3)
    return number * number, os.getpid()


def refuse(_number: int) -> None:
    """Raise an error of ours, as a node would."""
    raise DataError("not this one", code="file-missing")


def code_of(call: Any) -> str:
    """Return the code of the error that a call raises."""
    try:
        call()
    except CrossgradeError as error:
        return error.code
    return "none"


def lose(cluster: Any, address: str) -> None:
    """Lose all of a cluster while it works."""
    with on_ray(address) as nodes:
        for at, _ in enumerate(nodes.run(slow, range(100))):
            if at == 1:
                cluster.remove_node(cluster.head_node, allow_graceful=False)


def ran(*words: str) -> int:
    """Run a command in this process and return its exit code."""
    try:
        main(words)
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


def seen(port: int, log: Path) -> dict[str, Any]:
    """Return what the cluster did."""
    found: dict[str, Any] = {"nameless": code_of(lambda: on_ray("ray://").__enter__())}
    from ray.cluster_utils import Cluster  # only now, since it reads what `on_ray` sets

    project = Path.cwd()
    os.chdir(project.parent)
    cluster: Any = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "ray_client_server_port": port}
    )
    second = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    os.chdir(project)
    address = f"ray://127.0.0.1:{port}"
    with on_ray(address) as nodes:
        facts = nodes.nodes(["CROSSGRADE_TEST_KEY", "NOT_SET"])
        found["nodes"] = [[each.cores, each.keys, abs(each.clock_ahead_s) < 5] for each in facts]
        found["refused"] = code_of(lambda: list(nodes.run(refuse, [1])))
        nodes.check_files([log])
        found["refused_there"] = code_of(lambda: nodes._on_each(refuse, 1))
        found["missing"] = code_of(lambda: nodes.check_files([log.with_name("gone")]))
    found["evaluate"] = ran("evaluate", "echo", "--yes", "--on", address)
    with on_ray(address) as nodes:
        results, processes = [], set()
        for at, (square, process) in enumerate(nodes.run(slow, range(16))):
            results.append(square)
            processes.add(process)
            if at == 2:
                cluster.remove_node(second, allow_graceful=False)
        found["squares"], found["processes"] = results, len(processes)
    found["scan"] = ran("scan", log.name, "--on", address, "--output", "on-ray.json")
    told = io.StringIO()
    with redirect_stdout(told):
        ran("doctor", "--on", address, "--json")
    found["doctor"] = [
        (each["status"], each["seen"])
        for each in json.loads(told.getvalue())["checks"]
        if each["name"] == "node"
    ]
    key, session = os.environ["FAKE_API_KEY"].encode(), Path(cluster.head_node.get_session_dir_path())
    files = [each for each in session.rglob("*") if each.is_file()]
    found["files"] = len(files)
    found["with_key"] = [str(each) for each in files if key in each.read_bytes()]
    found["lost"] = code_of(lambda: lose(cluster, address))
    cluster.shutdown()
    return found


if __name__ == "__main__":
    out = json.dumps(seen(int(sys.argv[1]), Path(sys.argv[2])))
    print(f"\nseen {out}")
