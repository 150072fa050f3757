"""The table of scorers: closed options, stable digests, documentation that matches."""

import doctest
import hashlib
from pathlib import Path

import pytest

from crossgrade.domain import ScorerSpec
from crossgrade.errors import ConfigError
from crossgrade.evaluate import build_scorer, options_schema, scorer_kind, scorer_kinds, validate_options
from tests.codes import raises_code

PAGE = next(
    parent / "docs/reference/scorers.md"
    for parent in Path(__file__).parents
    if (parent / "docs/reference/scorers.md").exists()
)

MINIMAL = {
    "regex": {"pattern": "x"},
    "code": {"unsandboxed": True},
    "json_schema": {"schema": {"type": "object"}},
    "similarity": {"model": "m"},
    "python": {"function": "json:loads"},
    "judge": {"model": "m", "criteria": "c"},
    "pairwise": {"model": "m", "criteria": "c"},
    "classifier": {"model": "m"},
}


def built(kind: str, **options: object):
    async def never(*_):
        raise AssertionError

    spec = ScorerSpec(kind=kind, options=MINIMAL.get(kind, {}) | options)
    return build_scorer(spec, ask=never, embed=never)


@pytest.mark.parametrize("kind", scorer_kinds())
def test_every_kind_is_built_described_and_digested(kind) -> None:
    scorer = built(kind)
    assert scorer.kind == kind
    assert hasattr(scorer, "score_pair" if scorer_kind(kind).pair else "score")
    assert len(bytes.fromhex(scorer.digest)) == hashlib.sha256().digest_size
    assert scorer.digest == built(kind).digest
    schema = options_schema(kind)
    (name,) = {name for name in schema["$defs"] if f"#/$defs/{name}" == schema["$ref"]}
    for option, described in schema["$defs"][name]["properties"].items():
        assert described.get("description"), option


def test_digests_tell_options_apart_and_know_defaults() -> None:
    digests = [built(kind).digest for kind in scorer_kinds()]
    assert len(set(digests)) == len(digests)
    assert built("exact").digest == built("exact", ignore_case=True).digest
    assert built("exact").digest != built("exact", ignore_case=False).digest
    assert built("judge").digest != built("judge", model="other").digest


def test_digests_are_the_same_in_every_process_and_release() -> None:
    """When this fails, scores of old runs are no longer reused: raise the kind's version on purpose."""
    assert built("exact").digest == "9eff086724969074266c6c52f220fffd24b81715720f18742beabc751a4d26df"
    assert built("judge").digest == "21803a54b9dfcdbd1f82258f2a09f6c168c04aff74aaaa7ab7998f93ed2ccd16"


def test_an_edited_function_is_another_scorer(tmp_path) -> None:
    digests = set()
    for number, body in enumerate(("return 0", "return 1")):
        (tmp_path / f"mine_{number}.py").write_text(f"def score(sample, answer): {body}\n")
        spec = ScorerSpec(kind="python", options={"function": f"mine_{number}:score"})
        digests.add(build_scorer(spec, project_dir=tmp_path).digest)
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("kind", "options", "where", "hint"),
    [("exact", {"ignore_cases": True}, "options.ignore_cases", "did you mean `ignore_case`?"),
     ("f1", {"zzz": 1}, "options.zzz", "known: `ignore_articles`"),
     ("exact", {"ignore_case": "yes"}, "options.ignore_case", None),
     ("numeric", {"abs_tolerance": -1}, "options.abs_tolerance", None),
     ("numeric", {"decimal": ";"}, "options.decimal", None),
     ("json_fields", {"fields": {"a": {"weigth": 2}}}, "options.fields[...]", None),
     ("judge", {"model": "m"}, "options", None),
     ("judge", {"model": "m", "criteria": ""}, "options.criteria", None)],
)  # fmt: skip
def test_wrong_options_are_named(kind, options, where, hint) -> None:
    with pytest.raises(ConfigError) as caught:
        validate_options(kind, options)
    assert caught.value.where == where
    if hint is not None:
        assert caught.value.hint == hint
    else:
        assert caught.value.hint.startswith("its options are ")
        option = where.removesuffix("[...]").partition(".")[2]
        assert option in caught.value.hint


def test_unknown_kinds_name_the_closest() -> None:
    with raises_code("scorer-unknown", "exakt") as caught:
        validate_options("exakt", {})
    assert caught.value.hint == "did you mean `exact`?"
    with pytest.raises(ConfigError) as caught:
        validate_options("zzz", {})
    assert "`exact`, `f1`" in caught.value.hint


def test_the_reference_page_lists_every_kind_and_option() -> None:
    sections = dict(part.partition("\n")[::2] for part in PAGE.read_text(encoding="utf-8").split("\n## ")[1:])
    for kind in scorer_kinds().values():
        section = sections[f"`{kind.name}`"]
        assert kind.summary in section
        schema = options_schema(kind.name)
        for option, described in schema["$defs"][kind.options.__name__]["properties"].items():
            assert f"| `{option}` |" in section, (kind.name, option)
            assert described["description"].replace("|", "\\|") in section, (kind.name, option)


def test_the_examples_of_the_reference_page_run() -> None:
    results = doctest.testfile(str(PAGE), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert results.attempted > 20
    assert not results.failed
