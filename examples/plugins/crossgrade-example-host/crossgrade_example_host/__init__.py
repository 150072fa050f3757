"""One more host: its row is in hosts.toml beside this file."""
