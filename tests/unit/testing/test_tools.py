"""The fake provider's script and command, the clock, the builders."""

import asyncio
import errno
import subprocess
import sys
from datetime import UTC, datetime

import pytest

from crossgrade.domain import ModelRequest, Sample
from crossgrade.providers import open_provider
from crossgrade.testing import FakeClock, FakeProvider, ReceivedRequest, Reply, evidence, samples


def ask(base_url: str, prompts: list[str]) -> list[str]:
    async def main() -> list[str]:
        offer = FakeProvider().offer(base_url=base_url)
        async with open_provider(offer, environ={}) as provider:
            return [(await provider.ask(ModelRequest(model="m", text=prompt))).text for prompt in prompts]

    return asyncio.run(main())


def test_a_script_of_outcomes_in_turn() -> None:
    with FakeProvider(["one", Reply("two")]) as fake:
        assert ask(fake.base_url, ["a", "b", "c"]) == ["one", "two", "two"]
        assert [request.prompt for request in fake.requests] == ["a", "b", "c"]


def test_a_script_that_is_a_function() -> None:
    def shout(request: ReceivedRequest) -> str:
        return request.prompt.upper()

    with FakeProvider(shout) as fake:
        assert ask(fake.base_url, ["a", "b"]) == ["A", "B"]


def test_only_the_last_requests_are_kept() -> None:
    with FakeProvider(keep=2) as fake:
        ask(fake.base_url, ["a", "b", "c"])
        assert [request.prompt for request in fake.requests] == ["b", "c"]


def test_a_port_that_is_taken_is_said() -> None:
    with FakeProvider() as fake, pytest.raises(OSError) as caught:  # noqa: PT011 -- its number is checked
        FakeProvider(port=int(fake.url.rpartition(":")[2])).__enter__()
    assert caught.value.errno == errno.EADDRINUSE


def test_the_command_serves_until_it_is_stopped() -> None:
    order = [sys.executable, "-m", "crossgrade.testing.fake", "--text", "from the shell"]
    with subprocess.Popen(order, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert ask(process.stdout.readline().strip(), ["a"]) == ["from the shell"]
        process.terminate()


def test_the_server_needs_no_numbers() -> None:
    code = "import sys, crossgrade.testing.fake; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_clock_moves_when_told() -> None:
    clock = FakeClock(datetime(2026, 5, 1, tzinfo=UTC))
    clock.advance(60)
    asyncio.run(clock.sleep(30))
    assert clock() == clock.now() == datetime(2026, 5, 1, 0, 1, 30, tzinfo=UTC)
    assert clock.monotonic() == 90
    assert clock.slept == [30]


def test_samples_have_segments_and_clusters() -> None:
    made = samples(4, segments=("a", "b"), cluster_size=2)
    assert [sample.segment for sample in made] == ["a", "b", "a", "b"]
    assert [sample.cluster for sample in made] == ["c0000", "c0000", "c0001", "c0001"]
    assert made[3].target == "6"
    assert samples(1)[0] == Sample(id="s0000", fields=made[0].fields, target="0")


def test_evidence_is_aligned() -> None:
    made = evidence([1, 0], [1, 1], segment=["a", "b"], workload="w")
    assert made.n == 2
    assert made.workload == "w"
    assert list(made.candidates[0].score) == [1, 1]
    several = evidence([1, 0], candidates={"x": [0, 0], "y": [1, 1]})
    assert [columns.model for columns in several.candidates] == ["x", "y"]
