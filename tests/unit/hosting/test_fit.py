"""The fit: what ships is what the shipped points give, and a team's own points move it."""

from dataclasses import replace
from datetime import date

import pytest

from crossgrade.errors import DataError
from crossgrade.hosting import (
    ENOUGH_FOR_A_BAND,
    ENOUGH_FOR_A_GROUP,
    Deployment,
    Load,
    cross_validate,
    fit_constants,
    hold_out,
    known_gpus,
    known_models,
    predict_points,
    read_measurements,
    refit_serving,
    shipped_fit,
    shipped_measurements,
    traits_of,
)
from crossgrade.hosting._calibrate import points_digest
from tests.codes import raises_code

TRAITS = traits_of(
    known_models()["llama-3.3-70b"],
    Deployment(gpu=known_gpus()["h100"]),
    Load(input_tokens=1024, output_tokens=1024),
    16.0,
)
HEADER = "model,hardware,precision,tp,isl,osl,concurrency,out_tok_s_gpu\n"


def test_the_shipped_fit_is_of_the_shipped_points_and_holds_its_limits() -> None:
    fit = shipped_fit()
    assert (fit.n, fit.points_digest) == (581, points_digest(shipped_measurements()))
    by_family = fit.validations[0]
    assert by_family.grouping == "family"
    assert by_family.median <= 0.18
    assert by_family.p90 <= 0.55
    assert by_family.worst_median <= 0.30
    assert 0.75 <= by_family.coverage <= 0.88
    assert {row.name for row in by_family.groups} == {point.family for point in shipped_measurements()}


def test_the_shipped_constants_are_what_the_documented_command_fits() -> None:
    found = fit_constants(shipped_measurements(), known_models(), known_gpus())
    assert found.rate_matrices == pytest.approx(shipped_fit().constants.rate_matrices, rel=0.02)
    assert found.kernel_us == pytest.approx(shipped_fit().constants.kernel_us, rel=0.02)
    assert found.queued_vllm == pytest.approx(shipped_fit().constants.queued_vllm, rel=0.02)


@pytest.mark.slow
def test_points_that_constants_and_bands_have_not_seen_lie_in_their_bands() -> None:
    speed, first_token = hold_out(shipped_measurements(), known_models(), known_gpus(), parts=[0])
    for groups in (speed, first_token):
        everything = groups[0]
        assert everything.n >= 80
        assert everything.coverage >= 0.65
    large = [group for group in speed if group.n >= ENOUGH_FOR_A_GROUP and group.grouping != "model"]
    assert min(group.coverage for group in large) >= 0.65
    assert speed[0].ratio <= 1.3 * 1.74


def test_a_value_that_no_point_has_gets_the_widest_band_of_its_trait() -> None:
    spread = shipped_fit().throughput
    gpus = {name: spread.width({**TRAITS, "gpu": name}) for name in spread.widths["gpu"]}
    assert spread.width({**TRAITS, "gpu": "tpu-v9"}) == max(gpus.values()) > min(gpus.values())


def test_a_slower_engine_of_ones_own_moves_the_constants() -> None:
    points = [point for point in shipped_measurements() if point.model == "llama-3.3-70b"][:40]
    predicted = predict_points(points, known_models(), known_gpus(), shipped_fit().constants)
    slow = [replace(p, output_tokens_s_gpu=0.6 * y) for p, y in zip(points, predicted, strict=True)]
    fit, before, after = refit_serving(
        shipped_fit(), slow, known_models(), known_gpus(), on=date(2026, 11, 25)
    )
    assert before.median == pytest.approx(2 / 3, rel=0.01)
    assert after.median < 0.2
    assert fit.n == 40 >= ENOUGH_FOR_A_BAND
    assert fit.throughput.widths == {}
    assert fit.throughput.high - fit.throughput.low < 0.2
    assert fit.timed == sum(point.ttft_ms is not None for point in points) >= ENOUGH_FOR_A_BAND
    assert fit.first_token.widths == {}


def test_few_points_keep_the_band() -> None:
    points = shipped_measurements()[:3]
    fit, _, _ = refit_serving(shipped_fit(), points, known_models(), known_gpus(), on=date(2026, 11, 25))
    assert fit.throughput == shipped_fit().throughput


def test_leaving_a_family_out_needs_two() -> None:
    points = [point for point in shipped_measurements() if point.family == "mixtral"]
    with raises_code("fit-one-group", "family"):
        cross_validate(points, known_models(), known_gpus())


@pytest.mark.parametrize(
    ("rows", "named"),
    [
        ("", "no measurement"),
        ("llama-3.1-8b,h100,fp8,1,100,100,8,\n", "out_tok_s_gpu"),
        ("llama-3.1-8b,h100,fp8,1,100,-3,8,100\n", "-3"),
        ("llama-3.1-8b,h100,fp8,1,100,nan,8,100\n", "nan"),
        ("llama-3.1-8b,h100,fp8,1,100,x,8,100\n", "'x'"),
    ],
)
def test_a_wrong_table_names_its_line(rows: str, named: str) -> None:
    with pytest.raises(DataError) as caught:
        read_measurements(HEADER + rows, file="m.csv")
    assert named in f"{caught.value} {caught.value.location}"
    assert "m.csv" in str(caught.value.location)


def test_missing_columns_are_named() -> None:
    with raises_code("points-columns", "isl"):
        read_measurements("model,hardware\nx,y\n")


def test_an_unknown_model_in_the_table_is_named() -> None:
    points = read_measurements(HEADER + "nothing-1b,h100,fp8,1,100,100,8,100\n")
    with raises_code("fit-model-unknown", "nothing-1b"):
        predict_points(points, known_models(), known_gpus(), shipped_fit().constants)
