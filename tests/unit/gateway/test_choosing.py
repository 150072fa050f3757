"""Fields with which a caller chooses another model, host or region at a provider."""

import json
import re
from pathlib import Path

import pytest

from crossgrade.dialects import Host, hosts
from crossgrade.domain import RouteSpec

REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "gateway.md"
FIELDS = ["models", "provider", "route", "plugins", "transforms", "preset", "Models", "\\u006dodels"]


def _body(make, field, size=0, first=True):
    model, theirs = b'"model":"support"', b'"%b":["other"]' % field.encode()
    parts = (model, b" " * size, b",", theirs) if first else (theirs, b",", model, b" " * size)
    return b"{" + b"".join(parts) + b',"messages":[]}'


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("size", [0, 1_100_000], ids=["small", "large"])
@pytest.mark.parametrize("first", [True, False])
def test_a_field_that_chooses_is_refused(run, make, fake, field, size, first):
    with run([make.target(fake, provider="openrouter")]) as world:
        answer = world.post(_body(make, field, size, first))
        assert (answer.status, answer.code) == (400, "forbidden_field")
        assert not fake.requests


@pytest.mark.parametrize("size", [0, 1_100_000], ids=["small", "large"])
def test_it_is_accepted_if_it_is_allowed_by_name(run, make, fake, size):
    target = make.target(fake, provider="openrouter", caller_fields=("provider",))
    with run([target]) as world:
        assert world.post(_body(make, "provider", size)).status == 200
        assert world.post(_body(make, "models", size)).code == "forbidden_field"


ADVISOR = '{"type":"advisor_20260301","name":"advisor","model":"claude-opus-4-7"}'
IMAGE = '{"type":"image_generation"}'
FUNCTION = '{"type":"function","name":"image_generation","parameters":{"type":"object","properties":{}}}'
PANEL = '{"type":"openrouter:fusion","parameters":{"analysis_models":["a","b"]}}'
PLACES = {"anthropic": "messages", "openai": "chat/completions", "openai-responses": "responses"}


def _offering(tools, size=0, path="tools", first=True):
    """A body with these tools, which are the caller's or added by an item of the input."""
    text = json.dumps("x" * size)
    offered = f'"{path}":[{tools}]'
    if path != "tools":
        offered = (
            f'"input":[{{"role":"user","content":{text}}},{{"type":"additional_tools","tools":[{tools}]}}]'
        )
    said = f'"messages":[{{"role":"user","content":{text}}}]'
    parts = [offered, said] if first else [said, offered]
    return f'{{"model":"support",{",".join(parts)}}}'.encode()


@pytest.mark.parametrize("size", [0, 1_100_000], ids=["small", "large"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("provider", "api", "tools", "path"),
    [
        ("anthropic", "anthropic", ADVISOR, "tools"),
        ("anthropic", "anthropic", '{"name":"f","input_schema":{"type":"object"}},' + ADVISOR, "tools"),
        ("anthropic", "anthropic", '{"model":"m","\\u0074ype":"\\u0061dvisor\\u005f20260301"}', "tools"),
        ("anthropic", "anthropic", '{"type":"custom","type":"advisor_20270101","type":"custom"}', "tools"),
        ("openai-responses", "openai-responses", IMAGE, "tools"),
        ("openai-responses", "openai-responses", FUNCTION + "," + IMAGE, "tools"),
        (
            "openai-responses",
            "openai-responses",
            '{"type" : "image_generation","model":"gpt-image-2"}',
            "input",
        ),
        ("openai-responses", "openai-responses", '{"type":"image\\u005Fgeneration"}', "input"),
        ("azure", "openai-responses", IMAGE, "tools"),
        ("openrouter", "openai", PANEL, "tools"),
        ("openrouter", "openai", '{"type":"openrouter:advisor"}', "tools"),
        ("openrouter", "openai", '{"type":"openrouter\\u003Aadvisor"}', "tools"),
        ("openrouter", "anthropic", ADVISOR, "tools"),
        ("openrouter", "openai-responses", IMAGE, "input"),
    ],
)
def test_a_tool_behind_which_another_model_answers_is_refused(
    run, make, fake, provider, api, tools, path, size, first
):
    with run([make.target(fake, provider=provider, dialect=api)]) as world:
        answer = world.post(_offering(tools, size, path, first), f"/v1/{PLACES[api]}")
        assert (answer.status, b"`tools." in answer.body) == (400, True)
        if api != "anthropic":
            assert answer.code == "forbidden_field"
        assert not fake.requests


@pytest.mark.parametrize("size", [0, 1_100_000], ids=["small", "large"])
def test_such_a_tool_is_accepted_if_it_is_allowed_by_name(run, make, fake, size):
    given = {"provider": "openrouter", "caller_fields": ("tools.openrouter",)}
    with run([make.target(fake, **given)]) as world:
        assert world.post(_offering(PANEL, size)).status == 200
        assert world.post(_offering(PANEL + "," + IMAGE, size)).code == "forbidden_field"


@pytest.mark.parametrize("size", [0, 1_100_000], ids=["small", "large"])
@pytest.mark.parametrize("path", ["tools", "input"])
def test_tools_of_the_model_itself_and_texts_are_not_concerned(run, make, fake, size, path):
    said = json.dumps('is {"type":"image_generation"} or \\u0061dvisor a tool?')
    schema = '{"type":"object","properties":{"type":{"type":"image_generation"}},"x":[{"type":"image_generation"}]}'
    tools = (
        f'{FUNCTION},{{"type":"function","name":"g","description":{said},"parameters":{schema}}},'
        '{"type":"web_search"},{"type":"file_search","filters":{"type":"image_generation"}},{"type":null}'
    )
    with run([make.target(fake, provider="openai-responses", dialect="openai-responses")]) as world:
        assert world.post(_offering(tools, size, path), "/v1/responses").status == 200
        called = '{"type":"image_generation_call","id":"i","result":"aGk="},{"type":"image_generation"}'
        body = f'{{"model":"support","x":{json.dumps("x" * size)},"input":[{called}]}}'.encode()
        assert world.post(body, "/v1/responses").status == 200


@pytest.mark.parametrize("provider", ["openai-compatible", "groq"])
@pytest.mark.parametrize(
    ("address", "field"),
    [
        ("https://openrouter.ai/api/v1", "models"),
        ("https://OpenRouter.AI:443/api/v1", "provider"),
        ("https://openrouter.ai./api/v1", "route"),
        ("https://eu.openrouter.ai/api/v1", "plugins"),
        ("http://openrouter.ai", "transforms"),
        ("https://api.groq.com/openai/v1", "compound_custom"),
        ("https://mine.openai.azure.com/openai/v1", "data_sources"),
        ("https://mine.services.ai.azure.com/openai/v1", "data_sources"),
        ("https://api.anthropic.com/v1", "inference_geo"),
    ],
)
def test_the_address_says_which_provider_it_is(run, make, fake, provider, address, field):
    with run([make.target(fake, base_url=address, provider=provider)]) as world:
        for size in (0, 1_100_000):
            assert world.post(_body(make, field, size, first=False)).code == "forbidden_field"


def test_an_address_that_only_looks_like_a_providers_is_another(run, make, fake):
    for address in ("https://myopenrouter.ai/v1", "https://openrouter.ai.example.com/v1"):
        targets = make.target(fake, base_url=address, timeout_s=0.1)
        with run([targets], [RouteSpec(name="support", incumbent="big", attempts=1)]) as world:
            assert not world.worker.context.targets["big"].forbidden


def test_a_plugins_host_is_known_by_its_address_too(run, make, fake, monkeypatch):
    row = Host(name="relay", base_url="https://relay.example:8443/v1", choosing_fields=("upstream",))
    monkeypatch.setitem(hosts._KNOWN, "relay", row)
    with run([make.target(fake, base_url="https://relay.example/v2")]) as world:
        assert world.post(_body(make, "upstream")).code == "forbidden_field"


def test_other_providers_and_inner_keys_are_not_concerned(run, make, fake):
    routes = [RouteSpec(name="support", incumbent="big"), RouteSpec(name="or", incumbent="router")]
    with run([make.target(fake), make.target(fake, "router", provider="openrouter")], routes) as world:
        assert world.post(_body(make, "models")).status == 200
        body = {"model": "or", "messages": [{"role": "user", "content": "hi", "provider": "x"}]}
        assert world.post(json.dumps(body).encode()).status == 200


@pytest.mark.parametrize(
    ("provider", "field"),
    [
        ("anthropic", "inference_geo"),
        ("azure", "data_sources"),
        ("groq", "compound_custom"),
        ("vllm", "kv_transfer_params"),
        ("sglang", "bootstrap_host"),
        ("sglang", "lora_path"),
        ("llamacpp", "lora"),
        ("local", "lora"),
        ("xai", "deferred"),
    ],
)
def test_every_provider_has_fields_of_its_own(run, make, fake, provider, field):
    path = "/v1/messages" if provider == "anthropic" else "/v1/chat/completions"
    dialect = "anthropic" if provider == "anthropic" else "openai"
    with run([make.target(fake, provider=provider, dialect=dialect)]) as world:
        answer = world.post(_body(make, field), path)
        assert answer.status == 400
        assert b"is not accepted" in answer.body


def told(table: str) -> list[list[str]]:
    """Return the names in each row of a table of the reference."""
    rows = REFERENCE.read_text().partition(f"{table}\n")[2].partition("\n\n")[0].splitlines()[1:]
    return [re.findall(r"`([\w.]+)`", row) for row in rows]


def test_the_reference_names_all_of_them():
    chosen = [set(host.choosing_fields) for host in hosts.BUILT_IN_HOSTS.values()]
    tools = {name for names in chosen for name in names if name.startswith("tools.")}
    fields = {frozenset(names - tools) for names in chosen} - {frozenset()}
    assert set(map(frozenset, told("| provider | fields |"))) == fields
    assert {row[0] for row in told("| name | types | where |")} == tools
