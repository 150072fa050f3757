"""`crossgrade cost host|measure|calibrate|scaling|outlook` as typed."""

import csv
import json
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from crossgrade.cli import cost_calibrate, cost_host, cost_measure, cost_outlook, cost_scaling
from crossgrade.errors import DataError, NotFoundError, UsageError
from crossgrade.testing.fake import FakeProvider, Reply
from tests.codes import noted


def invoke(module, *arguments):
    return CliRunner().invoke(
        module.command, [str(argument) for argument in arguments], catch_exceptions=True
    )


def read(module, *arguments):
    result = invoke(module, *arguments, "--json")
    assert result.exception is None, result.exception
    return json.loads(result.stdout)


def test_host_prints_a_ladder_with_its_band_and_break_even() -> None:
    found = read(cost_host, "scout", "--tp", 4, "--kv-bits", 16, "--against", "4.375")
    assert found["parameters"] == {"total": 107_769_861_120, "active": 17_172_894_720}
    assert found["deployment"]["usd_per_day"] == "225.60"
    assert found["break_even"]["tokens_per_day"] == 51_565_714
    assert [step["in_flight"] for step in found["ladder"]][:3] == [1, 4, 16]
    assert all(step["per_mtok"]["low"] < step["per_mtok"]["value"] for step in found["ladder"])
    shown = invoke(cost_host, "scout", "--tp", 4, "--against", "4.375")
    assert "$/M in" in shown.stdout
    assert noted(shown.stderr, "break-even", "4.375")


def test_host_says_what_the_other_width_of_the_cache_does() -> None:
    found = read(cost_host, "scout", "--tp", 4)
    assert found["other_cache"]["kv_bits"] == 16
    assert found["other_cache"]["sequences"] < found["memory"]["sequences"]
    assert found["other_cache"]["per_mtok"]["value"] > found["ladder"][-1]["per_mtok"]["value"]
    assert noted(invoke(cost_host, "scout", "--tp", 4).stderr, "other-cache", "16-bit")


def test_host_prices_a_long_prompt_and_says_what_does_not_fit() -> None:
    sizes = [option for n in (131_072, 1_000_000, 10_000_000) for option in ("--prompt-tokens", n)]
    found = read(cost_host, "scout", "--tp", 4, *sizes)["prompts"]
    for cost, (about, fits) in zip(found, [(0.06, True), (0.32, True), (2.8, False)], strict=True):
        assert cost["per_mtok"]["low"] <= about <= cost["per_mtok"]["high"]
        assert (cost["missing_bytes"] == 0) is fits
    assert "GB a GPU too small" in invoke(cost_host, "scout", "--tp", 4, *sizes).stdout


def test_host_reads_a_config_json(tmp_path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({
        "model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096, "num_attention_heads": 32,
        "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256,
    }))  # fmt: skip
    assert read(cost_host, "--config-json", path)["parameters"]["total"] == 8_030_261_248


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        (["lama-3.3"], NotFoundError, "lama-3.3"),
        (["scout", "--gpu", "h10"], NotFoundError, "h10"),
        ([], UsageError, "Missing MODEL"),
        (["scout", "--usd-per-gpu-hour", "0"], UsageError, "usd-per-gpu-hour"),
        (["scout", "--usd-per-gpu-hour", "2,35"], UsageError, "no number"),
        (["scout", "--input-tokens", "-3"], UsageError, "input tokens"),
        (["scout", "--tp", "1"], UsageError, "does not fit"),
        (["scout", "--tp", "3"], UsageError, "cannot share the 40 heads"),
        (["scout", "--kv-bits", "3"], UsageError, "cache"),
        (["--config-json", "/nonexistent.json"], DataError, "no such file"),
    ],
)
def test_host_refuses_what_it_cannot_use(arguments, error, named) -> None:
    result = invoke(cost_host, *arguments)
    assert isinstance(result.exception, error)
    assert named in str(result.exception)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"model_type": "mamba"}'])
def test_host_refuses_what_is_no_config(tmp_path, text) -> None:
    path = tmp_path / "config.json"
    path.write_text(text)
    assert isinstance(invoke(cost_host, "--config-json", path).exception, DataError)


def test_measure_reports_each_level_and_writes_rows_that_calibrate_reads(tmp_path) -> None:
    rows = tmp_path / "rows.csv"
    with FakeProvider(Reply(text="a b c d", output_tokens=40, delay_s=0.001)) as fake:
        found = read(
            cost_measure, "--endpoint", fake.base_url, "--model", "fake-model", "--usd-per-hour", "3.6", "--in-flight", 1,
            "--in-flight", 3, "--calls", 2, "--input-words", 5, "--save", rows, "--architecture", "scout", "--gpu", "h100",
        )  # fmt: skip
        prompts = {request.json["messages"][0]["content"] for request in fake.requests}
        assert len(prompts) == len(fake.requests) == 1 + 2 + 6  # no two share a prefix; one warms up
    levels = found["levels"]
    assert [(level["in_flight"], level["n"], level["errors"]) for level in levels] == [(1, 2, 0), (3, 6, 0)]
    for level in levels:
        assert level["output_tokens_s"] == pytest.approx(40 * level["n"] / level["seconds"])
        assert level["usd_per_output_mtok"] == pytest.approx(0.001 / level["output_tokens_s"] * 1e6, rel=1e-3)
    with rows.open(encoding="utf-8") as file:
        assert [row["concurrency"] for row in csv.DictReader(file)] == ["1", "3"]
    assert read(cost_calibrate, rows)["errors"][0]["n"] == 2


def test_measure_says_when_and_where_and_how_little_a_few_answers_say() -> None:
    with FakeProvider(Reply(text="a b", output_tokens=4)) as fake:
        shown = invoke(
            cost_measure, "--endpoint", fake.base_url, "--model", "m", "--usd-per-hour", "3.6", "--in-flight", 1,
            "--in-flight", 10, "--input-words", 5,
        )  # fmt: skip
    assert shown.exception is None
    assert noted(shown.stderr, "measured", "m", fake.base_url, datetime.now(UTC).date(), "3.6")
    assert noted(shown.stderr, "few-answers", 30, 1)


def test_measure_wants_the_address_of_a_server() -> None:
    found = invoke(cost_measure, "--endpoint", "localhost", "--model", "m").exception
    assert isinstance(found, UsageError)
    assert "--endpoint" in str(found)


def test_measure_says_what_a_server_answers_instead(tmp_path) -> None:
    with FakeProvider(api_key="secret") as fake:
        result = invoke(cost_measure, "--endpoint", fake.base_url, "--model", "m", "--in-flight", 1)
    assert result.exception is not None
    assert "secret" not in str(result.exception)


def test_measure_bounds_its_load_and_wants_names_for_rows(tmp_path) -> None:
    many = invoke(
        cost_measure,
        "--endpoint",
        "http://127.0.0.1:9/v1",
        "--model",
        "m",
        "--in-flight",
        4096,
        "--calls",
        1000,
    )
    assert isinstance(many.exception, UsageError)
    unnamed = invoke(
        cost_measure, "--endpoint", "http://127.0.0.1:9/v1", "--model", "m", "--save", tmp_path / "x.csv"
    )
    assert isinstance(unnamed.exception, UsageError)


def test_calibrate_wants_measurements(tmp_path) -> None:
    assert isinstance(invoke(cost_calibrate).exception, UsageError)
    empty = tmp_path / "empty.csv"
    empty.write_bytes(b"\xff\xfe")
    assert isinstance(invoke(cost_calibrate, empty).exception, DataError)


def test_a_calibrated_fit_is_read_again(tmp_path) -> None:
    table, fit = tmp_path / "t.csv", tmp_path / "fit.json"
    table.write_text(
        "model,hardware,precision,tp,isl,osl,concurrency,out_tok_s_gpu\nllama-3.1-8b,h100,fp8,1,1000,1000,16,900\n"
    )
    assert invoke(cost_calibrate, table, "--output", fit).exception is None
    assert read(cost_host, "llama-3.1-8b", "--fit", fit)["fit"]["n"] == 1
    fit.write_text("{}")
    assert isinstance(invoke(cost_host, "llama-3.1-8b", "--fit", fit).exception, DataError)


def test_scaling_keeps_the_work_and_grows_the_weights() -> None:
    found = read(cost_scaling)
    steps = found["steps"]
    assert [step["experts"] for step in steps] == [1, 2, 4, 8, 16, 32, 64, 128]
    assert len({step["active"] - step["experts"] * 48 * 5120 * (step["experts"] > 1) for step in steps}) == 1
    assert steps[4]["total"] == 107_769_861_120  # 16 experts are Scout
    full = [step["weight_bytes_per_token"]["256"] for step in steps]
    assert full == sorted(full)
    assert found["announced"][0]["name"] == "llama-4-behemoth"
    assert "usd_per_mtok_out" not in found["announced"][0]
    low, high = found["band"]
    assert low < 1 < high
    assert noted(invoke(cost_scaling).stderr, "price-band", f"{1 / high:.2f}", f"{1 / low:.2f}")


@pytest.mark.parametrize(
    "arguments", [("--tp", 4), ("--replicas", 2), ("--precision", "fp3"), ("--gpu", "h10")]
)
def test_scaling_refuses_what_it_would_not_use(arguments) -> None:
    assert isinstance(invoke(cost_scaling, *arguments).exception, UsageError | NotFoundError)


def test_the_outlook_is_a_curve_over_tolerance_with_its_paths_seed_and_dates() -> None:
    found = read(cost_outlook, "--paths", 400, "--tolerance", 0.42)
    curve = [(row["tolerance"], row["months"]) for row in found["half_life"]]
    assert len(curve) == 32
    assert [tolerance for tolerance, _ in curve] == sorted(tolerance for tolerance, _ in curve)
    months = [24 if month is None else month for _, month in curve]
    assert months == sorted(months)
    shown = invoke(cost_outlook, "--paths", 400, "--tolerance", 0.42)
    assert [line.split()[0] for line in shown.stdout.splitlines()[1:11]] == [
        "0%", "5%", "10%", "20%", "30%", "42%", "50%", "75%", "100%", "150%",
    ]  # fmt: skip
    for values in ((400, 0), ("2.5",), ("2025-11-13",)):
        assert noted(shown.stderr, "outlook-basis", *values)


@pytest.mark.parametrize("arguments", [("--set", "nope=3"), ("--set", "growth"), ("--choice", "dear")])
def test_an_outlook_that_cannot_be(arguments) -> None:
    found = invoke(cost_outlook, *arguments).exception
    assert isinstance(found, UsageError)
    assert found.hint
