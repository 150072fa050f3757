"""crossgrade.yaml, read once and strictly: domain objects, or every problem with its line and column."""

from crossgrade.config._load import DATABASE_URL_VARIABLE, Config, config_schema, load_config
from crossgrade.config._problems import InvalidConfigError
from crossgrade.config._section import NAME_WANTED, is_name
from crossgrade.config._yaml import YamlTree, parse_yaml, read_yaml

__all__ = [
    "DATABASE_URL_VARIABLE",
    "NAME_WANTED",
    "Config",
    "InvalidConfigError",
    "YamlTree",
    "config_schema",
    "is_name",
    "load_config",
    "parse_yaml",
    "read_yaml",
]
