"""When not to ask: a breaker for each target, and a budget of retries for the whole worker."""

FAILURES_TO_OPEN = 5
_OPEN_S = 5.0
_MOST_OPEN_S = 60.0
MOST_COOLING_S = 30.0

_RETRY_SHARE = 0.2
_RETRIES_AT_START = 10.0
_MOST_RETRIES = 100.0


class Breaker:
    """Lets calls through until several in a row failed; then one, now and again, to find out.

    A target that asked to slow down is *cooling*: others are tried before it, but it is not shut.
    """

    __slots__ = ("_cooling_until", "_failures", "_open_s", "_open_until", "_probing", "is_quiet")

    def __init__(self) -> None:
        self.is_quiet = True
        """Whether nothing at all is to be looked at before a call."""

        self._failures = 0
        self._open_s = _OPEN_S
        self._open_until = 0.0
        self._cooling_until = 0.0
        self._probing = False

    @property
    def is_open(self) -> bool:
        """Whether the target counts as failing."""
        return self._failures >= FAILURES_TO_OPEN

    def admits(self, now: float) -> bool:
        """Tell whether a call may be sent now; of a failing target, one at a time after each pause."""
        if self._failures < FAILURES_TO_OPEN:
            return True
        return now >= self._open_until and not self._probing

    def sent(self) -> None:
        """Take note of a call; of a failing target it is the one that finds out."""
        self._probing = self._failures >= FAILURES_TO_OPEN

    def is_cooling(self, now: float) -> bool:
        """Tell whether the target asked to slow down."""
        if now >= self._cooling_until:
            self._cooling_until = 0.0
        return self._cooling_until > 0.0

    def retry_after_s(self, now: float) -> float:
        """Return when asking again can help."""
        return max(self._open_until - now, 1.0)

    def succeeded(self) -> None:
        """Take note of an answer; that of a call from before it asked to slow down takes nothing back."""
        if not self.is_quiet:
            self.is_quiet = not self._cooling_until
            self._failures = 0
            self._open_s = _OPEN_S
            self._probing = False

    def abandoned(self) -> None:
        """Take note that a call was cancelled: it shows nothing."""
        self._probing = False

    def failed(self, now: float) -> None:
        """Take note of a failure of the target's own."""
        self.is_quiet = False
        self._failures += 1
        self._probing = False
        if self._failures >= FAILURES_TO_OPEN:
            self._open_until = now + self._open_s
            self._open_s = min(2 * self._open_s, _MOST_OPEN_S)

    def slow_down(self, now: float, wait_s: float | None) -> None:
        """Take note that the target asked to slow down."""
        self.is_quiet = self._probing = False
        self._cooling_until = now + min(1.0 if wait_s is None else wait_s, MOST_COOLING_S)


class RetryBudget:
    """Allows a fifth as many retries as there are requests, so that retries cannot make an outage worse."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        self._left = _RETRIES_AT_START

    def earn(self) -> None:
        """Take note of a request."""
        if self._left < _MOST_RETRIES:
            self._left += _RETRY_SHARE

    def spend(self) -> bool:
        """Tell whether one more retry is allowed, and take it."""
        if self._left < 1:
            return False
        self._left -= 1
        return True
