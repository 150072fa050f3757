"""Asking models: hosted APIs, and local models in child processes.

A provider sends each request once, measures it, and either returns an answer or raises one of
the `ProviderError`s. Retries, concurrency and spending are the runner's business.
"""

from crossgrade.providers._open import open_provider
from crossgrade.providers._protocol import Provider
from crossgrade.providers.batch import BatchProvider, open_batches
from crossgrade.providers.cores import usable_cores
from crossgrade.providers.hosted import Account, HostedProvider, account_of, open_hosted
from crossgrade.providers.local import LocalProvider, open_local
from crossgrade.providers.local_process import LocalSettings
from crossgrade.providers.models import find_model

__all__ = [
    "Account",
    "BatchProvider",
    "HostedProvider",
    "LocalProvider",
    "LocalSettings",
    "Provider",
    "account_of",
    "find_model",
    "open_batches",
    "open_hosted",
    "open_local",
    "open_provider",
    "usable_cores",
]
