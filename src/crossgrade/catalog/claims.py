"""Checks headline figures on open and proprietary models by computing each one again."""

import csv
import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from importlib.resources import files
from typing import Any

from crossgrade.catalog._catalog import Catalog
from crossgrade.catalog._checks import check_catalog
from crossgrade.catalog._claim import Claim, ClaimStatus, Figure, figures_of, judge
from crossgrade.catalog._listed import base_version
from crossgrade.catalog._successors import closed_models
from crossgrade.domain import Offer, Price
from crossgrade.hosting import known_model, parameters
from crossgrade.outlook import DEFAULT_TOLERANCE, lasting
from crossgrade.pricing import blended_per_mtok

__all__ = ["Claim", "ClaimStatus", "Figure", "check_claims", "figures_of", "judge"]

_BLEND = 3
_GPT_4O = Offer(name="gpt-4o", provider="openai", model="gpt-4o")
_SCOUT = Offer(name="scout", provider="groq", model="meta-llama/llama-4-scout-17b-16e-instruct")
_DAILY_MTOK = 10
_LABS = {
    "OpenAI": ("gpt", "o1", "o3", "o4", "chatgpt"),
    "Anthropic": ("claude",),
    "Google": ("gemini",),
    "xAI": ("grok",),
}


def check_claims(catalog: Catalog, on: date) -> tuple[Claim, ...]:
    """Return every claim with its status, by the prices of a day."""
    table = _Table(catalog=catalog, on=on)
    return tuple(claim for part in (_prices, _sizes, _scores, _others) for claim in part(table))


@lru_cache(maxsize=1)
def _facts() -> Mapping[str, Any]:
    """Return the figures published by others, each with its source."""
    content = (files("crossgrade") / "data" / "claims" / "facts.json").read_bytes()
    facts: Mapping[str, Any] = json.loads(content)
    return facts


@dataclass(frozen=True, slots=True, kw_only=True)
class _Prices:
    """Input, output and 3:1 blend of an offer in dollars per million tokens. None is unknown."""

    input: float | None
    output: float | None
    blend: float | None

    @classmethod
    def of(cls, price: Price | None) -> "_Prices":
        if price is None:
            return cls(input=None, output=None, blend=None)
        amounts = (price.input_per_mtok, price.output_per_mtok, blended_per_mtok(price, _BLEND))
        return cls(**dict(zip(("input", "output", "blend"), map(_float, amounts), strict=True)))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    catalog: Catalog
    on: date

    def prices(self, offer: Offer) -> _Prices:
        return _Prices.of(self.catalog.price(offer, self.on))

    def hosts(self, model: str) -> list[_Prices]:
        """Return the prices of the hosts that sell a model on the day, without doubtful prices."""
        doubtful = {each.listing for each in check_catalog(self.catalog, self.on)}
        found = []
        for listing in self.catalog.listings(self.on):
            offer = listing.offer()
            on_sale = self.catalog.facts(offer, self.on).status(self.on) == "on sale"
            if listing.model == model and on_sale and listing.name not in doubtful:
                found.append(self.prices(offer))
        return found

    def contexts(self, model: str) -> list[int]:
        """Return the known context windows of a model's hosts, in tokens."""
        offers = (each.offer() for each in self.catalog.listings(self.on) if each.model == model)
        found = (self.catalog.facts(offer, self.on).context_tokens for offer in offers)
        return [tokens for tokens in found if tokens is not None]

    def claim(
        self,
        name: str,
        statement: str,
        quoted: float,
        quoted_as: str,
        figures: Sequence[Figure],
        *,
        today: Sequence[Figure] = (),
        **words: str,
    ) -> Claim:
        figures = tuple(figures)
        status, really = judge(quoted, quoted_as, figures)
        unit = words.pop("unit", figures[0].unit)
        return Claim(
            name=name,
            statement=statement,
            quoted=quoted,
            unit=unit,
            quoted_as=quoted_as,
            status=status,
            figures=figures,
            is_really=really,
            on=self.on,
            basis=words.pop("basis", ""),
            source=words.pop("source", f"genai-prices {base_version()} and rates.csv"),
            command=words.pop("command", ""),
            note=words.pop("note", ""),
            today=tuple(today),
        )

    def today(self, model: str, kind: str) -> tuple[Figure, ...]:
        """Return figures with what is sold on the day: each large maker's cheapest model, a model's hosts.

        `kind` is the figure: "price" in dollars per million tokens at 3:1, "daily" for 10 million tokens,
        "ratio" of each closed price over that of the cheapest host.
        """
        cheapest = {each.offer.provider: each for each in reversed(closed_models(self.catalog, self.on))}
        sold = sorted(cheapest.values(), key=lambda each: each.blend_per_mtok)
        blends = {each.offer.name: each.blend_per_mtok for each in sold}
        hosted = min((each.blend for each in self.hosts(model) if each.blend), default=None)
        if kind == "ratio":
            ratios = {f"{name} over {model}": _over(blend, hosted) for name, blend in blends.items()}
            return figures_of(ratios, "times")
        factor, unit = (_DAILY_MTOK, "USD/day") if kind == "daily" else (1, "USD/Mtok")
        figures = {**blends, f"{model}, cheapest host": hosted}
        return figures_of({name: _times(blend, factor) for name, blend in figures.items()}, unit)


def _prices(table: _Table) -> Iterator[Claim]:
    gpt, scout = table.prices(_GPT_4O), table.prices(_SCOUT)
    usd = "USD/Mtok"
    yield table.claim(
        "gpt-4o-price",
        "GPT-4o costs $4.38 per million tokens",
        4.38,
        "3:1 blend",
        figures_of({"input": gpt.input, "output": gpt.output, "3:1 blend": gpt.blend}, usd),
        basis="three input tokens to one output token: (3 x 2.50 + 10) / 4",
        command="crossgrade catalog show gpt-4o@openai",
        note=f"by batch it is half; it depends on the mix: at 20:1 the blend is 2.86{_ends(table)}",
        today=table.today("llama-4-scout", "price"),
    )
    yield table.claim(
        "scout-price",
        "Llama 4 Scout costs $0.11 per million tokens",
        0.11,
        "3:1 blend",
        figures_of({"input": scout.input, "output": scout.output, "3:1 blend": scout.blend}, usd),
        basis="Groq's input price alone, set beside a blend",
        command="crossgrade catalog show llama-4-scout@groq",
        note=_gone(table),
        today=table.today("llama-4-scout", "price"),
    )
    yield from _ratios(table, gpt, scout)
    daily = {
        "3:1, GPT-4o": _times(gpt.blend, _DAILY_MTOK),
        "3:1, Scout": _times(scout.blend, _DAILY_MTOK),
        "all of it input, Scout": _times(scout.input, _DAILY_MTOK),
        "all of it input, GPT-4o": _times(gpt.input, _DAILY_MTOK),
    }
    command = (
        "crossgrade cost --input-tokens 3000 --output-tokens 1000 --per-day 2500 --offer 'llama-4-scout@*'"
    )
    for name, quoted, quoted_as in (("43-a-day", 43.0, "3:1, GPT-4o"), ("1.10-a-day", 1.10, "3:1, Scout")):
        yield table.claim(
            name,
            f"10 million tokens a day cost ${quoted:g} with {quoted_as.rpartition(' ')[2]}",
            quoted,
            quoted_as,
            figures_of(daily, "USD/day"),
            basis="10M tokens a day; like for like both at 3:1",
            command=command,
            today=table.today("llama-4-scout", "daily"),
        )


def _ratios(table: _Table, gpt: _Prices, scout: _Prices) -> Iterator[Claim]:
    hosts = [ratio for host in table.hosts("llama-4-scout") if (ratio := _over(gpt.blend, host.blend))]
    yield table.claim(
        "40x",
        "Scout is 40 times cheaper than GPT-4o",
        40,
        "3:1 blend over 3:1 blend",
        figures_of(
            {
                "input over input": _over(gpt.input, scout.input),
                "output over output": _over(gpt.output, scout.output),
                "3:1 blend over 3:1 blend": _over(gpt.blend, scout.blend),
                "3:1 blend over input": _over(gpt.blend, scout.input),
                "3:1, dearest host on sale": min(hosts, default=None),
                "3:1, cheapest host on sale": max(hosts, default=None),
            },
            "times",
        ),
        basis="a blend divided by an input price",
        command="crossgrade catalog list gpt-4o@openai 'llama-4-scout@*'",
        note=f"against gpt-4o-mini it is {_mini(table, scout)} times",
        today=table.today("llama-4-scout", "ratio"),
    )
    estimate = _facts()["maverick_estimate_per_mtok"]
    listed = sorted(
        ratio for host in table.hosts("llama-4-maverick") if (ratio := _over(gpt.blend, host.blend))
    )
    for name, quoted, end, price in (("9x", 9, "least", "high"), ("23x", 23, "most", "low")):
        at = (0 if end == "least" else -1) if listed else None
        yield table.claim(
            f"maverick-{name}",
            f"Maverick is 9 to 23 times cheaper than GPT-4o (its {end})",
            quoted,
            f"3:1, {end} over the hosts on sale",
            figures_of(
                {
                    f"3:1, {end} over the hosts on sale": None if at is None else listed[at],
                    "3:1, median of the hosts on sale": statistics.median(listed) if listed else None,
                },
                "times",
            )
            + figures_of(
                {
                    f"GPT-4o over the vendor's estimate of {estimate[price]}": _over(
                        gpt.blend, float(estimate[price])
                    )
                },
                "times",
                stated_by_vendor=True,
            ),
            basis="the vendor's launch estimate of 0.19 to 0.49 at 3:1, at which nobody sells",
            source=estimate["source"],
            command="crossgrade catalog list 'llama-4-maverick@*'",
            today=table.today("llama-4-maverick", "ratio"),
        )
    blends = sorted(each.blend for each in table.hosts("llama-4-maverick") if each.blend)
    for name, at in (("low", 0), ("high", -1)):
        quoted_as = f"3:1, {'cheapest' if name == 'low' else 'dearest'} host on sale"
        stated = {"the vendor's launch estimate": float(estimate[name])}
        yield table.claim(
            f"maverick-{estimate[name]}",
            f"Maverick costs $0.19 to $0.49 per million tokens (its {name} end)",
            float(estimate[name]),
            quoted_as,
            (
                *figures_of({quoted_as: blends[at] if blends else None}, "USD/Mtok"),
                *figures_of(stated, "USD/Mtok", stated_by_vendor=True),
            ),
            basis="the low end is distributed serving, the high end one host, both estimated at 3:1",
            source=estimate["source"],
            command="crossgrade catalog list 'llama-4-maverick@*'",
            today=table.today("llama-4-maverick", "price"),
        )
    yield from _nine_to_forty(table, sorted([*hosts, *listed]), gpt, scout)


def _nine_to_forty(table: _Table, ratios: Sequence[float], gpt: _Prices, scout: _Prices) -> Iterator[Claim]:
    estimate = _facts()["maverick_estimate_per_mtok"]
    stated = {"GPT-4o over the vendor's estimate for Maverick": _over(gpt.blend, float(estimate["high"]))}
    for quoted, end, at in ((9, "least", 0), (40, "most", -1)):
        quoted_as = f"3:1, {end} over all hosts on sale"
        computed = {
            quoted_as: ratios[at] if ratios else None,
            "GPT-4o's 3:1 blend over Scout's input at Groq": _over(gpt.blend, scout.input),
        }
        yield table.claim(
            f"9-40x-{end}",
            f"Llama 4 is 9 to 40 times cheaper than GPT-4o (its {end})",
            quoted,
            quoted_as,
            (*figures_of(computed, "times"), *figures_of(stated, "times", stated_by_vendor=True)),
            basis="one end is from an estimate, the other from a blend divided by an input price",
            source=estimate["source"],
            command="crossgrade catalog list gpt-4o@openai 'llama-4-*@*'",
            today=table.today("llama-4-scout", "ratio"),
        )


def _sizes(table: _Table) -> Iterator[Claim]:
    for model, active, total in (("llama-4-scout", 17, 109), ("llama-4-maverick", 17, 400)):
        count = parameters(known_model(model))
        for name, quoted, value in (("active", active, count.active), ("total", total, count.total)):
            yield table.claim(
                f"{model}-{name}",
                f"{model} has {active}B active of {total}B parameters ({name})",
                quoted,
                f"{name} parameters",
                figures_of({f"{name} parameters": value / 1e9}, "billion"),
                basis="the text model; vision adds about 0.9 billion",
                source="counted from its config.json",
                command="crossgrade cost scaling",
                note="in bytes read, all experts are used from a batch of 64 (Scout) or 256 (Maverick)"
                if name == "active"
                else "",
            )
    experts = known_model("llama-4-maverick").experts
    yield table.claim(
        "128-experts",
        "Maverick has 128 experts",
        128,
        "routed experts of a layer",
        figures_of({"routed experts of a layer": float(experts)}, "experts"),
        basis="in every second layer; a token uses one of them and a shared one",
        source="counted from its config.json",
        command="crossgrade cost scaling",
    )
    for name, quoted in (("active", 288), ("total", 2000)):
        yield table.claim(
            f"behemoth-{name}",
            f"Llama 4 Behemoth has 288B active of 2T parameters ({name})",
            quoted,
            f"{name} parameters",
            figures_of({f"{name} parameters": None}, "billion"),
            basis="announced; there is no config.json and no weights to count",
            source=_facts()["behemoth"]["source"],
            command="crossgrade cost scaling",
        )


def _scores(table: _Table) -> Iterator[Claim]:
    behemoth, bench = _facts()["behemoth"], _facts()["terminal_bench_2_0"]
    for quoted, quoted_as in ((95.0, "MATH-500"), (82.2, "GPQA Diamond")):
        yield table.claim(
            f"behemoth-{quoted_as.lower().replace(' ', '-')}",
            f"Behemoth scores {quoted} on {quoted_as}",
            quoted,
            quoted_as,
            figures_of(behemoth["scores"], "%", stated_by_vendor=True),
            basis="the vendor's own table; the weights were never released, so it cannot be measured",
            source=behemoth["source"],
            note="a vendor's score may plan a run, never certify a policy",
        )
    yield table.claim(
        "terminal-bench",
        "GPT-5.3-Codex scores 77.3 on Terminal-Bench 2.0",
        77.3,
        "share of trials",
        figures_of({"share of trials": 100 * bench["right"] / bench["trials"]}, "%"),
        basis=f"{bench['right']} of {bench['trials']} trials, for one agent: {bench['agent']}",
        source=bench["source"],
        note=f"a score belongs to model, agent and version together; {bench['best_later']}",
    )


def _others(table: _Table) -> Iterator[Claim]:
    facts = _facts()
    context = facts["context"]
    hosts = table.contexts("llama-4-scout")
    closed = context["proprietary_tokens"]
    yield table.claim(
        "10x-context",
        "Open models take 10 times the context",
        10,
        "median of what hosts sell, over a proprietary window",
        figures_of(
            {
                "median of what hosts sell, over a proprietary window": statistics.median(hosts) / closed
                if hosts
                else None,
            },
            "times",
        )
        + figures_of(
            {"the model's advertised window, over a proprietary one": context["advertised_tokens"] / closed},
            "times",
            stated_by_vendor=True,
        ),
        basis="10M advertised by the model's authors; what a host serves is in the catalogue",
        source=context["source"],
        command="crossgrade catalog list 'llama-4-scout@*'",
        note="advertised is not measured; it was trained at 256K, and 10M keep 493 GB for one request",
    )
    yield from _paces(table)
    ruler = facts["ruler"]
    yield table.claim(
        "ruler-beyond-1m",
        "RULER shows that accuracy drops above 1M tokens",
        1024,
        "longest length in RULER's table",
        figures_of({"longest length in RULER's table": ruler["longest_tokens"] / 1024}, "K tokens"),
        basis="the published table ends at 128K, so it says nothing of 1M",
        source=ruler["source"],
        command="crossgrade probe ruler-table",
        note="most models drop well before: measure yours with `crossgrade probe run`",
    )
    yield table.claim(
        "3-billion-devices",
        "Open models reach 3 billion devices",
        3,
        "billion devices that run an open model",
        figures_of({"billion devices that run an open model": None}, "billion"),
        basis="a count of users or of devices sold is no count of devices on which a model runs",
        source="nobody has published a measurement",
    )
    yield table.claim(
        "48-hour-integration",
        "A new model is integrated in 48 hours",
        48,
        "hours from a model's name to certified traffic",
        figures_of({"hours from a model's name to certified traffic": None}, "hours"),
        basis="depends on the team's samples, judge and review",
        source="nobody has published a measurement",
        command="crossgrade onboard OFFER",
        note="`onboard` says how long it took here",
    )
    for quoted, leaving in ((20, 0.8), (30, 0.7)):
        yield table.claim(
            f"api-market-{quoted}",
            f"The proprietary API market shrinks to 20 to 30 % ({quoted} %)",
            quoted,
            "share of revenue left",
            (
                Figure(name="share of revenue left", value=None, unit="%"),
                Figure(name="volume that must leave, at no growth", value=None, unit="%"),
            ),
            basis=f"a forecast: {leaving:.0%} of the volume would have to leave, all else being equal",
            source="arithmetic: revenue left = (1 - share that leaves) x growth of volume",
            command="crossgrade cost outlook",
            note=f"with volume doubling meanwhile, {200 * (1 - leaving):.0f} % of the revenue is left",
        )


def _paces(table: _Table) -> Iterator[Claim]:
    """Yield the claims on how fast models follow each other."""
    records, labs = _facts()["record_releases"], _lab_cadence()
    median = "median over closed labs, weeks between releases"
    weeks = {
        median: statistics.median(labs.values()),
        **{f"{lab}, weeks between releases": each for lab, each in labs.items()},
        **{
            f"mean weeks between records, {camp} models": _weeks(records[camp]) for camp in ("closed", "open")
        },
    }
    yield table.claim(
        "7-week-cycles",
        "Closed labs release a model every 7 weeks",
        7,
        median,
        figures_of(weeks, "weeks"),
        basis="days on which a lab released a model of the capability index; gaps vary as much as their mean",
        source=records["source"],
        command="crossgrade cost outlook",
        note="records of a camp, open or closed, are rarer than one lab's releases",
    )
    lasts = lasting()
    chances = () if lasts is None else lasts.chances
    months = {f"months at a tolerance of {each.tolerance:.0%}": each.months for each in chances}
    yield table.claim(
        "6-month-half-life",
        "A choice of model is outdated in 6 months",
        6,
        f"months at a tolerance of {DEFAULT_TOLERANCE:.0%}",
        figures_of(months, "months"),
        basis="months to an even chance that another offer is better by more than the tolerance",
        source="the outlook's simulation, fitted on releases and prices since 2023",
        command="crossgrade cost outlook",
        note="the choice of a camp, open or closed, lasts several times as long",
    )


@lru_cache(maxsize=1)
def _lab_cadence() -> Mapping[str, float]:
    """Return the mean weeks between the release days of each large closed lab in the capability index."""
    text = (files("crossgrade") / "data" / "outlook" / "capability_index.csv").read_text(encoding="utf-8")
    closed = [row for row in csv.DictReader(text.splitlines()) if row["open"] == "False"]
    return {
        lab: _weeks(sorted({row["date"] for row in closed if row["model"].lower().startswith(names)}))
        for lab, names in _LABS.items()
    }


def _ends(table: _Table) -> str:
    retires = table.catalog.facts(_GPT_4O, table.on).retires_on
    return "" if retires is None else f"; GPT-4o retires on {retires}"


def _gone(table: _Table) -> str:
    facts = table.catalog.facts(_SCOUT, table.on)
    if facts.delisted_on is not None:
        return f"gone from the price catalogues since {facts.delisted_on}: ask before you rely on it"
    return ""


def _mini(table: _Table, scout: _Prices) -> str:
    mini = table.prices(Offer(name="mini", provider="openai", model="gpt-4o-mini"))
    ratio = _over(mini.blend, scout.blend)
    return "an unknown number of" if ratio is None else f"{ratio:.2g}"


def _weeks(days: Sequence[str]) -> float:
    """Return the mean weeks between releases."""
    first, last = date.fromisoformat(days[0]), date.fromisoformat(days[-1])
    return (last - first).days / 7 / (len(days) - 1)


def _over(one: float | None, other: float | None) -> float | None:
    return None if one is None or not other else one / other


def _times(one: float | None, factor: float) -> float | None:
    return None if one is None else one * factor


def _float(amount: Any) -> float | None:
    return None if amount is None else float(amount)
