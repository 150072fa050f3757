"""The sections of crossgrade.yaml: every key with its type, range, default and description.

The descriptions are the source of docs/reference/config.md and of the JSON schema for editors.
"""

from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import Field, JsonValue, model_validator

from crossgrade.config._access_schema import AccessSection
from crossgrade.config._agent_schema import AgentSection, AgentTrialsSection
from crossgrade.config._dossier_schema import DossierSection
from crossgrade.config._safety_schema import SafetySection
from crossgrade.config._section import Name, Rate, Section, Text, Url, Variable
from crossgrade.config._serving_schema import LedgerSection, RouteSection, ServeSection, WatchSection
from crossgrade.config._team_schema import TeamSection
from crossgrade.domain import EvidenceClass, Mode


class PriceSection(Section):
    """A list price in US dollars. A change of price is a new entry with its first day."""

    input_per_mtok: Rate | None = Field(
        default=None, description="Dollars per million input tokens. Null means unknown."
    )
    output_per_mtok: Rate | None = Field(
        default=None, description="Dollars per million output tokens. Null means unknown."
    )
    cache_read_per_mtok: Rate | None = Field(
        default=None, description="Dollars per million input tokens read from the provider's cache."
    )
    cache_creation_per_mtok: Rate | None = Field(
        default=None, description="Dollars per million input tokens written to the provider's cache."
    )
    request_usd: Rate = Field(
        default=Decimal(0), description="Dollars per request, added to the price of tokens."
    )
    batch_discount: Annotated[Decimal, Field(ge=0, le=1)] | None = Field(
        default=None, description="Discount of the batch API as a share, 0 to 1."
    )
    reasoning_per_mtok: Rate | None = Field(
        default=None, description="Dollars per million reasoning tokens. Default: the output price."
    )
    image_usd: Rate | None = Field(
        default=None, description="Dollars per image, added to the price of its tokens."
    )
    valid_from: date | None = Field(
        default=None,
        description="First day of the price, YYYY-MM-DD. Only the oldest entry may leave it out.",
    )
    source: Text = Field(default="user", description="Source of the price, for example an address.")


class ModelSection(Section):
    """An offer: a model at a provider, at a price."""

    provider: Text = Field(description="Who serves the model: `openai`, `anthropic`, `groq`, `local`, …")
    model: Text = Field(description="The model's id at that provider, or the id of a local model.")
    base_url: Url | None = Field(
        default=None, description="Address of the API, if it is not the provider's own."
    )
    api_key_env: Variable | None = Field(
        default=None, description="Name of the environment variable that holds the key, never the key itself."
    )
    prices: list[PriceSection] = Field(
        default=[], description="Dated list prices, oldest first. Default: the catalogue's prices."
    )
    region: Text | None = Field(
        default=None,
        description="Region in which requests are processed, as named in `requirements.regions`.",
    )
    licence: Text | None = Field(
        default=None, description="The model's licence, as named in `requirements.licences`."
    )
    open_weights: bool | None = Field(
        default=None, description="Whether the weights are published. Null means unknown."
    )
    context_tokens: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Advertised context window in tokens."
    )
    retires_on: date | None = Field(
        default=None, description="Day on which the provider stops serving the model, YYYY-MM-DD."
    )
    trained_until: date | None = Field(
        default=None, description="Last day of the model's training data, as its provider states it."
    )
    max_concurrency: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=16,
        description="Maximum number of concurrent calls. The runner finds the best number up to it.",
    )
    timeout_s: Annotated[float, Field(gt=0, le=86_400)] = Field(
        default=120.0, description="Seconds to wait for one answer."
    )
    patience_s: Annotated[float, Field(ge=0, le=86_400)] = Field(
        default=300.0,
        description="Seconds to keep retrying while the provider only answers 429 (too many requests).",
    )
    batch: bool = Field(
        default=False, description="Whether to use the provider's batch API, which is slower and cheaper."
    )
    replicas: Annotated[list[Name], Field(max_length=64)] = Field(
        default=[],
        description="Names from `models` that share this model's requests: the same model at other "
        "addresses, with other keys or in other regions.",
    )
    weight: Annotated[float, Field(ge=0, le=1e9)] = Field(
        default=1.0,
        description="Share of the requests, relative to the replicas. A model with weight 0 is asked only "
        "when the others fail.",
    )
    caller_fields: Annotated[list[Name], Field(max_length=64)] = Field(
        default=[],
        description="Fields of requests that callers may set although they choose another model, adapter, "
        "host or region at this provider, for example `provider` at OpenRouter, or tools behind which "
        "another model answers, for example `tools.image_generation` at OpenAI.",
    )
    adapter: Text | None = Field(
        default=None,
        description="Path of a LoRA adapter in a GGUF file, from the project's folder, with which a local "
        "model answers. `crossgrade distil` writes one.",
    )


class PromptSection(Section):
    """How a sample becomes a request. Only `{field}` is replaced, by the sample's field."""

    user: Text = Field(default="{input}", description="The user's message, with `{field}` placeholders.")
    system: Text | None = Field(default=None, description="The system message, with `{field}` placeholders.")
    text: bool = Field(
        default=False,
        description="Send `user` as one raw completion prompt, for base models without a chat template.",
    )
    response_schema: dict[str, JsonValue] | None = Field(
        default=None, description="JSON schema that the answer must follow, if the provider can enforce it."
    )
    history: Text | None = Field(
        default=None,
        description="Dataset field with the conversation's earlier messages, a list of `{role, content}`. "
        "They are sent between the system message and the user's.",
    )
    grammar: Text | None = Field(
        default=None,
        description="Grammar in GBNF that the answer must follow, at providers that take one: local models, "
        "`llamacpp`, `vllm` and `fireworks`. Others refuse the request.",
    )


class SettingsSection(Section):
    """Decoding settings. Null means the provider's default."""

    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=0.0, description="Sampling temperature."
    )
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None, description="Nucleus sampling share."
    )
    max_output_tokens: Annotated[int, Field(ge=1)] | None = Field(
        default=512, description="Maximum number of tokens in an answer."
    )
    stop: Annotated[list[Text], Field(max_length=16)] = Field(
        default=[], description="Texts that end an answer."
    )
    seed: int | None = Field(default=None, description="Sampling seed, if the provider takes one.")
    reasoning_effort: Text | None = Field(
        default=None, description="Effort of a reasoning model, in the provider's own terms."
    )


class VariantSection(Section):
    """A model in a workload: its name, or a mapping that also changes its prompt or settings."""

    model: Name = Field(description="A name from `models`.")
    prompt: PromptSection | None = Field(
        default=None, description="Keys that replace the workload's `prompt` for this model."
    )
    settings: SettingsSection | None = Field(
        default=None, description="Keys that replace the workload's `settings` for this model."
    )

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"model": value} if isinstance(value, str) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Describe both forms."""
        mapping = handler.resolve_ref_schema(handler(core_schema))
        both = {"anyOf": [{"type": "string"}, dict(mapping)], "description": mapping.pop("description", "")}
        mapping.clear()
        mapping.update(both)
        return dict(mapping)


class ScorerSection(Section):
    """How answers are scored. docs/reference/scorers.md lists the kinds and their options."""

    kind: Text = Field(
        description="The kind of scorer: `exact`, `numeric`, `choice`, `json_fields`, `judge`, …"
    )
    options: dict[str, JsonValue] = Field(default={}, description="Options of that scorer.")
    chance: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="Mean score of guessing, at least 0 and less than 1."
    )
    zero: Text = Field(
        default="worthless",
        description="What a score of 0 means. A retention depends on where its scale starts.",
    )


class RequirementsSection(Section):
    """Conditions on a candidate besides quality. Null sets no condition."""

    evidence: EvidenceClass = Field(
        default="plain",
        description="`agentic` workloads stay with the incumbent until `trials` names runs of your agent. "
        "`regulated` and `gated` ones do, because Crossgrade cannot import the evidence that they need yet.",
    )
    context_tokens: Annotated[int, Field(ge=1)] | None = Field(
        default=None, description="Required context window, in tokens."
    )
    regions: list[Text] = Field(
        default=[], description="Regions in which requests may be processed. Empty allows all."
    )
    licences: list[Text] = Field(default=[], description="Allowed licences. Empty allows all.")
    latency_p95_ms: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Maximum 95th percentile of the time to the whole answer, in milliseconds."
    )
    ttft_p95_ms: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="Maximum 95th percentile of the time to the first token, in milliseconds."
    )
    error_rate: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="Maximum share of calls that may fail."
    )
    documents: list[Text] = Field(
        default=[],
        description="Files that a `regulated` workload requires. Their existence does not count as evidence.",
    )
    safety: Annotated[list[Text], Field(max_length=32)] = Field(
        default=[],
        description="Names from `safety.suites`. No candidate is switched to before its rate and the "
        "incumbent's are known on each.",
    )


class LoggedTrafficSection(Section):
    """What the log that a workload was drawn from says of its traffic. `workload create` writes it."""

    represented_share: Annotated[float, Field(gt=0, le=1)] | None = Field(
        default=None,
        description="Share of the workload's requests that the samples stand for. A verdict speaks of these "
        "requests only, and all others stay with the incumbent.",
    )
    left_out: dict[Text, Annotated[float, Field(ge=0, le=1)]] = Field(
        default={}, description="Shares of the requests that no sample stands for, by cause."
    )
    hours: Annotated[float, Field(ge=0)] | None = Field(default=None, description="Length of the log.")
    requests_per_month: Annotated[int, Field(ge=1, le=10**15)] | None = Field(
        default=None, description="Represented requests a month, at the log's mean rate."
    )
    low: Annotated[float, Field(ge=0)] | None = Field(
        default=None,
        description="Lower end of the 95 % interval of that number. It counts while `requests_per_month` of "
        "the workload is the log's.",
    )
    high: Annotated[float, Field(ge=0)] | None = Field(default=None, description="Upper end of the interval.")
    peak_tokens_per_minute: Annotated[int, Field(ge=1, le=10**15)] | None = Field(
        default=None,
        description="Input and output tokens in the busiest minute of the log. `doctor --live` compares them "
        "with the limits that a provider states.",
    )
    cache_saving_share: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None,
        description="Share of the represented requests' cost that reading repeated system prompts from the "
        "provider's cache would have saved. A verdict compares a move with that bill too.",
    )
    calls_per_run: Annotated[float, Field(ge=1, le=10**6)] | None = Field(
        default=None,
        description="Calls in a run of the agent behind the requests, in the mean. With the tokens below it "
        "says what trials of the agent cost.",
    )
    input_tokens_per_run: Annotated[float, Field(ge=0, le=10**12)] | None = Field(
        default=None, description="Input tokens of all calls of such a run, those from a cache among them."
    )
    cached_tokens_per_run: Annotated[float, Field(ge=0, le=10**12)] | None = Field(
        default=None, description="Input tokens of such a run that were read from a cache."
    )
    output_tokens_per_run: Annotated[float, Field(ge=0, le=10**12)] | None = Field(
        default=None, description="Output tokens of such a run."
    )


class WorkloadSection(Section):
    """A named class of traffic: its dataset, models, scorer and the settings of the test."""

    kind: Literal["request", "agent"] = Field(
        default="request",
        description="What a sample is: `request` is one request to a model, `agent` a task that an agent "
        "works on. See `agent`.",
    )
    dataset: Text = Field(
        description="JSONL, CSV or Parquet file, relative to this file and inside its folder. For "
        "`kind: agent` it is a folder with a folder for each task, as Harbor has them."
    )
    id_field: Text | None = Field(
        default=None, description="Dataset field with a unique id. Default: a hash of the content."
    )
    target_field: Text = Field(default="target", description="Dataset field with the reference answer.")
    segment_field: Text | None = Field(
        default=None,
        description="Dataset field with the segment. A segment may move to a candidate by itself.",
    )
    cluster_field: Text | None = Field(
        default=None,
        description="Dataset field shared by samples that belong together (document, conversation).",
    )
    weight_field: Text | None = Field(
        default=None, description="Dataset field with the share of traffic that a sample represents."
    )
    prompt: PromptSection = Field(default=PromptSection(), description="The prompt of every model.")
    settings: SettingsSection = Field(
        default=SettingsSection(), description="The decoding settings of every model."
    )
    scorer: ScorerSection = Field(description="How answers are scored.")
    incumbent: VariantSection = Field(description="The model that serves this traffic today.")
    candidates: Annotated[list[VariantSection], Field(min_length=1, max_length=64)] = Field(
        description="Models that may replace the incumbent, including cheap proprietary ones."
    )
    floor: Annotated[float, Field(ge=0.01, lt=2)] = Field(
        default=0.85, description="Share of the incumbent's mean score that must be kept."
    )
    whole_floor: Annotated[float, Field(ge=0.01, lt=2)] | None = Field(
        default=None,
        description="Share that the whole workload must keep under the policy. `floor` is then for the "
        "requests that move, and both must hold. Needs `router: true`.",
    )
    alpha: Annotated[float, Field(ge=1e-6, lt=0.5)] = Field(
        default=0.05, description="Accepted probability of certifying a policy that is below the floor."
    )
    rounds: Annotated[int, Field(ge=1, le=10)] = Field(
        default=1,
        description="Planned tests that share `alpha`: the decision on these candidates, and one each time "
        "that a candidate is tuned (`crossgrade port`, `crossgrade distil`). Every round gets half of what "
        "is left, and the last one all of it.",
    )
    mode: Mode = Field(
        default="sequential",
        description="`sequential` stops as soon as the verdict is certain. `fixed` asks all planned "
        "samples. A run in mode `anytime` may be checked and extended at any time, but not imported results.",
    )
    planned: Annotated[int, Field(ge=1)] | None = Field(
        default=None,
        description="Maximum number of samples that every model answers. Default: the whole dataset. With "
        "`blocks` a run may ask the candidates more samples and the incumbent fewer, for the same power.",
    )
    epochs: Annotated[int, Field(ge=1, le=100)] = Field(
        default=1, description="Number of times that each sample is asked."
    )
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = Field(
        default=1, description="Seed of the order in which samples are asked."
    )
    requests_per_month: Annotated[int, Field(ge=1, le=10**15)] | None = Field(
        default=None,
        description="Requests a month that the samples stand for, used for savings per month. Without it "
        "they are unknown.",
    )
    public_since: date | None = Field(
        default=None,
        description="Day on which the samples became public, as those of a benchmark. A candidate that was "
        "trained later may know them (guard `contamination`).",
    )
    texts_until: date | None = Field(
        default=None,
        description="Last day on which you may keep the dataset's texts. After it the dataset is not read.",
    )
    client_api: Literal["openai", "openai-responses", "anthropic"] | None = Field(
        default=None,
        description="API that the workload's clients speak. A candidate of another API is not asked about "
        "requests that its API cannot express. These stay with the incumbent.",
    )
    uncarried_field: Text = Field(
        default="uncarried",
        description="Dataset field that names what keeps a request from other APIs, such as `logit_bias`. "
        "Null or missing: nothing does.",
    )
    logged_traffic: LoggedTrafficSection | None = Field(
        default=None, description="What the log behind the samples says of the traffic."
    )
    max_cost_usd: Annotated[Decimal, Field(ge=0, max_digits=20)] | None = Field(
        default=None, description="Maximum dollars that a run may spend. `--max-cost` overrides it."
    )
    errors_count_as_zero: bool = Field(
        default=True,
        description="Score failed calls 0. If false, they are left out, which favours the model that fails.",
    )
    splits_only: bool = Field(
        default=False,
        description="Test only the segments, never the whole. This takes fewer samples.",
    )
    every_hypothesis: bool = Field(
        default=False,
        description="Continue with segments and more expensive candidates after the verdict is certain.",
    )
    blocks: bool = Field(
        default=True,
        description="Let the incumbent answer one sample in K, if that costs less for the same power.",
    )
    router: bool = Field(
        default=False,
        description="Train a router on half of the samples, and certify what it moves on the others. "
        "Needs `mode: fixed`, one candidate, and no `family_alpha`.",
    )
    probes: Annotated[list[Text], Field(max_length=64)] = Field(
        default=[],
        description="Context probes (`crossgrade probe run`) whose certified lengths limit the candidates. "
        "Longer requests stay with the incumbent.",
    )
    requirements: RequirementsSection = Field(
        default=RequirementsSection(), description="Conditions on a candidate besides quality."
    )
    trials: AgentTrialsSection | None = Field(
        default=None, description="Runs of the agent behind the requests, for an `agentic` workload."
    )
    agent: AgentSection | None = Field(
        default=None,
        description="The agent that works on the tasks, for `kind: agent`. Each variant's model answers its "
        "calls, `epochs` is the number of attempts at each task, and the scorer is `reward`.",
    )


class ConfigFile(Section):
    """crossgrade.yaml: models, workloads, how traffic is served and watched, and where results are stored."""

    models: Annotated[dict[Name, ModelSection], Field(min_length=1)] = Field(
        description="Offers, by a name of your choice. Results and verdicts use this name."
    )
    workloads: dict[Name, WorkloadSection] = Field(
        default={}, description="Workloads, by a name of your choice."
    )
    routes: dict[Name, RouteSection] | None = Field(
        default=None,
        description="Streams of requests, by a name of your choice. By default each workload is a route "
        "with the same name.",
    )
    serve: ServeSection = Field(
        default=ServeSection(), description="How `crossgrade serve` listens, and which requests it accepts."
    )
    access: AccessSection = Field(
        default=AccessSection(), description="Who may use which model of a gated route, and on what evidence."
    )
    safety: SafetySection = Field(
        default=SafetySection(), description="Prompts that show how safe a model is, and limits on the rates."
    )
    watch: WatchSection = Field(
        default=WatchSection(), description="How `crossgrade watch` checks that verdicts still hold."
    )
    ledger: LedgerSection = Field(
        default=LedgerSection(), description="Who cosigns the ledger, and whether it keeps texts."
    )
    dossier: DossierSection = Field(
        default=DossierSection(), description="What is stated for dossiers, and when they count."
    )
    family_alpha: Annotated[float, Field(ge=1e-6, lt=0.5)] | None = Field(
        default=None,
        description="Accepted probability of certifying anything wrongly over all workloads together. Each "
        "workload begins with an equal part of it. By default each workload has its own `alpha`.",
    )
    team: TeamSection = Field(
        default=TeamSection(),
        description="Facts of your company that licences and hosts ask for, and your contracts.",
    )
    price_files: Annotated[list[Text], Field(max_length=32)] = Field(
        default=[],
        description="CSV files of dated prices, which take precedence over the packaged catalogue. "
        "`crossgrade catalog import` writes them.",
    )
    plugins: Annotated[list[Name], Field(max_length=64)] = Field(
        default=[],
        description="Installed packages whose scorers, guards, hosts and so on may be used, such as "
        "`crossgrade-foo`. No other package is ever imported.",
    )
    store: Text = Field(
        default=".crossgrade/crossgrade.db",
        description="SQLite file inside the project's folder, or a database URL without password. The "
        "environment variable CROSSGRADE_DATABASE_URL overrides it.",
    )
    valid_days: Annotated[int, Field(ge=1, le=3650)] | None = Field(
        default=None,
        description="Days until a verdict expires. Default: the half-life of today's best offer in "
        "`crossgrade cost outlook`.",
    )
