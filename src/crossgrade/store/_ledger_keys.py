"""The ledger's two secrets, which lie outside the database: the key that signs, and the one for texts."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from crossgrade.errors import StoreError, UsageError
from crossgrade.ledger import NoteSigner, NoteVerifier, WrappingKey

SIGNING_KEY_ENV = "CROSSGRADE_LEDGER_KEY"
TEXTS_KEY_ENV = "CROSSGRADE_LEDGER_TEXTS_KEY"
_MAX_BYTES = 4096
_Key = TypeVar("_Key")


class LedgerSecrets:
    """Reads the keys from the environment, else from `ledger.key` and `ledger-texts.key` in the folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, object] = {}

    @property
    def signing_path(self) -> Path:
        """The file of the key that signs checkpoints."""
        return self._folder / "ledger.key"

    @property
    def next_path(self) -> Path:
        """The file of a key that takes over, until it has."""
        return self._folder / "ledger.key.next"

    @property
    def texts_path(self) -> Path:
        """The file of the key that wraps the keys of subjects."""
        return self._folder / "ledger-texts.key"

    def signer(self) -> NoteSigner | None:
        """Return the key that signs, or None if none was made. Raises `UsageError` for a damaged one."""
        return self._read(SIGNING_KEY_ENV, self.signing_path, NoteSigner.from_text)

    def wrapping_key(self) -> WrappingKey | None:
        """Return the key for texts, or None if none was made. Raises `UsageError` for a damaged one."""
        return self._read(TEXTS_KEY_ENV, self.texts_path, WrappingKey.from_text)

    def make(self, name: str) -> NoteSigner:
        """Make the keys that are missing, and return the one that signs, as which `name` it does so.

        Raises `UsageError` if there is a key of another name.
        """
        signer = self.signer()
        if signer is None:
            signer = NoteSigner.generate(name)
            _write(self.signing_path, signer.text)
        elif signer.name != name:
            raise UsageError(
                f"the ledger signs as `{signer.name}` already",
                code="ledger-key-exists",
                hint="keep that name: who checks the log knows it by it",
            )
        if self.wrapping_key() is None:
            _write(self.texts_path, WrappingKey(os.urandom(64)).text)
        return signer

    def make_next(self, name: str) -> NoteSigner:
        """Make the key that is to take over. Raises `UsageError` if the present one is in the environment."""
        if os.environ.get(SIGNING_KEY_ENV):
            raise UsageError(
                f"the ledger's key is in the environment, as {SIGNING_KEY_ENV}",
                code="ledger-key-in-environment",
                hint=f"put it into {self.signing_path}, rotate it there, then give the new one as before",
            )
        signer = NoteSigner.generate(name)
        self.next_path.unlink(missing_ok=True)  # it never took over
        _write(self.next_path, signer.text)
        return signer

    def successor(self, key: NoteVerifier) -> NoteSigner:
        """Return the private key of one that took over, and put it in force where it was made.

        Raises `StoreError` if this process has another key.
        """
        made = _content(self.next_path)
        if made is not None and NoteSigner.from_text(made).verifier == key:
            with suppress(FileNotFoundError):  # another process was faster
                self.next_path.replace(self.signing_path)
        signer = self.signer()
        if signer is None or signer.verifier != key:
            raise StoreError(
                "the ledger has a new key, and this process has the old one",
                code="ledger-key-rotated",
                hint="copy `ledger.key` from the machine where it was rotated, or give it as "
                f"`{SIGNING_KEY_ENV}`",
            )
        return signer

    def _read(self, env: str, path: Path, parse: Callable[[str], _Key]) -> _Key | None:
        text = os.environ.get(env) or _content(path)
        if text is None:
            return None
        if text not in self._known:
            self._known[text] = parse(text)
        return self._known[text]  # type: ignore[return-value]  # a text is one kind of key


def _content(path: Path) -> str | None:
    try:
        with path.open(encoding="ascii", errors="replace") as file:
            return file.read(_MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(
            f"the key {path} cannot be read ({error.strerror})",
            code="ledger-key-unreadable",
            hint="give the user of this process the right to read it",
        ) from error


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StoreError(
            f"the key cannot be written to {path} ({error.strerror})", code="ledger-key-unwritable"
        ) from error
