"""`crossgrade plan` as typed."""

import json

import click
import pytest
from click.testing import CliRunner

from crossgrade.cli.plan import command
from crossgrade.errors import UsageError
from crossgrade.stats import plan, planned_spread
from tests.codes import check_error, names, noted


def invoke(*arguments):
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_table_has_what_the_plan_says():
    result = invoke(0.8, "--floor", 0.8, "--alpha", 0.01)
    assert result.exit_code == 0
    head, *rows = [line.split() for line in result.stdout.splitlines()]
    assert head[-1] == "early"
    assert [row[0] for row in rows] == ["0.85", "0.87", "0.9", "1"]
    found = plan(0.8, expected_retention=0.9, floor=0.8, alpha=0.01)
    assert rows[2][1:] == [str(found.n), str(found.planned)]
    assert noted(result.stderr, "plan-basis")


def test_a_number_of_samples_says_what_it_can_tell_apart():
    found = plan(0.8, budget=300)
    result = invoke(0.8, "--samples", 300)
    (said,) = noted(result.stderr, "separable-share", 300)
    assert names(said, f"{found.smallest_separable_retention:.3f}")
    assert noted(invoke(0.5, "--floor", 1.5, "--samples", 5).stderr, "separable-share", 5)


def test_json_has_the_plans():
    document = json.loads(invoke(0.8, "--expected", 0.95, "--expected", 0.85, "--json").stdout)
    assert document["schema_version"] == 1
    passing, at_the_floor = document["plans"]
    assert passing["n"] == plan(0.8, expected_retention=0.95).n
    assert at_the_floor["n"] is None  # no number of samples settles it


@pytest.mark.parametrize("arguments", [(0,), (1,), (0.8, "--power", 1), (0.8, "--floor", 2)])
def test_a_share_out_of_range_is_refused(arguments):
    assert invoke(*arguments).exit_code == click.UsageError.exit_code


def test_an_impossible_retention_is_refused():
    error = invoke(0.8, "--expected", 1.5).exception
    assert isinstance(error, UsageError)
    check_error(error, "retention-impossible", "1.250")


def test_attempts_plan_tasks_of_an_agent():
    found = planned_spread(0.4, 0.95, 0.85)
    arguments = (0.4, "--attempts", 5, "--samples", 80, "--expected", 0.95)
    (planned,) = json.loads(invoke(*arguments, "--json").stdout)["plans"]
    assert planned["tasks"] == found.tasks_needed(0.95, attempts=5)
    assert planned["trials_of_each"] == 5 * planned["tasks"]
    assert planned["power_given"] == pytest.approx(found.power(0.95, tasks=80, attempts=5), abs=1e-4)
    shown = invoke(*arguments)
    assert shown.stdout.splitlines()[1].split()[:2] == ["0.95", str(planned["tasks"])]
    assert noted(shown.stderr, "plan-attempts")
