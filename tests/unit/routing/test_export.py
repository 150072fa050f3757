"""Routes for proxies that are already in place: what they carry, and what is said that they do not."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inline_snapshot import snapshot
from ruamel.yaml import YAML

from crossgrade.domain import JSON, Offer, RouteSpec, Shadow
from crossgrade.routing import Policy, Route, Router, threshold_name
from crossgrade.routing.export import EXPORTERS, RoutePlan, plan_route, to_envoy, to_litellm, to_openrouter
from crossgrade.routing.export._plan import to_yaml
from tests.codes import raises_code

NOW = datetime(2026, 11, 25, tzinfo=UTC)
UNTIL = datetime(2027, 2, 1, tzinfo=UTC)
OFFERS = {
    "gpt": Offer(name="gpt", provider="openai", model="gpt-4.1", api_key_env="MY_KEY"),
    "llama": Offer(name="llama", provider="groq", model="meta-llama/llama-4-scout-17b-16e-instruct"),
    "spare": Offer(name="spare", provider="vllm", model="m", base_url="http://gpu.internal:8000/v1"),
}
SPEC = RouteSpec(name="help", incumbent="gpt", workload="w", models=("gpt-4.1-mini",), fallbacks=("spare",))
SWITCH = Policy(kind="switch", incumbent="gpt", candidate="llama")
LIMITED = Policy(kind="switch", incumbent="gpt", candidate="llama", max_bytes=412_000)
PLAIN = Policy(kind="switch", incumbent="gpt", candidate="llama", plain_only=True)
SPLIT = Policy(kind="split", incumbent="gpt", candidate="llama", segments=("mail", "chat"))
ROUTER = Router(stake=0.85, segments={"mail": 0.1}, thresholds=(0.0,))
ROUTED = Policy(
    kind="split",
    incumbent="gpt",
    candidate="llama",
    segments=(threshold_name(0.0),),
    fact="score",
    least_score=0.0,
)


def plan(
    policy: Policy | None = SWITCH, *, share: float = 1.0, spec: RouteSpec = SPEC, **offers: Offer
) -> RoutePlan:
    route = None
    if policy is not None:
        route = Route(
            name="help",
            policy=policy,
            targets={"gpt": "gpt", "llama": "llama"},
            valid_until=UNTIL,
            share=share,
            verdict_id="v",
            router=ROUTER if policy.fact == "score" else None,
        )
    return plan_route(spec, route, OFFERS | offers, {}, now=NOW)


def read(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def test_a_key_is_in_the_variable_that_the_gateway_reads() -> None:
    offer = Offer(name="spare", provider="gemini", model="gemini-2.5-flash")
    named = [
        plan_route(SPEC, None, {**OFFERS, "spare": offer}, environ, now=NOW).fallbacks[0].api_key_env
        for environ in ({}, {"GOOGLE_API_KEY": "k"}, {"GEMINI_API_KEY": "k"})
    ]
    assert named == ["GEMINI_API_KEY", "GOOGLE_API_KEY", "GEMINI_API_KEY"]


def test_an_expired_or_aborted_or_missing_route_moves_nothing() -> None:
    assert plan(None).candidate is None
    assert plan(share=0).candidate is None
    late = replace(SPEC, models=())
    route = Route(
        name="help", policy=SWITCH, targets={"gpt": "gpt", "llama": "llama"}, valid_until=NOW, verdict_id="v"
    )
    assert plan_route(late, route, OFFERS, {}, now=NOW).candidate is None


def test_litellm_gets_deployments_and_fallbacks() -> None:
    exported = to_litellm([plan()])
    assert exported.text == snapshot("""\
model_list:
  - model_name: help
    litellm_params:
      model: groq/meta-llama/llama-4-scout-17b-16e-instruct
      api_key: os.environ/GROQ_API_KEY
      timeout: 120.0
  - model_name: gpt-4.1-mini
    litellm_params:
      model: groq/meta-llama/llama-4-scout-17b-16e-instruct
      api_key: os.environ/GROQ_API_KEY
      timeout: 120.0
  - model_name: gpt
    litellm_params:
      model: openai/gpt-4.1
      api_key: os.environ/MY_KEY
      timeout: 120.0
  - model_name: llama
    litellm_params:
      model: groq/meta-llama/llama-4-scout-17b-16e-instruct
      api_key: os.environ/GROQ_API_KEY
      timeout: 120.0
  - model_name: spare
    litellm_params:
      model: hosted_vllm/m
      api_base: "http://gpu.internal:8000/v1"
      api_key: none
      timeout: 120.0
router_settings:
  routing_strategy: simple-shuffle
  num_retries: 2
  fallbacks:
    - help:
        - spare
        - gpt
    - gpt-4.1-mini:
        - spare
        - gpt
""")
    assert exported.notes == snapshot(
        (
            "help: LiteLLM does not know that the certificate expires on 2027-02-01, nor steps back on an alarm: export again by then, and whenever `crossgrade watch` raises one",
        )
    )


def test_replicas_are_exported_with_their_parts() -> None:
    offers = {
        "llama": replace(OFFERS["llama"], replicas=("llama-2",), weight=3.0),
        "llama-2": replace(OFFERS["llama"], name="llama-2", api_key_env="OTHER_KEY", weight=1.0),
    }
    given = plan(share=0.2, spec=replace(SPEC, models=(), fallbacks=()), **offers)
    found = [
        (each["model_name"], each["litellm_params"]["api_key"], each["litellm_params"].get("weight"))
        for each in read(to_litellm([given]).text)["model_list"]
    ]
    assert found == [
        ("help", "os.environ/GROQ_API_KEY", 150),
        ("help", "os.environ/OTHER_KEY", 50),
        ("help", "os.environ/MY_KEY", 800),
        ("gpt", "os.environ/MY_KEY", None),
        ("llama", "os.environ/GROQ_API_KEY", 750),
        ("llama", "os.environ/OTHER_KEY", 250),
    ]
    documents = list(YAML(typ="safe", pure=True).load_all(to_envoy([given]).text))
    (rule,) = documents[0]["spec"]["rules"]
    refs = [(each["name"], each["priority"], each["weight"]) for each in rule["backendRefs"]]
    assert refs == [("llama", 0, 150), ("llama-2", 0, 50), ("gpt", 0, 800)]
    backends = {each["metadata"]["name"] for each in documents if each["kind"] == "AIServiceBackend"}
    assert backends == {"gpt", "llama", "llama-2"}
    spare = replace(OFFERS["gpt"], provider="openrouter", replicas=("gpt-2",))
    other = replace(spare, name="gpt-2", replicas=())
    kept = plan(None, spec=replace(SPEC, fallbacks=()), gpt=spare, **{"gpt-2": other})
    assert "help: OpenRouter is one address: the replicas of gpt are left out" in to_openrouter([kept]).notes


def test_litellm_gets_a_canary_by_weight_and_segments_by_tag() -> None:
    exported = to_litellm([plan(SPLIT, share=0.25, spec=replace(SPEC, models=(), fallbacks=()))])
    tree = read(exported.text)
    assert [
        (
            each["model_name"],
            each["litellm_params"]["model"],
            each["litellm_params"].get("weight"),
            each["litellm_params"].get("tags"),
        )
        for each in tree["model_list"]
    ] == [
        ("help", "groq/meta-llama/llama-4-scout-17b-16e-instruct", 250, ["segment:mail", "segment:chat"]),
        ("help", "openai/gpt-4.1", 750, ["segment:mail", "segment:chat"]),
        ("help", "openai/gpt-4.1", None, ["default"]),
        ("gpt", "openai/gpt-4.1", None, ["default"]),
        ("llama", "groq/meta-llama/llama-4-scout-17b-16e-instruct", None, ["default"]),
    ]
    assert tree["router_settings"]["enable_tag_filtering"] is True
    assert tree["router_settings"]["fallbacks"] == [{"help": ["gpt"]}]
    said = "\n".join(exported.notes)
    assert "a conversation may change model in the middle of the canary" in said
    assert "`x-litellm-tags: segment:mail`" in said
    assert "expires on 2027-02-01" in said


def test_openrouter_gets_fields_for_clients_to_merge() -> None:
    offers = {
        "llama": Offer(name="llama", provider="openrouter", model="meta-llama/llama-4-scout"),
    }
    exported = to_openrouter([plan(SPLIT, share=0.25, spec=replace(SPEC, fallbacks=()), **offers)])
    assert json.loads(exported.text) == snapshot(
        {
            "routes": {
                "help": {
                    "body": {
                        "model": "openai/gpt-4.1",
                        "provider": {"allow_fallbacks": False, "require_parameters": True},
                    },
                    "body_by_segment": {
                        "mail": {
                            "model": "meta-llama/llama-4-scout",
                            "models": ["meta-llama/llama-4-scout", "openai/gpt-4.1"],
                            "provider": {"allow_fallbacks": False, "require_parameters": True},
                        },
                        "chat": {
                            "model": "meta-llama/llama-4-scout",
                            "models": ["meta-llama/llama-4-scout", "openai/gpt-4.1"],
                            "provider": {"allow_fallbacks": False, "require_parameters": True},
                        },
                    },
                    "share": 0.25,
                    "body_beyond_share": {
                        "model": "openai/gpt-4.1",
                        "provider": {"allow_fallbacks": False, "require_parameters": True},
                    },
                }
            }
        }
    )
    said = "\n".join(exported.notes)
    assert "gpt was measured at openai, not through OpenRouter" in said
    assert "clients must draw the share of 0.25 themselves, once a conversation" in said


def test_openrouter_refuses_what_it_does_not_serve_under_that_id() -> None:
    with raises_code("export-unsupported", "llama", "groq"):
        to_openrouter([plan(spec=replace(SPEC, fallbacks=()))])


def test_envoy_gets_resources() -> None:
    exported = to_envoy([plan(SPLIT, share=0.25)])
    assert exported.text == snapshot("""\
apiVersion: aigateway.envoyproxy.io/v1alpha1
kind: AIGatewayRoute
metadata:
  name: help
spec:
  parentRefs:
    - name: crossgrade
      kind: Gateway
      group: gateway.networking.k8s.io
  rules:
    - matches:
        - headers:
            - type: Exact
              name: x-ai-eg-model
              value: help
            - type: Exact
              name: x-crossgrade-segment
              value: mail
        - headers:
            - type: Exact
              name: x-ai-eg-model
              value: gpt-4.1-mini
            - type: Exact
              name: x-crossgrade-segment
              value: mail
        - headers:
            - type: Exact
              name: x-ai-eg-model
              value: help
            - type: Exact
              name: x-crossgrade-segment
              value: chat
        - headers:
            - type: Exact
              name: x-ai-eg-model
              value: gpt-4.1-mini
            - type: Exact
              name: x-crossgrade-segment
              value: chat
      backendRefs:
        - name: llama
          modelNameOverride: meta-llama/llama-4-scout-17b-16e-instruct
          priority: 0
          weight: 250
        - name: gpt
          modelNameOverride: gpt-4.1
          priority: 0
          weight: 750
        - name: spare
          modelNameOverride: m
          priority: 1
    - matches:
        - headers:
            - type: Exact
              name: x-ai-eg-model
              value: help
        - headers:
            - type: Exact
              name: x-ai-eg-model
              value: gpt-4.1-mini
      backendRefs:
        - name: gpt
          modelNameOverride: gpt-4.1
          priority: 0
          weight: 1000
        - name: spare
          modelNameOverride: m
          priority: 1
---
apiVersion: aigateway.envoyproxy.io/v1alpha1
kind: AIServiceBackend
metadata:
  name: gpt
spec:
  schema:
    name: OpenAI
    prefix: /v1
  backendRef:
    name: gpt
    kind: Backend
    group: gateway.envoyproxy.io
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata:
  name: gpt
spec:
  endpoints:
    - fqdn:
        hostname: api.openai.com
        port: 443
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata:
  name: gpt
spec:
  targetRefs:
    - group: gateway.envoyproxy.io
      kind: Backend
      name: gpt
  validation:
    wellKnownCACertificates: System
    hostname: api.openai.com
---
apiVersion: aigateway.envoyproxy.io/v1alpha1
kind: BackendSecurityPolicy
metadata:
  name: gpt-key
spec:
  targetRefs:
    - group: aigateway.envoyproxy.io
      kind: AIServiceBackend
      name: gpt
  type: APIKey
  apiKey:
    secretRef:
      name: gpt-key
---
apiVersion: aigateway.envoyproxy.io/v1alpha1
kind: AIServiceBackend
metadata:
  name: llama
spec:
  schema:
    name: OpenAI
    prefix: /openai/v1
  backendRef:
    name: llama
    kind: Backend
    group: gateway.envoyproxy.io
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata:
  name: llama
spec:
  endpoints:
    - fqdn:
        hostname: api.groq.com
        port: 443
---
apiVersion: gateway.networking.k8s.io/v1
kind: BackendTLSPolicy
metadata:
  name: llama
spec:
  targetRefs:
    - group: gateway.envoyproxy.io
      kind: Backend
      name: llama
  validation:
    wellKnownCACertificates: System
    hostname: api.groq.com
---
apiVersion: aigateway.envoyproxy.io/v1alpha1
kind: BackendSecurityPolicy
metadata:
  name: llama-key
spec:
  targetRefs:
    - group: aigateway.envoyproxy.io
      kind: AIServiceBackend
      name: llama
  type: APIKey
  apiKey:
    secretRef:
      name: llama-key
---
apiVersion: aigateway.envoyproxy.io/v1alpha1
kind: AIServiceBackend
metadata:
  name: spare
spec:
  schema:
    name: OpenAI
    prefix: /v1
  backendRef:
    name: spare
    kind: Backend
    group: gateway.envoyproxy.io
---
apiVersion: gateway.envoyproxy.io/v1alpha1
kind: Backend
metadata:
  name: spare
spec:
  endpoints:
    - fqdn:
        hostname: gpu.internal
        port: 8000
""")
    assert exported.notes == snapshot(
        (
            "help: Envoy does not know that the certificate expires on 2027-02-01, nor steps back on an alarm: export again by then, and whenever `crossgrade watch` raises one",
            "help: Envoy picks for each request by itself, so a conversation may change model in the middle of the canary",
            "help: clients must send the segment in the header x-crossgrade-segment; without it the incumbent answers",
            "Secret gpt-key must hold MY_KEY under `apiKey`",
            "Secret llama-key must hold GROQ_API_KEY under `apiKey`",
            "a BackendTrafficPolicy with `retry` is needed for fallbacks by `priority` to be tried",
            "`parentRefs` names the Gateway crossgrade: write your own gateway's name there",
        )
    )


def test_envoy_takes_names_that_kubernetes_takes() -> None:
    spec = replace(SPEC, name="My_Route.v1", fallbacks=())
    route, *_ = YAML(typ="safe", pure=True).load_all(to_envoy([plan(None, spec=spec)]).text)
    assert route["metadata"]["name"] == "my-route-v1"
    assert route["spec"]["rules"][0]["matches"][0]["headers"][0]["value"] == "My_Route.v1"


@pytest.mark.parametrize("proxy", EXPORTERS)
def test_a_local_file_is_for_crossgrade_alone(proxy: str) -> None:
    local = Offer(name="llama", provider="local", model="smollm2-135m-instruct")
    with raises_code("export-unsupported" if proxy == "openrouter" else "export-local-model", "llama"):
        EXPORTERS[proxy].write([plan(spec=replace(SPEC, fallbacks=()), llama=local)])


@pytest.mark.parametrize("proxy", EXPORTERS)
def test_everything_else_is_said(proxy: str) -> None:
    offers = {name: Offer(name=name, provider="openrouter", model=name) for name in OFFERS}
    spec = replace(SPEC, shadow=Shadow(rate=0.1), tiers=("t",), max_body_bytes={"llama": 9})
    said = "\n".join(EXPORTERS[proxy].write([plan(spec=spec, **offers)]).notes)
    for word in ("expires on", "makes no shadow pairs", "`tiers`", "`max_body_bytes`"):
        assert word in said
    assert "sk-" not in said


def test_no_key_is_in_any_export(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    assert "sk-very-secret" not in to_litellm([plan()]).text + to_envoy([plan()]).text


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.text(max_size=12)
    | st.sampled_from(["no", "~", "1e3"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_what_is_written_as_yaml_is_read_back(value: JSON) -> None:
    assert read(to_yaml(value)) == value


@pytest.mark.parametrize("export", [to_litellm, to_envoy])
@pytest.mark.parametrize(
    ("policy", "note"),
    [
        (LIMITED, "up to 412,000 bytes a request"),
        (PLAIN, "text without tools"),
        (ROUTED, "does not have the router"),
    ],
)
def test_a_limit_moves_nothing_where_nobody_can_carry_it_out(export: Any, policy: Policy, note: str) -> None:
    exported = export([plan(policy)])
    kept = export([plan(None)])
    assert exported.text == kept.text
    assert any(note in each for each in exported.notes)
