"""The one exception tree.

    CrossgradeError
    ├── UsageError            a command or call was given something it cannot use
    │   ├── ConfigError       crossgrade.yaml is wrong; carries file, line and column
    │   ├── DataError         a dataset or result file is wrong; carries file, line and column
    │   └── NotFoundError     a named workload, run, model, verdict … does not exist
    ├── MissingExtraError     an optional dependency is not installed
    ├── StoreError            the project's database or files cannot be read or written
    ├── ProviderError         a model did not answer usably
    │   ├── AuthError         the key was refused
    │   ├── RateLimitedError  429; carries retry_after_s
    │   ├── ContextTooLongError  the prompt does not fit the model
    │   ├── ContentFilteredError the provider refused the content
    │   ├── BadRequestError   the provider rejected the request as malformed
    │   ├── UpstreamError     5xx, HTML, half a JSON, a dropped connection
    │   ├── ProviderTimeoutError no answer within the limit
    │   └── TrialError        something around an agent failed; carries what its calls cost
    ├── AccessError           a caller is not let in
    ├── SandboxError          model-written code could not be run safely
    └── BudgetExceededError   going on would cost more than allowed

Each class states its exit code, HTTP status and whether trying again can help. Each error
carries a `code`, which stays when its words change: scripts and tests read the code.
Statistics that cannot decide are results, not errors. docs/reference/errors.md has an entry
for every class and lists every code.
"""

import re
from collections.abc import Iterable, Mapping
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import ClassVar


def nearest(name: str, names: Iterable[str], most: int = 1) -> list[str]:
    """Return which of `names` were probably meant, the likeliest first; case does not count."""
    lowered = {other.lower(): other for other in names}
    return [lowered[each] for each in get_close_matches(name.lower(), lowered, n=most, cutoff=0.6)]


def closest(name: str, names: Iterable[str]) -> str:
    """Say which of `names` was probably meant: `; did you mean "score"?`, or nothing."""
    found = nearest(name, names)
    return f'; did you mean "{found[0]}"?' if found else ""


def kind_of(recorded: str) -> str:
    """Return an error's kind, the code of its class, as records have it; old ones have the class's name."""
    if not recorded.endswith("Error"):
        return recorded
    return "-".join(re.findall("[A-Z][a-z]+", recorded.removesuffix("Error"))).lower()


def hint_among(name: str, names: Iterable[str]) -> str | None:
    """Return a hint that names what `name` was probably meant to be, else all of up to 32 names."""
    known = sorted(names)
    if found := nearest(name, known):
        return f"did you mean `{found[0]}`?"
    return f"known: {', '.join(f'`{each}`' for each in known)}" if 0 < len(known) <= 32 else None


class CrossgradeError(Exception):
    """Anything Crossgrade raises on purpose: what was seen, and in `hint` one next step.

    `code` names the message for programs, in kebab case; by default it is the class's own.
    """

    exit_code: ClassVar[int] = 3
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    default_hint: ClassVar[str] = "run `crossgrade doctor` to check the installation"
    default_code: ClassVar[str] = "crossgrade"

    def __init_subclass__(cls) -> None:
        """Name the class's own code after it: `RateLimitedError` is `rate-limited`."""
        cls.default_code = kind_of(cls.__name__)

    def __init__(self, message: str, *, code: str | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code if code is not None else self.default_code
        self.hint = hint if hint is not None else self.default_hint


class UsageError(CrossgradeError):
    """A command or a call was given something it cannot use."""

    exit_code = 2
    http_status = 400
    default_hint = "see `crossgrade COMMAND --help`"


class _LocatedError(UsageError):
    """A usage error at a place in a file; line and column count from 1."""

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        file: str | Path | None = None,
        line: int | None = None,
        column: int | None = None,
        where: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.file = None if file is None else str(file)
        self.line = line
        self.column = column
        self.where = where

    @property
    def location(self) -> str | None:
        """`file:line:column`, as much of it as is known, with the key path behind it."""
        parts = [self.file or ""]
        if self.line is not None:
            parts.append(str(self.line))
            if self.column is not None:
                parts.append(str(self.column))
        place = ":".join(part for part in parts if part)
        return "  ".join(part for part in (place, self.where) if part) or None


class ConfigError(_LocatedError):
    """crossgrade.yaml (or a flag that overrides it) is wrong."""

    default_hint = "`crossgrade config schema` prints every key that is allowed"


class DataError(_LocatedError):
    """A dataset, result file or record is wrong."""

    default_hint = "`crossgrade import --help` names the formats that are read"


def said_by(error: BaseException) -> str:
    """Return what an exception of a library says, in one line of at most 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def unreadable(path: Path, error: Exception, *, hint: str | None = None) -> DataError:
    """Return the error of a file that is missing or cannot be read."""
    if isinstance(error, FileNotFoundError):
        return DataError(
            "there is no such file", code="file-missing", file=path, hint=hint or "check the path"
        )
    why = error.strerror if isinstance(error, OSError) else None
    return DataError(
        f"cannot be read: {why or said_by(error)}",
        code="file-unreadable",
        file=path,
        hint=hint or "check the file's permissions",
    )


class NotFoundError(UsageError):
    """A named workload, run, model or verdict does not exist."""

    http_status = 404
    default_hint = "`crossgrade workload list`, `crossgrade runs`, `crossgrade models list` show what exists"


class MissingExtraError(CrossgradeError):
    """An optional dependency is not installed."""

    exit_code = 2
    http_status = 501
    default_hint = "install the extra that the message names"

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(
            f"{what} needs the `{extra}` extra, which is not installed",
            hint=f"pip install 'crossgrade[{extra}]'",
        )
        self.extra = extra


class StoreError(CrossgradeError):
    """The project's database or files cannot be read or written."""

    http_status = 503
    default_hint = "check free disk space and permissions of the `.crossgrade` folder"


class ProviderError(CrossgradeError):
    """A model did not answer usably.

    `details` are the fields of the provider's own error that its clients read: `type`, `code`, `param` and
    what a filter found, as far as it has them.
    """

    http_status = 502
    default_hint = "run `crossgrade doctor`: it says which keys are not set"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        provider: str = "",
        status: int | None = None,
        hint: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message, code=code, hint=hint)
        self.provider = provider
        self.status = status
        self.details = details or {}


class AuthError(ProviderError):
    """The provider refused the key."""

    http_status = 401
    default_hint = "set the environment variable that `api_key_env` names to a valid key"


class RateLimitedError(ProviderError):
    """The provider asked to slow down (HTTP 429)."""

    http_status = 429
    retryable = True
    default_hint = "lower `max_concurrency` for this offer, or run again later: finished answers are kept"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        provider: str = "",
        status: int | None = 429,
        retry_after_s: float | None = None,
        hint: str | None = None,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message, code=code, provider=provider, status=status, hint=hint, details=details)
        self.retry_after_s = retry_after_s


class ContextTooLongError(ProviderError):
    """The prompt does not fit the model's context."""

    http_status = 400
    default_hint = "shorten the prompt, or pick an offer with a longer context"


class ContentFilteredError(ProviderError):
    """The provider refused the content."""

    http_status = 400
    default_hint = "read the sample: a refusal counts as an answer that scores 0"


class BadRequestError(ProviderError):
    """The provider rejected the request as malformed."""

    http_status = 400
    default_hint = "check the model id and the generation settings of this variant"


class UpstreamError(ProviderError):
    """The provider failed: 5xx, HTML, half a JSON, a dropped connection."""

    retryable = True
    default_hint = "run again: finished answers are kept and not paid for twice"


class ProviderTimeoutError(ProviderError):
    """No answer came within the time limit."""

    http_status = 504
    retryable = True
    default_hint = "raise `timeout_s` for this offer, or run again: finished answers are kept"


class TrialError(ProviderError):
    """Something around an agent failed, so that its trial has no verdict.

    The message begins with the failure's label (`failure_label`). `cost_usd` is what the trial's calls cost,
    None if unknown.
    """

    default_hint = "mend what the message names, and run again: trials with a verdict are kept"

    def __init__(
        self, message: str, *, code: str | None = None, hint: str | None = None, cost_usd: Decimal | None
    ) -> None:
        super().__init__(message, code=code, provider="trial", hint=hint)
        self.cost_usd = cost_usd


class AccessError(CrossgradeError):
    """A caller is not authorised: `status` 401 (who?), 403 (no) or 503 (unknown).

    `reason` is the code as the gateway's answers and metrics write it, with underscores. `challenge` has the
    parameters of the `WWW-Authenticate: Bearer` header that say how to log in (RFC 9470).
    """

    http_status = 401
    default_hint = "send a key of `crossgrade keys create`, or an access token of a configured issuer"

    def __init__(
        self, message: str, *, reason: str, status: int = 401, hint: str | None = None, challenge: str = ""
    ) -> None:
        super().__init__(message, code=reason.replace("_", "-"), hint=hint)
        self.reason = reason
        self.status = status
        self.challenge = challenge


class SandboxError(CrossgradeError):
    """Model-written code could not be run safely."""

    default_hint = "install bubblewrap (`bwrap`), or set `unsandboxed: true` on the scorer at your own risk"


class BudgetExceededError(CrossgradeError):
    """Going on would cost more than allowed."""

    http_status = 402
    default_hint = "raise `--max-cost`; what was paid for is kept, and the run resumes where it stopped"
