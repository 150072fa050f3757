"""What redaction takes out, and what it leaves."""

import json

import pytest

from crossgrade.workloads import redact_body, redact_json, redact_text


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
    assert "a@b.example" not in json.dumps(redact_json(value))  # type: ignore[arg-type]


def test_a_long_text_takes_time_in_proportion() -> None:
    assert redact_text("a" * 200_000 + "@") == "a" * 200_000 + "@"
