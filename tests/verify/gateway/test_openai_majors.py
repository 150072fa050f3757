"""The majors of openai-python order a body's keys differently: each speaks from its own environment."""

from collections.abc import Iterator

import pytest

from benchmarks.gateway._served import Served
from tests.e2e.speaking import FOLDER, check_openai, client_python, speak, spoken_to


@pytest.fixture(scope="module", params=["openai-compatible", "anthropic"])
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with spoken_to(tmp_path_factory.mktemp("majors"), request.param) as served:
        yield served


@pytest.mark.parametrize(
    "major",
    [pytest.param(major, marks=pytest.mark.needs(f"client:openai-{major}")) for major in ("1", "2")],
)
def test_an_older_openai_python(gateway: Served, major: str) -> None:
    saw = speak(gateway, client_python(f"openai-{major}"), str(FOLDER / "with_openai.py"))
    check_openai(saw)
    assert str(saw["version"]).startswith(f"{major}.")
