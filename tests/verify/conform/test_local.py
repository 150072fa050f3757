"""`crossgrade conform` tells two quantisations of one real model apart, and two equal servers of it not."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.driving import CommandLine

QUICK = ("--prompts", "8", "--lengths", "256", "--yes", "--json")


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Return the addresses of two servers of a Q8 copy and one of a Q4 copy of SmolLM2."""
    from benchmarks._conform_hosts import FaultyHost, local_host, proxied
    from benchmarks._conform_models import installed, quantised_copy

    weights = tmp_path_factory.mktemp("weights")
    with ExitStack() as stack:
        found = {}
        for kind, names in (("q8", ("a", "b")), ("q4", ("c",))):
            copy = quantised_copy(installed(), weights / f"{kind}.gguf", kind)
            host = stack.enter_context(local_host(copy))
            for name in names:
                found[name] = stack.enter_context(proxied(FaultyHost(host.base_url)))
        yield found


@pytest.mark.needs("model:smollm2-135m-instruct", "module:xllamacpp")
def test_quantisations_are_told_apart_and_equal_weights_are_not(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    urls: dict[str, str],
) -> None:
    monkeypatch.chdir(tmp_path)
    cli = CommandLine(capsys)
    models = "".join(
        f'  {name}: {{provider: llamacpp, model: smollm2, base_url: "{url}", timeout_s: 600}}\n'
        for name, url in urls.items()
    )
    (tmp_path / "crossgrade.yaml").write_text(f"models:\n{models}")

    def checked(offer: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(cli.succeeds("conform", offer, "--against", "a", *QUICK).out)
        return found

    equal = checked("b")
    assert equal["conformity"] == "conforms", equal["check"]["checks"]
    assert {each["name"]: each["outcome"] for each in equal["check"]["checks"]}[
        "log-probabilities"
    ] == "agrees"
    other = checked("c")
    assert other["conformity"] == "differs", other["check"]["checks"]
    assert {each["name"] for each in other["check"]["checks"] if each["outcome"] == "differs"} & {
        "answers",
        "greedy",
        "log-probabilities",
    }
