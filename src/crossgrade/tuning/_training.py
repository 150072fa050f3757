"""Trains an adapter in a child process and a folder of its own: resumes by itself, writes the GGUF file."""

import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import IO, Any, NoReturn

import msgspec

from crossgrade.calls import digest
from crossgrade.errors import (
    CrossgradeError,
    DataError,
    MissingExtraError,
    StoreError,
    UsageError,
    unreadable,
)
from crossgrade.tuning._base_model import (
    BaseModel,
    TrainingSettings,
    check_memory,
    free_memory_bytes,
    out_of_memory,
)
from crossgrade.tuning._checkpoints import Checkpoints, keep_file
from crossgrade.tuning._lora_file import MOST_VALUE, read_safetensors, write_adapter
from crossgrade.tuning._training_set import TrainingOrder, TrainingSet

METHOD = 1
"""Counts the changes after which the same order gives another adapter."""

NEEDED = ("torch", "transformers", "peft", "safetensors", "gguf")
"""The packages of the extra `distil`."""

CHILD = (sys.executable, "-P", "-m", "crossgrade.tuning.training_child")

_WAITING = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
"""OpenMP's variables that keep waiting threads from using the cores."""

PATIENCE_S = 60.0
"""How long a training waits for what is left of its part before, which may have to end a step."""

_PAUSE_S = 0.2
_STOP_S = 60.0
_TAIL_BYTES = 16 * 2**10


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """How far a training is: the step, its loss (None: not known), and seconds since this part began."""

    step: int
    steps: int
    loss: float | None
    seconds: float
    resumed_from: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedAdapter:
    """A finished training: the adapter's file, and what it took over all its parts.

    `cpu_seconds` and `seconds` do not count parts whose parent was killed. `losses` are of the steps that
    this and earlier parts told of.
    """

    path: Path
    sha256: str
    steps: int
    examples: int
    too_long: int
    cpu_seconds: float
    seconds: float
    memory_bytes: int | None
    parts: int
    device: str
    losses: Mapping[int, float] = field(default_factory=dict)


class _Part(msgspec.Struct, kw_only=True):
    """One part of a training, from its start to its end or interruption."""

    begun_from: int
    reached: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    memory_bytes: int | None = None


class _Record(msgspec.Struct, kw_only=True):
    """What the folder of a training says of it."""

    job: str
    base_sha256: str
    examples_digest: str
    settings: TrainingSettings
    parts: list[_Part] = []
    examples: int = 0
    too_long: int = 0
    device: str = "cpu"
    losses: dict[int, float] = {}


def check_installed() -> None:
    """Raise `MissingExtraError` unless the packages of the extra `distil` are installed."""
    if any(find_spec(each) is None for each in NEEDED):
        raise MissingExtraError("training an adapter", "distil")


class Training:
    """One training: what is trained on what, and the folder in which it goes on where it stopped.

    `id` names it by its content: the same base, examples and settings are the same training.
    """

    def __init__(
        self,
        base: BaseModel,
        training_set: TrainingSet,
        settings: TrainingSettings,
        *,
        home: Path,
        stops: tuple[str, ...] = (),
    ) -> None:
        self.base, self.training_set, self.settings, self._stops = base, training_set, settings, stops
        named = replace(settings, threads=1)  # which changes the time, and last bits of sums at most
        self.id = digest((METHOD, base.sha256, training_set.digest, named, stops))[:16]
        self.folder = home / self.id

    @property
    def adapter_path(self) -> Path:
        """Where the finished adapter is."""
        return self.folder / "adapter.gguf"

    @property
    def step(self) -> int:
        """The step from which it goes on."""
        if self.adapter_path.exists():
            return self.settings.steps
        return Checkpoints(self.folder).newest() if self.folder.is_dir() else 0

    def run(
        self,
        *,
        texts: Mapping[str, str] = MappingProxyType({}),
        on_progress: Callable[[TrainingProgress], None] = lambda _: None,
        memory_bytes: int | None = None,
    ) -> TrainedAdapter:
        """Train to the last step, from the newest checkpoint; an adapter that is finished is returned.

        `texts` go into the metadata of the adapter's file. `memory_bytes` is what may be used (None: what is
        free). Whatever ends it early, the newest checkpoint is kept: the same call goes on from there.

        Raises `MissingExtraError` without the extra `distil`, and `UsageError` with what would fit if there
        is too little memory, or if the loss is not finite. A folder is used by one process at a time.
        """
        check_installed()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(
                f"the folder of the training cannot be made: {error.strerror}", code="training-folder"
            ) from error
        with self._locked() as lock:
            record = self._record()
            if not self.adapter_path.exists():
                check_memory(self.base, self.settings, memory_bytes or free_memory_bytes())
                if not (self.folder / "adapter.safetensors").exists():
                    self._train(record, on_progress, lock)
                self._convert(texts)
            return self._trained(record)

    def _record(self) -> _Record:
        path = self.folder / "training.json"
        if path.exists():
            try:
                return msgspec.json.decode(path.read_bytes(), type=_Record)
            except (OSError, msgspec.MsgspecError) as error:
                raise DataError(
                    "the record of the training cannot be read",
                    code="training-record-invalid",
                    file=path,
                    hint="delete the folder of this training: it then begins anew",
                ) from error
        return _Record(
            job=self.id,
            base_sha256=self.base.sha256,
            examples_digest=self.training_set.digest,
            settings=self.settings,
        )

    def _keep(self, record: _Record) -> None:
        content = msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"
        keep_file(self.folder / "training.json", lambda path: path.write_bytes(content))

    def _train(self, record: _Record, on_progress: Callable[[TrainingProgress], None], lock: IO[str]) -> None:
        examples = self.folder / "examples.jsonl"
        keep_file(examples, lambda path: path.write_bytes(self.training_set.jsonl()))
        order = TrainingOrder(
            base=self.base.path,
            examples=str(examples),
            folder=str(self.folder),
            settings=self.settings,
            stops=self._stops,
        )
        part = _Part(begun_from=Checkpoints(self.folder).newest())
        record.parts.append(part)
        self._keep(record)  # a part that is killed counts too
        began, used = time.monotonic(), _children_seconds()
        try:
            with _child(order, lock) as (process, log):
                self._follow(process, log, record, on_progress)
        finally:
            part.seconds = time.monotonic() - began
            part.cpu_seconds = _children_seconds() - used
            part.reached = Checkpoints(self.folder).newest()
            self._keep(record)

    def _follow(
        self,
        process: "subprocess.Popen[bytes]",
        log: IO[bytes],
        record: _Record,
        on_progress: Callable[[TrainingProgress], None],
    ) -> None:
        """Read what the child says until it has ended. Raises unless it was done."""
        assert process.stdout is not None
        part, began = record.parts[-1], time.monotonic()
        for line in process.stdout:
            event: dict[str, Any] = json.loads(line)
            kind = event["event"]
            if kind == "loaded":
                record.examples, record.too_long = event["examples"], event["too_long"]
                record.device, part.begun_from = event["device"], event["step"]
            elif kind == "failed":
                self._refuse(event)
            elif kind == "done":
                part.memory_bytes = event["memory_bytes"]
                return
            elif kind == "step":
                record.losses[event["step"]] = round(event["loss"], 5)
                on_progress(
                    TrainingProgress(
                        step=event["step"],
                        steps=self.settings.steps,
                        loss=event["loss"],
                        seconds=time.monotonic() - began,
                        resumed_from=part.begun_from,
                    )
                )
        self._ended(process.wait(), log)

    def _refuse(self, event: Mapping[str, Any]) -> NoReturn:
        kind = event["kind"]
        if kind == "out-of-memory":
            raise out_of_memory(self.base, self.settings, None)
        if kind == "not-finite":
            raise self._diverged(event["message"])
        raise UsageError(
            str(event["message"]),
            code="training-examples-long",
            hint=f"allow longer ones: --max-tokens {2 * self.settings.max_tokens}",
        )

    def _diverged(self, seen: str) -> UsageError:
        return UsageError(
            f"{seen}: the training has diverged",
            code="training-diverged",
            hint=f"train anew with a lower rate: --learning-rate {self.settings.learning_rate / 4:g}",
        )

    def _ended(self, code: int, log: IO[bytes]) -> NoReturn:
        if code == -9:
            raise out_of_memory(self.base, self.settings, None)
        size = os.fstat(log.fileno()).st_size
        tail = os.pread(log.fileno(), _TAIL_BYTES, max(0, size - _TAIL_BYTES)).decode("utf-8", "replace")
        said = next((line.strip() for line in reversed(tail.splitlines()) if line.strip()), "it said nothing")
        raise CrossgradeError(
            f"the training ended early (exit code {code}): {said[:300]}",
            code="training-ended",
            hint="run the same command again: it goes on from the newest checkpoint",
        )

    def _convert(self, texts: Mapping[str, str]) -> None:
        """Write the GGUF file, and delete what only the training needed."""
        tensors = read_safetensors(self.folder / "adapter.safetensors")
        most = max((float(abs(each).max(initial=0.0)) for each in tensors.values()), default=0.0)
        if not most <= MOST_VALUE:
            raise self._diverged(f"a weight of the adapter is {most:.3g}")
        write_adapter(self.adapter_path, tensors, self.base.layout, alpha=self.settings.scale, texts=texts)
        Checkpoints(self.folder).clear()
        base = self.folder / "base"
        for each in base.iterdir() if base.is_dir() else ():
            each.unlink()
        with contextlib.suppress(OSError):
            base.rmdir()

    def _trained(self, record: _Record) -> TrainedAdapter:
        from crossgrade.providers.adapters import read_adapter

        return TrainedAdapter(
            path=self.adapter_path,
            sha256=read_adapter(self.adapter_path).sha256,
            steps=self.settings.steps,
            examples=record.examples,
            too_long=record.too_long,
            cpu_seconds=sum(each.cpu_seconds for each in record.parts),
            seconds=sum(each.seconds for each in record.parts),
            memory_bytes=max((each.memory_bytes or 0 for each in record.parts), default=0) or None,
            parts=len(record.parts),
            device=record.device,
            losses=record.losses,
        )

    @contextmanager
    def _locked(self) -> Iterator[IO[str]]:
        """Keep other processes out of the folder.

        A child that outlives its parent saves, and ends after its step: it is waited for.
        """
        try:
            handle = (self.folder / ".lock").open("w")
        except OSError as error:
            raise unreadable(self.folder / ".lock", error) from error
        with handle:
            if not _taken(handle):
                raise UsageError(
                    f"the training {self.id} goes on in another process",
                    code="training-running",
                    hint="wait for it, or end it: the same command then goes on where it stopped",
                )
            yield handle


def _taken(handle: IO[str]) -> bool:
    """Return whether a file could be locked within `PATIENCE_S`."""
    import fcntl

    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(_PAUSE_S)
        else:
            return True


@contextmanager
def _child(order: TrainingOrder, lock: IO[str]) -> "Iterator[tuple[subprocess.Popen[bytes], IO[bytes]]]":
    """Start the child; at the end close its input, so that it saves, and kill it if it does not end."""
    with tempfile.TemporaryFile(prefix="crossgrade-training-") as log:
        process = subprocess.Popen(  # noqa: S603 -- this Python, with a module of this package
            CHILD,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **_WAITING},
            pass_fds=(lock.fileno(),),  # the folder is free when the child has ended too
            start_new_session=True,  # so that Ctrl-C does not end it before it has saved
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(msgspec.json.encode(order) + b"\n")
                process.stdin.flush()
            yield process, log
        finally:
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                pass
            finally:  # a second Ctrl-C too
                process.kill()
                process.wait()
                process.stdout.close()


def _children_seconds() -> float:
    """Return the processor time of all children that have ended, in seconds."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
