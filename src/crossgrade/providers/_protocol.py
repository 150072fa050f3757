"""What the rest of Crossgrade knows of a provider."""

from typing import Protocol

from crossgrade.domain import ModelAnswer, ModelRequest


class Provider(Protocol):
    """An open offer that can be asked.

    `name` is the offer's, `account` names what its limits are counted against: the host and the
    variable that holds the key, never the key.
    """

    @property
    def name(self) -> str:
        """The offer's name."""

    @property
    def account(self) -> str:
        """The account, by host and key variable."""

    async def ask(self, request: ModelRequest) -> ModelAnswer:
        """Send one request, once; raises a `ProviderError` when no usable answer comes."""
