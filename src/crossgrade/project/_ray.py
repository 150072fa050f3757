"""The only file that knows Ray: work is applied to items, and models are asked, on the nodes of a cluster.

The work is the same function as on one machine, and results come back in order, so nothing that is computed
depends on the cluster. Scheduling, retries and lost nodes are Ray's. A cluster must be trusted: Ray runs what
it is sent, and its connections are not encrypted.
"""

import asyncio
import logging
import os
import platform
import shutil
import socket
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import gettempdir
from threading import Lock
from time import monotonic, sleep, time
from typing import Any, TypeVar
from urllib.parse import urlsplit

from crossgrade._version import __version__
from crossgrade.domain import Offer
from crossgrade.errors import CrossgradeError, MissingExtraError, UsageError, said_by, unreadable
from crossgrade.project._ray_desk import Desk
from crossgrade.project._ray_models import Call, DeskLostError, Place, at_node, open_on_nodes
from crossgrade.providers import LocalSettings, Provider, usable_cores
from crossgrade.providers.models import ModelShelf
from crossgrade.workloads.files import is_local
from crossgrade.workloads.traffic import AHEAD, LogPart, ReadPart, in_order, log_path

LOCAL = "ray"
"""The name of a cluster on this machine, which is started for the work and ends with it."""

_SCHEME = "ray"
_PORT = 10001
_CONNECT_S = 5.0
_RETRIES = 3
_PATIENCE_S = 60.0

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What a node of a cluster has.

    `cores` are those that Ray may use, `clock_ahead_s` is its clock less ours, `free_disk_bytes` what is left
    in its temporary folder. `models` are the local models that are installed there. `keys` are the names of
    those variables that are set there, of the ones that were asked for.
    """

    name: str
    cores: float
    python: str
    crossgrade: str
    clock_ahead_s: float
    free_disk_bytes: int
    models: tuple[str, ...]
    keys: tuple[str, ...]


class RayCluster:
    """A connection to a cluster."""

    def __init__(self, ray: Any) -> None:
        self._ray = ray
        self._applied = ray.remote(num_cpus=1, max_retries=_RETRIES)(_applied)
        self._desks: dict[str, Place] = {}
        self._placing = Lock()

    def run(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Apply a function to items on the nodes, and yield the results in order, as `map` does.

        Twice as many items as cores are under way. An item whose node is lost is applied again elsewhere.
        Raises what the function raises, and `CrossgradeError` (`worker-lost`) for an item whose process was
        lost four times.
        """
        from ray.exceptions import RayError, RayTaskError

        most = AHEAD * max(1, int(self._ray.cluster_resources().get("CPU", 1)))
        shared = self._ray.put(function)
        try:
            yield from in_order(
                items,
                partial(self._applied.remote, shared),
                self._ray.get,
                self._cancel,
                most=most,
            )
        except RayTaskError as error:
            if isinstance(error.cause, CrossgradeError):
                raise error.cause from error
            raise
        except RayError as error:
            raise _lost(error) from error

    def _cancel(self, result: Any) -> None:
        """Cancel what computes a result; a lost cluster computes nothing any more."""
        with suppress(Exception):  # see `_is_loss`
            self._ray.cancel(result, force=True)

    def read(self, function: Callable[[LogPart], ReadPart], parts: Iterable[LogPart]) -> Iterator[ReadPart]:
        """Apply a function to parts of a log as `run` does, once every node is known to have their files.

        A path of this machine is made absolute, since processes of Ray have working folders of their own.
        """
        waiting = [
            replace(part, path=part.path.absolute()) if is_local(part.path) else part for part in parts
        ]
        self.check_files(list({part.path: None for part in waiting}))
        return self.run(function, waiting)

    def open_provider(
        self,
        offer: Offer,
        *,
        environ: Mapping[str, str],  # noqa: ARG002 -- a node has its own
        measure_ttft: bool = False,
        root: Path | None = None,
        local: LocalSettings | None = None,
        key_needed: bool = True,
    ) -> AbstractAsyncContextManager[Provider]:
        """Open an offer on the nodes, as `providers.open_provider` does here; see `open_on_nodes`.

        Keys are those of the nodes, so nothing of `environ` is sent to them.
        """
        return open_on_nodes(
            offer,
            self._place_desks,
            measure_ttft=measure_ttft,
            root=root,
            local=local,
            key_needed=key_needed,
        )

    def _place_desks(self) -> list[Place]:
        """Return the desks of all nodes that are alive. Ray starts one again whose process is lost."""
        make = self._ray.remote(num_cpus=0, max_restarts=_RETRIES, max_task_retries=0)(Desk)
        with self._placing:
            alive = {node["NodeID"]: node for node in self._ray.nodes() if node["Alive"]}
            self._desks = {
                name: place for name, place in self._desks.items() if name in alive and not place.is_lost
            }
            for name, node in alive.items():
                if name not in self._desks:
                    desk = make.options(**_only_on(node)).remote()
                    self._desks[name] = Place(
                        node=node["NodeManagerHostname"], call=_caller(desk), handle=desk
                    )
            return list(self._desks.values())

    def close(self) -> None:
        """End the desks. A child process that runs a model ends with its desk."""
        for each in self._desks.values():
            with suppress(Exception):  # a lost cluster has none, see `_is_loss`
                self._ray.kill(each.handle)

    def nodes(self, variables: Sequence[str] = ()) -> tuple[NodeFacts, ...]:
        """Return what each node has, by its name; `variables` are names whose values it may have."""
        found = []
        for node, facts in self._on_each(_facts, list(variables)):
            began = time()
            clock = self._on_each(time, only=node["NodeID"])
            if not clock:
                continue  # lost meanwhile
            ((_, there),) = clock
            found.append(
                NodeFacts(
                    name=node["NodeManagerHostname"],
                    cores=float(node["Resources"].get("CPU", 0)),
                    clock_ahead_s=there - (began + time()) / 2,
                    **facts,
                )
            )
        return tuple(sorted(found, key=lambda each: each.name))

    def check_files(self, paths: Sequence[Path]) -> None:
        """Raise `CrossgradeError` (`file-not-on-node`) unless every node has these files in the same size."""
        sizes = []
        for path in paths:
            try:
                sizes.append(path.stat().st_size)
            except OSError as error:
                raise unreadable(path, error) from error
        names = [str(path.absolute() if is_local(path) else path) for path in paths]
        for node, found in self._on_each(_sizes, names):
            for path, here, there in zip(paths, sizes, found, strict=True):
                if here != there:
                    seen = (
                        "does not have it, or may not read it"
                        if there is None
                        else f"has {there:,} bytes of it, here are {here:,}"
                    )
                    raise CrossgradeError(
                        f"{path}: the node {node['NodeManagerHostname']} {seen}",
                        code="file-not-on-node",
                        hint="put the log where every node may read it under the same path",
                    )

    def _on_each(
        self, function: Callable[..., Any], *arguments: Any, only: str | None = None
    ) -> list[tuple[dict[str, Any], Any]]:
        """Run a function on every node that is alive (or on one), and return each node with the result.

        A node that was just lost counts as alive for some seconds. So nodes are asked until they answer or
        are known to be gone. What the function raises there is raised here, with the node named.
        """
        from ray.exceptions import RayError, RayTaskError

        ask = self._ray.remote(num_cpus=0, max_retries=0)(_called)
        found: list[tuple[dict[str, Any], Any]] = []
        failed: dict[str, RayError] = {}
        deadline = monotonic() + _PATIENCE_S
        while True:
            done = {node["NodeID"] for node, _ in found}
            asked = [
                (
                    node,
                    ask.options(**_only_on(node)).remote(function, *arguments),
                )
                for node in self._ray.nodes()
                if node["Alive"] and node["NodeID"] not in done and only in (None, node["NodeID"])
            ]
            failed.clear()
            for node, answer in asked:
                name = node["NodeManagerHostname"]
                try:
                    found.append((node, self._ray.get(answer, timeout=_PATIENCE_S)))
                except RayTaskError as error:
                    is_ours = isinstance(error.cause, CrossgradeError)
                    raise (at_node if is_ours else _unusable_node)(name, error.cause) from error
                except RayError as error:
                    failed[name] = error
            if not failed:
                return found
            if monotonic() > deadline:
                break
            sleep(1.0)
        name, why = next(iter(failed.items()))
        raise _unusable_node(name, why) from why


@contextmanager
def on_ray(address: str, *, only_look: bool = False, folder: Path | None = None) -> Iterator[RayCluster]:
    """Connect to a cluster: `ray` starts one on this machine, `ray://HOST:10001` names one that runs.

    With `only_look` nodes may have other versions, as long as they can be asked. Work runs in a copy of
    `folder`, which Ray brings to the nodes (None: in a folder of Ray's).

    Raises `MissingExtraError` without Ray, `UsageError` for another address, and `CrossgradeError` if the
    cluster cannot be started (`ray-not-started`) or reached (`ray-unreachable`), has another version of
    Crossgrade, Python or Ray (`ray-versions`), or is lost inside the block (`worker-lost`).
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers about the cluster
    os.environ["RAY_ENABLE_AUTO_CONNECT"] = "0"  # whoever lost a cluster would be joined to another
    _check_address(address)
    try:
        import ray
    except ImportError:
        raise MissingExtraError("working on Ray", "ray") from None
    logging.getLogger("ray").setLevel(logging.CRITICAL)  # what is lost is said here
    logging.getLogger("ray.util.client.logsclient").disabled = True  # it has a level of its own
    where: dict[str, Any] = {"address": address}
    if address == LOCAL:  # one of its own, even where this machine is a node of another
        where = {"address": "local", "num_cpus": usable_cores(), "include_dashboard": False}
    if folder is not None:
        where["runtime_env"] = {"working_dir": str(folder)}
    try:
        try:
            _connect(partial(ray.init, **where, log_to_driver=False, logging_level=logging.CRITICAL))
        except (OSError, RuntimeError) as error:
            raise _unusable(address, error) from error
        cluster = RayCluster(ray)
        if not only_look:
            _check_versions(cluster.nodes())
        with closing(cluster):
            yield cluster
    except Exception as error:
        if not _is_loss(error):
            raise
        raise _lost(error) from error
    finally:
        ray.shutdown()


def _is_loss(error: Exception) -> bool:
    """Return whether Ray says that its cluster is lost: its client raises the bare classes."""
    from ray.exceptions import RayError, RayTaskError

    if type(error) in {ConnectionError, Exception}:
        return True
    return isinstance(error, RayError) and not isinstance(error, RayTaskError)


def _lost(error: Exception) -> CrossgradeError:
    return CrossgradeError(
        f"the cluster, or a part of the work, is lost: {said_by(error)}",
        code="worker-lost",
        hint="look at the nodes' memory and logs, then run the command again, with `--resume` if it has that",
    )


def _check_address(address: str) -> None:
    """Raise `UsageError` for an address of no cluster, and `CrossgradeError` if nothing listens there.

    Ray's client itself tries for half a minute, whatever the address is, and does not say why.
    """
    if address == LOCAL:
        return
    try:
        place = urlsplit(address)
        named = place.scheme == _SCHEME and address == f"{_SCHEME}://{place.netloc}" and "@" not in address
        host, port = place.hostname if named else None, place.port or _PORT
    except ValueError:  # a port that is no number
        host, port = None, 0
    if not host:
        raise UsageError(
            f"{address!r} is no cluster",
            code="cluster-unknown",
            hint="`ray` starts one on this machine, `ray://HOST:10001` names one that runs",
        )
    deadline = monotonic() + _CONNECT_S
    while True:
        try:
            socket.create_connection((host, port), timeout=_CONNECT_S).close()
        except OSError as error:
            # `ray start` ends some seconds before its port is open.
            if not isinstance(error, ConnectionRefusedError) or monotonic() > deadline:
                raise _unusable(address, error) from error
            sleep(0.5)
        else:
            return


def _unusable(address: str, error: Exception) -> CrossgradeError:
    """Return the error of a cluster that cannot be started or connected to."""
    if address == LOCAL:
        return CrossgradeError(
            f"Ray does not start on this machine: {said_by(error)}",
            code="ray-not-started",
            hint="make room on its disk, and look at the permissions of Ray's folder, /tmp/ray",
        )
    if isinstance(error, OSError):
        return CrossgradeError(
            f"no cluster answers at {address}: {said_by(error)}",
            code="ray-unreachable",
            hint="start one with `ray start --head`, and open its port 10001",
        )
    return CrossgradeError(
        f"the cluster at {address} cannot be used: {said_by(error)}",
        code="ray-versions",
        hint="use the same Python and Ray here and on the cluster",
    )


def _unusable_node(name: str, why: BaseException) -> CrossgradeError:
    return CrossgradeError(
        f"the node {name} does not answer: {said_by(why)}",
        code="node-unusable",
        hint=f"install crossgrade {__version__} on every node, and look at Ray's logs",
    )


def _connect(connect: Callable[[], object]) -> None:
    """Connect, and try again where the cluster answers that it could not start a server for this client.

    Ray starts one by a fork of a process with threads, which fails now and then.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Ray warns of what it raises
        for _ in range(_RETRIES):
            try:
                connect()
            except ConnectionAbortedError:
                continue
            return
        connect()


def _check_versions(nodes: Sequence[NodeFacts]) -> None:
    for node in nodes:
        if node.crossgrade != __version__ or node.python != platform.python_version():
            raise CrossgradeError(
                f"the node {node.name} has crossgrade {node.crossgrade} on Python {node.python}, here are "
                f"{__version__} and {platform.python_version()}",
                code="ray-versions",
                hint=f"install crossgrade {__version__} and the same Python on every node",
            )


def _only_on(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that tie a task or an actor to a node."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)}


def _caller(desk: Any) -> Call:
    """Return what calls a desk's method with an argument: it raises as the method, and `DeskLostError`."""
    from ray.exceptions import ActorDiedError, RayActorError, RayError, RayTaskError

    methods = {name: getattr(desk, name).remote for name in ("facts", "exchange", "embed", "close")}

    async def call(method: str, argument: Any) -> Any:
        answer = methods[method](argument).future()
        answer.cancel = lambda: False  # Ray sets its result even so, and prints the traceback of that
        try:
            return await asyncio.wrap_future(answer)
        except RayTaskError as error:
            if isinstance(error.cause, CrossgradeError):
                raise error.cause from None
            raise
        except RayActorError as error:
            raise DeskLostError(said_by(error), for_good=isinstance(error, ActorDiedError)) from error
        except (RayError, ConnectionError) as error:
            raise _lost(error) from error

    return call


def _applied(function: Callable[[Item], Result], item: Item) -> Result:
    return function(item)


def _called(function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function: Ray makes remote functions of Python's own functions only."""
    return function(*arguments)


def _facts(variables: Sequence[str]) -> dict[str, Any]:
    """Return what this node has. No value of a variable leaves it."""
    return {
        "python": platform.python_version(),
        "crossgrade": __version__,
        "free_disk_bytes": shutil.disk_usage(gettempdir()).free,
        "models": tuple(each.name for each in ModelShelf().installed()),
        "keys": tuple(name for name in variables if os.environ.get(name)),
    }


def _sizes(names: Sequence[str]) -> list[int | None]:
    """Return the sizes of files on this node in bytes, None for one that is not there or cannot be opened."""
    found: list[int | None] = []
    for name in names:
        path = log_path(name)
        try:
            if is_local(path):
                path.open("rb").close()  # Ray may run as another user
            found.append(path.stat().st_size)
        except OSError:
            found.append(None)
    return found
