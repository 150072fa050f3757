"""The environment variables that `serve` reads besides those of the configuration."""

ADMIN_KEY_ENV = "CROSSGRADE_ADMIN_KEY"
"""The variable with the admin API's key; without it there is no admin API."""

LOCAL_KEY_ENV = "CROSSGRADE_LOCAL_KEY"
"""The variable with the key of the local model servers, new at every start of `serve`."""

REDIS_URL_ENV = "CROSSGRADE_REDIS_URL"
"""The variable with the URL of the Redis that counts limits; without it the database counts them."""
