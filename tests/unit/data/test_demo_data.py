"""The data that ships with the package is what its README says."""

import csv
import gzip
import io
import json
from collections import Counter
from importlib.resources import files

from crossgrade.config import load_config

DEMO = files("crossgrade") / "data" / "demo"
GPT4, MIXTRAL = "gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"


def tickets():
    return [json.loads(line) for line in (DEMO / "support.jsonl").read_text("utf-8").splitlines()]


def outcomes(text, incumbent=GPT4, candidate=MIXTRAL):
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len({row["item_id"] for row in rows}) == len(rows)
    return Counter(row[incumbent] + row[candidate] for row in rows)


def test_tickets_are_distinct_and_balanced():
    rows = tickets()
    assert len({row["id"] for row in rows}) == len({row["ticket"] for row in rows}) == 300
    answers = Counter((row["segment"], row["target"]) for row in rows if row["segment"] != "extraction")
    assert answers == {
        ("sentiment", "positive"): 48,
        ("sentiment", "negative"): 52,
        **{("routing", team): 25 for team in ("account", "billing", "delivery", "technical")},
    }
    cities = [row["target"] for row in rows if row["segment"] == "extraction"]
    assert len(set(cities)) == len(cities) == 100


def test_no_ticket_gives_its_own_answer_away():
    for row in tickets():
        assert row["ticket"] not in row["examples"]
        if row["segment"] == "extraction":
            assert row["target"] in row["ticket"]
            assert row["target"] not in row["examples"]


def test_examples_are_the_same_within_a_segment():
    assert len({(row["segment"], row["examples"]) for row in tickets()}) == 3


def test_configuration_is_valid_and_uses_the_known_models(tmp_path):
    for name in ("crossgrade.yaml", "support.jsonl"):
        (tmp_path / name).write_bytes((DEMO / name).read_bytes())
    workload = load_config(tmp_path / "crossgrade.yaml").workloads["support"]
    assert workload.incumbent.prompt == workload.candidates[0].prompt
    assert workload.incumbent.settings == workload.candidates[0].settings
    assert [v.offer.model for v in (workload.incumbent, *workload.candidates)] == [
        "gemma-3-270m",
        "smollm2-135m-instruct",
    ]


def test_published_outcomes_have_the_published_counts():
    text = (DEMO / "gsm8k_regraded.csv").read_text("utf-8")
    published = outcomes(text, f"{GPT4} as published", f"{MIXTRAL} as published")
    assert published == {"11": 747, "10": 383, "01": 95, "00": 94}
    assert outcomes(text) == {"11": 776, "10": 397, "01": 67, "00": 79}
    mmlu = gzip.decompress((DEMO / "mmlu.csv.gz").read_bytes()).decode()
    assert outcomes(mmlu) == {"11": 8818, "10": 2497, "01": 742, "00": 1985}
    broken = [row for row in csv.DictReader(io.StringIO(mmlu)) if row["subject"] == "high_school_mathematics"]
    assert (len(broken), sum(row[GPT4] == "1" for row in broken)) == (270, 8)


def test_function_calls_have_the_published_counts():
    rows = csv.DictReader(io.StringIO(gzip.decompress((DEMO / "bfcl.csv.gz").read_bytes()).decode()))
    passed, asked = Counter(), Counter()
    for row in rows:
        passed[row["model"], row["segment"]] += int(row["score"])
        asked[row["segment"]] += 1
    assert asked == {"live_simple": 3 * 258, "parallel_multiple": 3 * 200}
    assert passed == {
        ("gpt-4o-2024-11-20", "live_simple"): 209,
        ("gpt-4o-2024-11-20", "parallel_multiple"): 170,
        ("llama-4-scout", "live_simple"): 201,
        ("llama-4-scout", "parallel_multiple"): 156,
        ("llama-4-maverick", "live_simple"): 215,
        ("llama-4-maverick", "parallel_multiple"): 175,
    }


def test_the_outcomes_stay_small():
    names = ("bfcl.csv.gz", "gsm8k_regraded.csv", "mmlu.csv.gz")
    assert sum(len((DEMO / name).read_bytes()) for name in names) < 200_000
