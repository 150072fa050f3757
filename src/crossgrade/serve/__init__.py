"""Serving: the supervisor, the keeper of limits and records, the admin API."""
