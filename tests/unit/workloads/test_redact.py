"""What redaction takes out, and what it leaves."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from crossgrade.errors import MissingExtraError
from crossgrade.workloads import (
    Redactor,
    names_by_spacy,
    redact_body,
    redact_json,
    redact_text,
    revealed,
    seal_from,
)
from tests.codes import raises_code


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("jane.doe+x@mail.example.co.uk", "email"),
        ("+49 (0)30 123456-78", "phone"),
        ("+1-555-123-4567", "phone"),
        ("(555) 123-4567", "phone"),
        ("555-123-4567", "phone"),
        ("030 1234567", "phone"),
        ("0044 20 7946 0958", "phone"),
        ("4111 1111 1111 1111", "card"),
        ("378282246310005", "card"),
        ("DE89 3704 0044 0532 0130 00", "iban"),
        ("GB82WEST12345698765432", "iban"),
        ("sk-proj-abcdefghijklmnop1234567890", "key"),
        ("sk-ant-api03-AbCdEfGhIjKlMnOpQrStUv-xyz_9", "key"),
        ("ghp_0123456789abcdefghijABCDEFGHIJ", "key"),
        ("AKIAIOSFODNN7EXAMPLE", "key"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abc", "key"),
        ("Bearer abcdefghijklmnopqrstuv==", "key"),
        ("192.168.100.200", "ip"),
        ("2001:db8:8a2e:370:7334::1", "ip"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "key"),
    ],
)
def test_what_names_a_person_or_opens_a_door_is_replaced(text: str, kind: str) -> None:
    assert redact_text(f"before {text} after") == f"before [{kind}] after"


@pytest.mark.parametrize(
    "text",
    [
        "on 2024-08-06 12:30:45 we sold 1234567 pieces for 12,345.67",
        "version 10.0.12 at 12:30:45, part 1.2.3.400",
        "0190a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b",
        "4111 1111 1111 1112",
        "GB99WESTABCDEFGH",
        "scikit: sk-learn is nice",
        "3.14159265358979",
        "data:image/png;base64,sk-abcdefghijklmnopqrst",
    ],
)
def test_other_numbers_and_names_stay(text: str) -> None:
    assert redact_text(text) == text


def test_texts_in_json_are_redacted_wherever_they_stand() -> None:
    body = {
        "model": "gpt-4o-2024-08-06",
        "messages": [{"role": "user", "content": [{"type": "text", "text": "I am a@b.example"}]}],
        "tools": [{"function": {"arguments": '{"to": "a@b.example"}'}}],
        "n": 4111111111111111,
    }
    redacted = json.loads(redact_body(json.dumps(body).encode()) or b"")
    assert redacted["model"] == "gpt-4o-2024-08-06"
    assert redacted["messages"][0]["content"][0]["text"] == "I am [email]"
    assert redacted["tools"][0]["function"]["arguments"] == '{"to": "[email]"}'
    assert redacted["n"] == 4111111111111111


@pytest.mark.parametrize("body", [b"", b"not json", b"\xff", b"[" * 50_000])
def test_what_is_no_json_gives_nothing(body: bytes) -> None:
    assert redact_body(body) is None


def test_what_is_nested_too_deep_is_left_out() -> None:
    value: object = "a@b.example"
    for _ in range(500):
        value = [value]
    assert "a@b.example" not in json.dumps(redact_json(value))  # type: ignore[arg-type]  # nested too deep for a type


def test_a_long_text_takes_time_in_proportion() -> None:
    assert redact_text("a" * 200_000 + "@") == "a" * 200_000 + "@"


def test_what_is_sealed_comes_back_with_the_key_alone(tmp_path: Path) -> None:
    seal = seal_from(tmp_path / "key", make=True)
    redactor = Redactor(seal=seal.seal)
    text = redactor.text("jane@acme.com wrote to jane@acme.com from 10.1.2.3")
    assert "acme" not in text
    assert "10.1.2.3" not in text
    one, two = re.findall(r"\[email:([^\]]+)\]", text)
    assert one == two
    assert redactor.found == {"email": 2, "ip": 1}
    assert revealed(text, seal_from(tmp_path / "key").unseal) == (
        "jane@acme.com wrote to jane@acme.com from 10.1.2.3"
    )
    other = seal_from(tmp_path / "other", make=True)
    assert revealed(text, other.unseal) == text
    assert (tmp_path / "key").stat().st_mode & 0o077 == 0


def test_sealed_words_are_not_redacted_again(tmp_path: Path) -> None:
    seal = seal_from(tmp_path / "key", make=True)
    texts = [Redactor(seal=seal.seal).text(f"card 4111 1111 1111 1111, +49 30 {n:07d}") for n in range(200)]
    assert all(revealed(text, seal.unseal).startswith("card 4111 1111 1111 1111, +49") for text in texts)


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 90])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with raises_code("redaction-key-invalid"):
        seal_from(tmp_path / "key")
    with raises_code("redaction-key-missing"):
        seal_from(tmp_path / "nothing")


def test_names_are_found_by_a_model_of_spacy(monkeypatch: pytest.MonkeyPatch) -> None:
    class Pipeline:
        max_length = 1000

        def __call__(self, text: str) -> SimpleNamespace:
            at = text.index("Jane Doe")
            ents = [
                SimpleNamespace(start_char=at, end_char=at + 8, label_="PERSON"),
                SimpleNamespace(start_char=0, end_char=4, label_="ORG"),
            ]
            return SimpleNamespace(ents=ents)

    def load(model: str) -> Pipeline:
        if model != "en_core_web_sm":
            raise OSError
        return Pipeline()

    monkeypatch.setitem(sys.modules, "spacy", SimpleNamespace(load=load))
    redactor = Redactor(names=names_by_spacy("en_core_web_sm"))
    assert redactor.text("ACME wrote to Jane Doe, jane@acme.com") == "ACME wrote to [name], [email]"
    assert redactor.found == {"name": 1, "email": 1}
    with raises_code("spacy-model-missing"):
        names_by_spacy("xx")
    monkeypatch.setitem(sys.modules, "spacy", None)
    with pytest.raises(MissingExtraError):
        names_by_spacy("en_core_web_sm")
