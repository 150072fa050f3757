"""The meter: deltas add up, Prometheus can read the text, labels stay bounded."""

import json

import pytest

from crossgrade.telemetry import METRICS, Meter, log_line, observe


def test_deltas_of_two_workers_add_up_and_gauges_replace() -> None:
    first, second, whole = Meter(), Meter(), Meter()
    for meter, count in ((first, 2), (second, 3)):
        meter.add("crossgrade.gateway.dropped", "record", value=count)
        observe(
            meter.cell("crossgrade.gateway.added", "r"), METRICS["crossgrade.gateway.added"].bounds, 0.0003
        )
        meter.set("crossgrade.gateway.connections", str(count), value=count)
        whole.merge(meter.take())
        assert all(METRICS[name].kind == "gauge" for name, _, _ in meter.take())
    whole.merge([("crossgrade.gateway.connections", ("2",), [7.0])])
    lines = whole.text().splitlines()
    assert 'crossgrade_gateway_dropped_total{crossgrade_what="record"} 5' in lines
    assert 'crossgrade_gateway_connections{crossgrade_worker="2"} 7' in lines
    assert 'crossgrade_gateway_added_seconds_bucket{crossgrade_route="r",le="0.00025"} 0' in lines
    assert 'crossgrade_gateway_added_seconds_bucket{crossgrade_route="r",le="0.0005"} 2' in lines
    assert 'crossgrade_gateway_added_seconds_bucket{crossgrade_route="r",le="+Inf"} 2' in lines
    assert 'crossgrade_gateway_added_seconds_count{crossgrade_route="r"} 2' in lines
    assert 'crossgrade_gateway_added_seconds_sum{crossgrade_route="r"} 0.0006' in lines


@pytest.mark.parametrize(
    "delta",
    [
        ("no.such.metric", (), [1.0]),
        ("crossgrade.gateway.dropped", (), [1.0]),
        ("crossgrade.gateway.dropped", ("record",), [1.0, 2.0]),
    ],
)
def test_what_is_not_known_is_not_counted(delta: tuple[str, tuple[str, ...], list[float]]) -> None:
    meter = Meter()
    meter.merge([delta])
    assert meter.text() == ""


def test_a_metric_has_a_bounded_number_of_series() -> None:
    meter = Meter()
    for number in range(3_000):
        meter.add("crossgrade.gateway.dropped", f"what-{number}")
    lines = [line for line in meter.text().splitlines() if not line.startswith("#")]
    assert len(lines) == 2_001
    assert 'crossgrade_gateway_dropped_total{crossgrade_what="other"} 1000' in lines


def test_label_values_are_escaped() -> None:
    meter = Meter()
    meter.add("crossgrade.gateway.dropped", 'a"b\\c\nd')
    assert 'crossgrade_what="a\\"b\\\\c\\nd"' in meter.text()


def test_series_of_a_worker_that_is_gone_are_left_out() -> None:
    meter = Meter()
    meter.set("crossgrade.gateway.connections", "1", value=3)
    meter.set("crossgrade.gateway.connections", "2", value=4)
    meter.forget("crossgrade.gateway.connections", "crossgrade.worker", "1")
    assert meter.values("crossgrade.gateway.connections") == {("2",): 4.0}


def test_names_are_those_of_prometheus() -> None:
    for metric in METRICS.values():
        assert metric.prometheus_name.replace("_", "").isalnum()
        assert metric.help.endswith(".")
        assert list(metric.bounds) == sorted(metric.bounds)


def test_a_log_line_is_one_line_of_json_whatever_is_in_it() -> None:
    line = log_line(
        "refused", at=1_764_000_000.5, level="warning", error="a\nb\x00\x7f\ud800", route=None, n=3
    )
    assert "\n" not in line
    assert line.isprintable()
    assert json.loads(line) == {
        "at": "2025-11-24T16:00:00.500+00:00",
        "level": "warning",
        "event": "refused",
        "error": "a\nb\x00\x7f?",
        "n": 3,
    }
    assert len(log_line("long", at=0.0, error="x" * 10_000)) < 2_200
