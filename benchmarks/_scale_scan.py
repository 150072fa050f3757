"""Scan a log here, in two processes or on two nodes of Ray; print what it took as JSON."""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

from benchmarks._scale_cluster import nodes
from crossgrade.catalog import packaged_catalog
from crossgrade.workloads.traffic import Run, in_processes, scan_logs


@contextmanager
def on_two_nodes() -> Iterator[Run]:
    """Start a cluster of two nodes of one core, and yield what applies a function there."""
    with nodes(2) as started:
        import ray

        from crossgrade.project import RayCluster

        ray.init(address=started.cluster.address, log_to_driver=False)
        cluster = RayCluster(ray)
        list(cluster.run(abs, range(4)))  # a worker of each node has started
        yield cluster.run
        ray.shutdown()


def main() -> None:
    """Scan what the command line names."""
    path, texts, where = Path(sys.argv[1]), sys.argv[2] == "text", sys.argv[3]
    catalog = packaged_catalog()
    with on_two_nodes() if where == "ray" else in_processes(int(where)) as run:
        wall, cpu = time.perf_counter(), time.process_time()
        found = scan_logs([path], catalog=catalog, today=date(2026, 11, 25), texts=texts, run=run)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(json.dumps({"n": found.requests, "wall": wall, "cpu": cpu}))


if __name__ == "__main__":
    main()
