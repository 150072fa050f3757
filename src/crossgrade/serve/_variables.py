"""The variables of the environment that `serve` reads beside those of the configuration."""

ADMIN_KEY_ENV = "CROSSGRADE_ADMIN_KEY"
"""The variable that holds the admin API's key; without it there is no admin API."""

LOCAL_KEY_ENV = "CROSSGRADE_LOCAL_KEY"
"""The variable that holds the key of the local model servers, fresh with every start of `serve`."""

REDIS_URL_ENV = "CROSSGRADE_REDIS_URL"
"""The variable that names the Redis in which limits are counted; without it the database counts them."""
