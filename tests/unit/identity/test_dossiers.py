"""Rules that ask for a dossier: when it counts, what a refusal says, and what the file may hold."""

from datetime import UTC, datetime

import pytest
from msgspec import structs

from crossgrade.domain import AccessRule
from crossgrade.errors import ConfigError
from crossgrade.identity import (
    UNREADABLE,
    AccessRequest,
    AccessRules,
    DossierEvidence,
    DossierMark,
    Dossiers,
    Principal,
    dossiers_bytes,
    read_dossiers,
)

NOW = 1_800_000_000.0
UNTIL = datetime.fromtimestamp(NOW + 60, UTC)
RULES = AccessRules([AccessRule(name="audited", evidence="dossier")])
BASIS = {"weights": "sha256:w", "template": "sha256:t"}
MARK = DossierMark(
    id="d1", digest="sha256:d", workload="triage", valid_until=UNTIL, verdict_id="v1", models={"big": BASIS}
)
FOUND = DossierEvidence(id="d1", digest="sha256:d", valid_until=NOW + 60)


def decided(dossier, now=NOW, workload="triage"):
    asked = AccessRequest(
        principal=Principal(id="k"),
        route="cyber",
        workload=workload,
        programme=None,
        model="big",
        dossier=dossier,
    )
    decision = RULES.decide(asked, now)
    return decision, None if decision.outcome == "allow" else RULES.error(asked, decision)


def of(verdict_id="v1", basis=BASIS, mark=MARK):
    return Dossiers([mark], {"triage": {"big": basis}}).of("triage", verdict_id).get("big")


def test_a_valid_dossier_opens_and_is_named_in_the_decision():
    decision, _ = decided(of())
    assert (decision.outcome, decision.dossier) == ("allow", FOUND)


def test_without_one_the_refusal_names_the_next_step():
    decision, error = decided(None)
    assert (decision.code, error.status, error.reason) == ("no_dossier", 403, "no_dossier")
    assert "`crossgrade dossier triage`" in error.hint
    _, unknown = decided(None, workload=None)
    assert "`crossgrade dossier WORKLOAD`" in unknown.hint


def test_it_ends_at_its_very_moment():
    assert decided(of(), NOW + 59.9)[0].outcome == "allow"
    decision, error = decided(of(), NOW + 60)
    assert decision.code == "dossier_expired"
    assert "time" in error.message
    assert "`crossgrade dossier triage`" in error.hint


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"weights": "sha256:other"}, "its weights"), ({"template": "sha256:other"}, "its prompt template")],
)
def test_a_change_ends_it_and_is_named(changed, words):
    decision, error = decided(of(basis={**BASIS, **changed}))
    assert decision.code == "dossier_expired"
    assert words in error.message
    assert "d1" in error.message


def test_another_policy_on_the_route_ends_it_and_none_does_not():
    assert decided(of("v2"))[1].reason == "dossier_expired"
    assert "policy" in decided(of("v2"))[1].message
    assert decided(of(None))[0].outcome == "allow"


def test_a_part_that_appears_or_is_gone_is_a_change():
    assert of(basis={**BASIS, "engine": "x"}).changed == ("engine",)
    assert of(basis={}).changed == ("weights", "template")


def test_a_required_field_that_is_missing_keeps_it_shut():
    from msgspec.structs import replace

    decision, error = decided(of(mark=replace(MARK, lacks=(16,))))
    assert (decision.code, error.status) == ("dossier_incomplete", 403)
    assert "16 (Approvals)" in error.message


def test_a_model_or_workload_that_it_does_not_cover_has_none():
    found = Dossiers([MARK], {"triage": {"big": BASIS}})
    assert found.of("other", None) == {}
    assert found.of(None, None) == {}
    assert set(found.of("triage", "v1")) == {"big"}


def test_the_file_is_read_as_it_was_written_and_equal_dossiers_give_equal_bytes():
    other = DossierMark(id="d2", digest="sha256:e", workload="a", valid_until=UNTIL)
    content = dossiers_bytes([MARK, other])
    assert content == dossiers_bytes([other, MARK])
    assert read_dossiers(content) == (other, MARK)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "dossiers-unreadable"),
        (b"[" * 100_000, "dossiers-unreadable"),
        (b'{"schema_version": 2, "dossiers": []}', "dossiers-unreadable"),
        (b'{"schema_version": 1, "dossiers": [], "more": 1}', "dossiers-unreadable"),
        (dossiers_bytes([MARK]).replace(b"]}", b"," + dossiers_bytes([MARK])[33:]), "dossiers-unreadable"),
        (dossiers_bytes([MARK, MARK]), "dossiers-invalid"),
        (dossiers_bytes([MARK]).replace(b"Z", b""), "dossiers-invalid"),
        (b" " * (17 << 20), "dossiers-too-large"),
    ],
)
def test_another_file_is_refused(content, code):
    with pytest.raises(ConfigError) as refused:
        read_dossiers(content, file="dossiers.json")
    assert refused.value.code == code


def test_weights_that_cannot_be_read_are_not_the_same_as_others_that_could_not():
    unread = BASIS | {"weights": UNREADABLE}
    found = of(basis=unread, mark=structs.replace(MARK, models={"big": unread}))
    assert found.changed == ("weights",)


def test_a_clock_that_is_set_back_opens_nothing_that_was_made_later():
    made = structs.replace(MARK, made_at=datetime.fromtimestamp(NOW, UTC))
    assert decided(of(mark=made))[0].outcome == "allow"
    assert decided(of(mark=made), NOW - 299)[0].outcome == "allow", "clocks differ by so much"
    decision, error = decided(of(mark=made), NOW - 301)
    assert (decision.code, error.reason) == ("dossier_expired", "dossier_expired")
    assert "clock" in of(mark=made).problem(NOW - 301)
