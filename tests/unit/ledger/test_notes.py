"""Signed notes, checkpoints and cosignatures, on published examples and on what attackers send."""

import base64
import hashlib
from contextlib import suppress

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from crossgrade.errors import CrossgradeError, DataError, UsageError
from crossgrade.ledger import Checkpoint, Cosigner, NoteSigner, NoteVerifier, SignedNote
from tests.codes import check_error

# The example of Go's package `note`, which the format comes from.
SKEY = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
VKEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
TEXT = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
LINE = "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"

ROOT = hashlib.sha256(b"root").digest()
CHECKPOINT = Checkpoint("example.com/ledger", 20852163, ROOT)


def code_of(call, *arguments):
    with pytest.raises(CrossgradeError) as caught:
        call(*arguments)
    check_error(caught.value, caught.value.code)
    return caught.value.code


def test_the_published_example_is_signed_and_verified():
    signer, verifier = NoteSigner.from_text(SKEY), NoteVerifier.from_text(VKEY)
    note = signer.sign(TEXT)
    assert note == TEXT + "\n" + LINE
    assert signer.text == SKEY
    assert signer.vkey == verifier.text == VKEY
    signed = SignedNote.read(note.encode())
    (signature,) = signed.verified([verifier])
    assert signature.name == "PeterNeumann"
    assert signature.key_id.hex() == "c74f20a3"
    assert str(signed) == note


def test_a_published_key_of_another_log_is_read():
    text = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8"
    assert NoteVerifier.from_text(f"{text}\n").text == text


def test_a_cosignature_signs_what_the_specification_says():
    cosigner = Cosigner.generate("witness.example.com/w1")
    line = cosigner.cosign(CHECKPOINT.text, 1679315147)
    message = (
        f"cosignature/v1\ntime 1679315147\nexample.com/ledger\n20852163\n{base64.b64encode(ROOT).decode()}\n"
    ).encode()
    public_key = Ed25519PublicKey.from_public_bytes(cosigner.verifier.public_key)
    public_key.verify(line.signature[8:], message)
    assert line.cosigned_at_s == 1679315147
    named = b"witness.example.com/w1\n\x04" + public_key.public_bytes_raw()
    assert line.key_id == hashlib.sha256(named).digest()[:4]
    assert cosigner.vkey.split("+")[1] == line.key_id.hex()


def test_a_cosigned_checkpoint_names_log_and_witness():
    log, witness = NoteSigner.generate("example.com/ledger"), Cosigner.generate("witness")
    signed = SignedNote.read(log.sign(CHECKPOINT.text))
    note = str(signed.with_signatures([witness.cosign(CHECKPOINT.text, 5)]))
    note = str(SignedNote.read(note).with_signatures([witness.cosign(CHECKPOINT.text, 6)]))
    found, signatures = Checkpoint.read(note, [log.verifier, witness.verifier])
    assert found == CHECKPOINT
    assert [each.name for each in signatures] == ["example.com/ledger", "witness"]
    assert signatures[1].cosigned_at_s == 6
    assert len(SignedNote.read(note).signatures) == 2


def test_signatures_of_unknown_keys_are_passed_over():
    log, other = NoteSigner.generate("log"), NoteSigner.generate("log")
    both = SignedNote.read(log.sign("a\n")).with_signatures(SignedNote.read(other.sign("a\n")).signatures)
    assert [each.key_id for each in both.verified([log.verifier])] == [log.verifier.key_id]
    assert code_of(both.verified, [NoteSigner.generate("log").verifier]) == "note-unsigned"
    assert code_of(both.verified, []) == "note-unsigned"


def test_a_wrong_signature_of_a_known_key_convicts_the_note():
    log, other = NoteSigner.generate("log"), NoteSigner.generate("other")
    changed = SignedNote("b\n", SignedNote.read(log.sign("a\n")).signatures)
    also_signed = changed.with_signatures(SignedNote.read(other.sign("b\n")).signatures)
    assert code_of(also_signed.verified, [log.verifier, other.verifier]) == "note-signature-wrong"


def test_a_known_key_signs_once():
    note = NoteSigner.from_text(SKEY).sign(TEXT)
    assert code_of(SignedNote.read(note + LINE).verified, [NoteVerifier.from_text(VKEY)]) == "note-malformed"


def test_a_witness_key_is_no_log_key():
    key = Cosigner.generate("log")
    as_log = NoteVerifier("log", key.verifier.public_key)
    assert as_log.key_id != key.verifier.key_id
    signed = SignedNote(CHECKPOINT.text, (key.cosign(CHECKPOINT.text, 1),))
    assert code_of(signed.verified, [as_log]) == "note-unsigned"


def test_a_changed_time_convicts_a_cosignature():
    key = Cosigner.generate("witness")
    line = key.cosign(CHECKPOINT.text, 100)
    for at_s in (0, 99, 2**63, 2**64 - 1):
        moved = type(line)(line.name, line.key_id, at_s.to_bytes(8, "big") + line.signature[8:])
        assert not key.verifier.verifies(CHECKPOINT.text, moved)
    assert key.verifier.verifies(CHECKPOINT.text, line)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "\n\n",
        TEXT,
        TEXT + "\n",
        TEXT + LINE,
        "\n\n" + LINE,
        TEXT + "\n" + LINE.rstrip("\n"),
        TEXT + "\n" + LINE + "x\n",
        TEXT + "\n" + LINE.replace("—", "-"),
        TEXT + "\n" + LINE.replace("— ", "—"),
        TEXT + "\n" + LINE.replace("PeterNeumann", "Peter+Neumann"),
        TEXT + "\n" + LINE.replace("PeterNeumann", "Peter\u00a0Neumann"),
        TEXT + "\n" + LINE.replace("PeterNeumann", ""),
        TEXT + "\n" + LINE.replace("nAM=", "nAN="),  # a second form of the same bytes
        TEXT + "\n" + LINE.replace("nAM=", "nAM"),
        TEXT + "\n" + LINE.replace("/", "_"),
        TEXT + "\n— PeterNeumann x08gow==\n",  # an id and no signature
        TEXT + "\n" + LINE * 65,
        TEXT.replace(" ", "\t") + "\n" + LINE,
        TEXT.replace("\n", "\r\n") + "\n" + LINE,
        TEXT + "\x00\n\n" + LINE,
        TEXT + "\ud800\n\n" + LINE,
        b"\xff\n\n" + LINE.encode(),
        "x" * 140_000 + "\n\n" + LINE,
        ("é" * 70_000 + "\n\n" + LINE).encode(),
    ],
)
def test_what_is_no_note_is_refused(note):
    assert code_of(SignedNote.read, note) == "note-malformed"


@pytest.mark.parametrize(
    "size", ["", "01", "00", "-1", "+1", "1_0", "1 ", "0x1", "1e3", "²", "٣", "9" * 19, "1" * 5000]
)
def test_a_size_has_one_form(size):
    text = f"example.com/ledger\n{size}\n{base64.b64encode(ROOT).decode()}\n"
    assert code_of(Checkpoint.from_text, text) == "checkpoint-malformed"


@pytest.mark.parametrize(
    "text",
    [
        "example.com/ledger\n1\n",
        "example.com/ledger\n1\nAAAA\n",
        CHECKPOINT.text.rstrip("\n"),
        CHECKPOINT.text + "\n",
        CHECKPOINT.text + "\nextension\n",
        "\n" + CHECKPOINT.text,
        CHECKPOINT.text.replace("example.com/ledger", "two words"),
        CHECKPOINT.text.replace("example.com/ledger", "x" * 256),
    ],
)  # fmt: skip
def test_what_is_no_checkpoint_is_refused(text):
    assert code_of(Checkpoint.from_text, text) == "checkpoint-malformed"


@given(
    st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32), st.lists(st.just("extension"), max_size=2)
)
def test_a_checkpoint_is_read_as_it_was_written(size, root, extensions):
    checkpoint = Checkpoint("example.com/ledger", size, root, tuple(extensions))
    assert Checkpoint.from_text(checkpoint.text) == checkpoint


def test_a_signed_text_that_is_no_checkpoint_is_refused():
    log = NoteSigner.generate("example.com/ledger")
    assert code_of(Checkpoint.read, log.sign("x\n01\ny\n"), [log.verifier]) == "checkpoint-malformed"


@given(st.binary(max_size=300))
def test_no_bytes_make_the_reader_fail(data):
    with suppress(DataError):
        assert str(SignedNote.read(data)).encode() == data


@pytest.mark.parametrize(
    "vkey",
    [
        "",
        "name",
        VKEY.replace("c74f20a3", "c74f20a4"),
        VKEY.replace("c74f20a3", "C74F20A3"),
        VKEY.replace("PeterNeumann", "Peter Neumann"),
        VKEY[:-4],
        VKEY.replace("+ARpc", "+AhpC"),
        SKEY,
    ],
)
def test_what_is_no_public_key_is_refused(vkey):
    assert code_of(NoteVerifier.from_text, vkey) == "note-key-invalid"


@pytest.mark.parametrize(
    "public_key",
    [
        bytes(32),
        (1).to_bytes(32, "little"),
        bytes([1]) + bytes(30) + b"\x80",
        (2**255 - 20).to_bytes(32, "little"),
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa"),
        (2**255 - 19).to_bytes(32, "little"),
        b"\xff" * 32,
    ],
)
def test_a_key_under_which_anybody_can_sign_is_refused(public_key):
    """A log's operator could name such a key, and say later that somebody else signed."""
    assert code_of(NoteVerifier.from_text, NoteVerifier("log", public_key).text) == "note-key-invalid"


@pytest.mark.parametrize("name", ["", "two words", "a+b", "a\nb", "x" * 256, "\u2003", "\ud800"])
def test_a_name_has_no_spaces_and_no_plus(name):
    assert code_of(NoteSigner.generate, name) == "note-name-invalid"


def test_no_error_and_no_repr_shows_a_private_key():
    secret = SKEY.rpartition("+")[2]
    assert secret not in repr(NoteSigner.from_text(SKEY))
    cut = [SKEY[:-1], SKEY.replace("c74f", "c74e"), SKEY.removeprefix("PRIVATE+KEY+")]
    for call, texts in (
        (NoteSigner.from_text, cut),
        (Cosigner.from_text, [SKEY]),
        (NoteVerifier.from_text, [SKEY]),
    ):
        for text in texts:
            with pytest.raises(UsageError) as caught:
                call(text)
            assert caught.value.code == "note-key-invalid"
            assert secret[:20] not in str(caught.value)


def test_a_private_key_is_read_as_it_was_written():
    for kind in (NoteSigner, Cosigner):
        key = kind.generate("example.com/ledger")
        assert kind.from_text(f"{key.text}\n").vkey == key.vkey


def test_a_text_that_cannot_be_a_note_is_not_signed():
    for text in ("", "no newline", "a\tb\n"):
        assert code_of(NoteSigner.from_text(SKEY).sign, text) == "note-malformed"
