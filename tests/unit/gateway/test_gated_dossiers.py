"""Gated routes whose rules ask for a dossier, at a worker that reads `dossiers.json`."""

from datetime import UTC, datetime, timedelta

import pytest

from crossgrade.domain import AccessRule, RouteSpec
from crossgrade.identity import DossierMark, dossiers_bytes
from tests.unit.gateway.test_gated import ask, outcome, publish, publish_keys, write
from tests.waiting import until

SPEC = RouteSpec(name="cyber", incumbent="big", workload="triage", gated=True, ledger="queue")
RULE = AccessRule(name="audited", evidence="dossier")
BASIS = {"weights": "sha256:w"}


def publish_dossier(folder, *, until=None, verdict_id=None, models=("big",), basis=BASIS, lacks=()):
    mark = DossierMark(
        id="d1",
        digest="sha256:d",
        workload="triage",
        valid_until=until or datetime.now(UTC) + timedelta(days=1),
        verdict_id=verdict_id,
        lacks=lacks,
        models={name: dict(basis) for name in models},
    )
    write(folder / "dossiers.json", dossiers_bytes([mark]))


@pytest.fixture
def audited(run, make, fake, tmp_path):
    """Return a function that serves the gated route, with a key."""

    def start(routes=(SPEC,)):
        targets = [make.target(fake), make.target(fake, "small")]
        basis = {"triage": dict.fromkeys(("big", "small"), BASIS)}
        key = publish_keys(tmp_path)
        serving = run(targets, list(routes), access=(RULE,), open_on_loopback=False, dossier_basis=basis)
        return serving, key.text

    return start


def test_a_dossier_opens_the_route_and_its_end_shuts_it_within_a_second(audited, make, tmp_path):
    serving, key = audited()
    with serving as world:
        assert outcome(ask(world, make, key)) == "no_dossier"
        publish_dossier(tmp_path)
        until(lambda: ask(world, make, key).status == 200)
        publish_dossier(tmp_path, until=datetime.now(UTC) - timedelta(seconds=1))
        until(lambda: ask(world, make, key).status == 403)
        answer = ask(world, make, key)
        assert (answer.status, answer.code) == (403, "dossier_expired")
        assert "crossgrade dossier" in answer.json["error"]["message"]


def test_one_that_was_made_for_other_weights_or_misses_a_field_shuts_it(audited, make, tmp_path):
    publish_dossier(tmp_path, basis={"weights": "sha256:other"})
    serving, key = audited()
    with serving as world:
        answer = ask(world, make, key)
        assert answer.code == "dossier_expired"
        assert "weights" in answer.json["error"]["message"]
        publish_dossier(tmp_path, lacks=(16,))
        until(lambda: outcome(ask(world, make, key)) == "dossier_incomplete")


def test_only_the_models_that_it_covers_answer(audited, make, tmp_path):
    publish(tmp_path)
    publish_dossier(tmp_path, models=("big",), verdict_id="v1")
    serving, key = audited()
    with serving as world:
        assert outcome(ask(world, make, key)) == "big", "the policy picked the model without a dossier"
        publish_dossier(tmp_path, models=("big", "small"), verdict_id="v1")
        until(lambda: outcome(ask(world, make, key)) == "small")


def test_another_verdict_on_the_route_shuts_it(audited, make, tmp_path):
    publish(tmp_path)
    publish_dossier(tmp_path, models=("big", "small"), verdict_id="v0")
    serving, key = audited()
    with serving as world:
        assert outcome(ask(world, make, key)) == "dossier_expired"


def test_a_model_by_its_own_name_has_no_dossier(audited, make, tmp_path):
    publish_dossier(tmp_path)
    serving, key = audited()
    with serving as world:
        assert ask(world, make, key).status == 200
        assert outcome(ask(world, make, key, "big")) == "no_dossier"


def test_a_damaged_file_changes_nothing(audited, make, tmp_path):
    publish_dossier(tmp_path)
    serving, key = audited()
    with serving as world:
        assert ask(world, make, key).status == 200
        write(tmp_path / "dossiers.json", b"{")
        world.on_loop(lambda: world.worker._reload(0.0))
        assert ask(world, make, key).status == 200


def test_the_entry_of_a_request_names_its_dossier(audited, make, tmp_path):
    publish_dossier(tmp_path)
    serving, key = audited()
    with serving as world:
        assert ask(world, make, key).status == 200
        entered = until(lambda: [each for each in world.broker.entries if each.kind == "request"])
        assert entered[0].detail["dossier"] == "sha256:d"
