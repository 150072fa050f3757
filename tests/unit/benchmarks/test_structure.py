"""The figures of the source: what a call enters is counted, imports are not, and the gateway stays within its must."""

import threading

from benchmarks._structure import class_names_defined_twice, files_entered, short_modules, statements
from benchmarks._structure_gateway import files_entered_by_a_request
from crossgrade.domain import Price, Usage
from crossgrade.pricing import cost_usd

USAGE = Usage(input_tokens=1, output_tokens=1)
PRICE = Price(input_per_mtok=1, output_per_mtok=2)


def test_what_a_call_enters_is_counted_in_threads_too() -> None:
    def in_a_thread() -> None:
        thread = threading.Thread(target=cost_usd, args=(USAGE, PRICE))
        thread.start()
        thread.join()

    assert files_entered(lambda: cost_usd(USAGE, PRICE)) == {"pricing/_cost.py"}
    assert files_entered(in_a_thread) == {"pricing/_cost.py"}
    assert files_entered(lambda: None) == set()


def test_a_request_of_the_gateway_enters_no_more_files_than_it_must() -> None:
    entered = files_entered_by_a_request()
    assert {"gateway/_server.py", "gateway/_limits.py", "pricing/_cost.py"} <= entered
    assert len(entered) <= 16


def test_the_source_has_no_name_twice_and_figures_that_can_be() -> None:
    assert class_names_defined_twice() == []
    assert 0 < short_modules() < 200
    assert statements() > 10_000
