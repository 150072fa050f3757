"""Asking models: hosted APIs, and local models in child processes.

A provider sends each request once, measures it, and either returns an answer or raises one of
the `ProviderError`s. Retries, concurrency and spending are the runner's business.
"""

from crossgrade.providers._open import open_provider
from crossgrade.providers._protocol import Provider
from crossgrade.providers.hosted import Account, HostedProvider, account_of, open_hosted

__all__ = [
    "Account",
    "HostedProvider",
    "Provider",
    "account_of",
    "open_hosted",
    "open_provider",
]
