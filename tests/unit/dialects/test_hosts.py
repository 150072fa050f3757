"""The table of hosts is whole, and documented row by row."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest

from crossgrade.dialects import DIALECTS, HOSTS, Host, host_named
from tests.codes import raises_code

EVERYTHING = {
    "AWS_REGION": "eu-west-1",
    "AZURE_OPENAI_ENDPOINT": "https://mine.openai.azure.com/",
    "CLOUDFLARE_ACCOUNT_ID": "abc",
}
ROWS = sorted(HOSTS.values(), key=lambda host: host.name)


@pytest.mark.parametrize("host", ROWS, ids=lambda host: host.name)
def test_every_row_makes_sense(host: Host) -> None:
    assert host.dialect in DIALECTS
    assert host.key_env or host.key_optional
    if host.base_url is not None:
        parts = urlsplit(host.url(EVERYTHING))
        assert parts.hostname
        assert "{" not in host.url(EVERYTHING)
        assert parts.scheme == "https" or parts.hostname == "localhost"


@pytest.mark.parametrize("host", ROWS, ids=lambda host: host.name)
def test_every_row_is_documented(host: Host) -> None:
    page = (Path(__file__).parents[3] / "docs/reference/providers.md").read_text(encoding="utf-8")
    row = next(line for line in page.splitlines() if line.startswith(f"| `{host.name}` "))
    for name in host.key_env:
        assert f"`{name}`" in row
    if host.base_url is not None:
        assert f"`{host.base_url.replace('|', ' or ')}`" in row


def test_addresses_with_variables() -> None:
    assert HOSTS["azure"].url(EVERYTHING) == "https://mine.openai.azure.com/openai/v1"
    assert "eu-west-1" in HOSTS["bedrock"].url(EVERYTHING)
    assert "us-east-1" in HOSTS["bedrock"].url({"AWS_DEFAULT_REGION": "us-east-1"})
    with raises_code("host-variable-not-set", "CLOUDFLARE_ACCOUNT_ID"):
        HOSTS["cloudflare"].url({})
    with raises_code("host-without-address"):
        HOSTS["openai-compatible"].url({})


def test_an_unknown_host_names_the_nearest() -> None:
    with raises_code("provider-unknown", "together"):
        host_named("togther")
    with raises_code("provider-unknown"):
        host_named("zzz")
