"""A witness's folder and its service: what is kept, what is answered, and what a damaged folder does."""

import os
import socket
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from crossgrade.errors import StoreError
from crossgrade.ledger import MOST_REQUEST_BYTES, Checkpoint, Cosigner, NoteVerifier, verify_log
from crossgrade.serve import WitnessFolder, _witness_state
from crossgrade.serve._witness_state import MOST_CONFLICTS, MOST_DOUBTFUL
from tests.codes import check_error, raises_code
from tests.growing import GrowingLog, check_cosignature
from tests.witnesses import add_checkpoint, serving

ORIGIN = "example.com/ledger"
NOW = 1_800_000_000


@pytest.fixture
def log() -> GrowingLog:
    return GrowingLog(ORIGIN).grow(8)


@pytest.fixture
def folder(tmp_path: Path, log: GrowingLog) -> WitnessFolder:
    made = WitnessFolder.create(tmp_path / "witness", "witness.example.com")
    made.add(log.vkey, now_s=NOW)
    return made


@pytest.fixture
def url(folder: WitnessFolder) -> Iterator[str]:
    with serving(folder) as address:
        yield address


def test_only_the_owner_can_read_the_folder(folder: WitnessFolder) -> None:
    for path in (folder.path, *folder.path.rglob("*")):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path


def test_a_key_that_others_can_read_is_refused(folder: WitnessFolder) -> None:
    (folder.path / "witness.key").chmod(0o640)
    with raises_code("witness-key-open", folder.path / "witness.key"):
        WitnessFolder.open(folder.path)


def test_a_folder_is_made_once(folder: WitnessFolder) -> None:
    key = (folder.path / "witness.key").read_text()
    with raises_code("witness-exists", folder.path):
        WitnessFolder.create(folder.path, "another")
    assert (folder.path / "witness.key").read_text() == key


def test_a_folder_without_a_witness_is_refused(tmp_path: Path) -> None:
    with raises_code("witness-missing", tmp_path):
        WitnessFolder.open(tmp_path)


def test_what_was_cosigned_is_known_after_a_restart(folder: WitnessFolder, log: GrowingLog) -> None:
    decision, line = folder.cosign(log.request(0), now_s=NOW + 1)
    assert (decision.status, check_cosignature(line, folder.verifier.text, log.text())) == (200, NOW + 1)
    again = WitnessFolder.open(folder.path)
    record = again.record(ORIGIN)
    assert (record.checkpoint.size, record.cosigned_at_s) == (8, NOW + 1)
    # The record is a note that anybody can verify, with the log's signature too.
    keys = [NoteVerifier.from_text(log.vkey), again.verifier]
    assert [each.name for each in Checkpoint.read(str(record.note), keys)[1]] == [
        ORIGIN,
        "witness.example.com",
    ]
    assert again.cosign(log.request(0), now_s=NOW)[0].status == 409
    assert again.cosign(log.grow(5).request(8), now_s=NOW + 2)[0].status == 200


def test_a_cosignature_is_never_older_than_the_one_before(folder: WitnessFolder, log: GrowingLog) -> None:
    folder.cosign(log.request(0), now_s=NOW + 100)
    _, line = folder.cosign(log.grow(1).request(8), now_s=NOW)  # the clock was set back
    assert check_cosignature(line, folder.verifier.text, log.text()) == NOW + 100


def test_a_lost_record_stops_the_witness(folder: WitnessFolder, log: GrowingLog) -> None:
    """Without it the witness would begin again at nothing, and cosign any history."""
    folder.cosign(log.request(0), now_s=NOW)
    (record,) = (folder.path / "records").iterdir()
    record.unlink()
    with raises_code("witness-record-damaged", ORIGIN, record):
        folder.cosign(log.request(0), now_s=NOW)
    with raises_code("witness-record-damaged", ORIGIN):
        WitnessFolder.open(folder.path)


def test_a_record_that_somebody_else_wrote_stops_the_witness(folder: WitnessFolder, log: GrowingLog) -> None:
    folder.cosign(log.request(0), now_s=NOW)
    (record,) = (folder.path / "records").iterdir()
    good = record.read_bytes()
    other = GrowingLog("example.com/other").grow(3)
    folder.add(other.vkey, now_s=NOW)
    (others,) = set((folder.path / "records").iterdir()) - {record}
    forged = Cosigner.generate("witness.example.com").cosign(log.text(3), NOW)
    for content in (b"", good[:-9], good.replace(b"\n8\n", b"\n7\n"), f"{log.text(3)}\n{forged.line}".encode(),
                    log.note(3).encode(), others.read_bytes()):  # fmt: skip
        record.write_bytes(content)
        with raises_code("witness-record-damaged", ORIGIN):
            folder.cosign(log.request(8), now_s=NOW)
    record.write_bytes(good)
    assert folder.cosign(log.request(8), now_s=NOW)[0].status == 200


def test_nothing_is_cosigned_that_cannot_be_kept(
    folder: WitnessFolder, log: GrowingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with raises_code("witness-unwritable", folder.path):
            folder.cosign(log.request(0), now_s=NOW)
    assert folder.record(ORIGIN).checkpoint.size == 0
    assert folder.cosign(log.request(0), now_s=NOW)[0].status == 200


def test_a_conflict_is_kept_as_proof(folder: WitnessFolder, log: GrowingLog) -> None:
    folder.cosign(log.request(0), now_s=NOW)
    other = GrowingLog(ORIGIN, [*log.entries[:7], b"another"], key=log.key)
    for _ in range(2):
        assert folder.cosign(other.request(8, proof=[]), now_s=NOW)[0].status == 409
    stranger = GrowingLog(ORIGIN, other.entries)
    assert folder.cosign(stranger.request(8, proof=[]), now_s=NOW)[0].status == 403
    assert folder.cosign(log.grow(5).request(8), now_s=NOW)[0].status == 200  # the record goes on
    (kept,) = folder.conflicts(ORIGIN)
    notes = [kept.refused.read_text(), kept.cosigned.read_text()]
    key = [NoteVerifier.from_text(log.vkey)]
    one, two = (Checkpoint.read(note, key)[0] for note in notes)
    assert (one.origin, one.size) == (two.origin, two.size) == (ORIGIN, 8)
    assert one.root != two.root
    convicted = verify_log([], [], log=key[0], kept=notes)
    assert "history-differs" in {each.code for each in convicted.findings}


def test_wrong_proofs_do_not_displace_what_convicts_a_log(folder: WitnessFolder, log: GrowingLog) -> None:
    evil = GrowingLog("example.com/evil").grow(1)
    folder.add(evil.vkey, now_s=NOW)
    folder.cosign(log.request(0), now_s=NOW)
    folder.cosign(evil.request(0), now_s=NOW)
    for _ in range(120):  # from somebody without the key, who has the log's public checkpoints
        body = log.grow(1).request(8, proof=[b"x" * 32])
        assert folder.cosign(body, now_s=NOW)[0].status == 422
    for origin, liar in (
        (ORIGIN, GrowingLog(ORIGIN, [b"other"] * 8, key=log.key)),
        (evil.origin, GrowingLog(evil.origin, [b"other"], key=evil.key)),
    ):
        assert folder.conflicts(origin) == []
        size = len(liar.entries)
        assert folder.cosign(liar.request(size, proof=[]), now_s=NOW)[0].status == 409
        assert len(folder.conflicts(origin)) == 1
    assert 0 < sum(1 for _ in (folder.path / "doubtful").iterdir()) <= 2 * MOST_DOUBTFUL


def test_the_first_proofs_against_a_log_are_kept(folder: WitnessFolder, log: GrowingLog) -> None:
    folder.cosign(log.request(0), now_s=NOW)
    kept = []
    for number in range(MOST_CONFLICTS + 2):
        other = GrowingLog(ORIGIN, [b"%d" % number] * 8, key=log.key)
        assert folder.cosign(other.request(8, proof=[]), now_s=NOW)[0].status == 409
        kept.append(folder.conflicts(ORIGIN))
    assert set(kept[0]) < set(kept[-1])
    assert all(each.cosigned.exists() for each in kept[-1])
    assert len(kept[-1]) == MOST_CONFLICTS


def test_a_full_witness_takes_a_key_in_place_of_another(
    folder: WitnessFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_witness_state, "MOST_LOGS", 1)
    newer = GrowingLog(ORIGIN)
    with raises_code("witness-logs-many"):
        folder.add(newer.vkey, now_s=NOW)
    folder.add(newer.vkey, now_s=NOW, is_only=True)
    assert [each.text for each in folder.keys(ORIGIN)] == [newer.vkey]


def test_a_log_is_added_once_and_may_have_two_keys(folder: WitnessFolder, log: GrowingLog) -> None:
    folder.cosign(log.request(0), now_s=NOW)
    newer = GrowingLog(ORIGIN, log.entries)
    for _ in range(2):
        folder.add(newer.vkey, now_s=NOW)
    again = WitnessFolder.open(folder.path)
    assert [each.text for each in again.keys(ORIGIN)] == [log.vkey, newer.vkey]
    assert again.cosign(newer.request(8), now_s=NOW)[0].status == 200  # what was cosigned before still counts
    with raises_code("witness-log-key"):
        folder.add(folder.verifier.text, now_s=NOW)
    with raises_code("note-key-invalid"):
        folder.add("nothing", now_s=NOW)


def test_one_process_serves_a_folder(folder: WitnessFolder, url: str) -> None:
    with raises_code("witness-served", folder.path), WitnessFolder.open(folder.path).served():
        pass


def test_the_service_answers_as_c2sp_says(folder: WitnessFolder, log: GrowingLog, url: str) -> None:
    status, body, kind = add_checkpoint(url, log.request(0))
    assert (status, kind) == (200, "text/plain")
    check_cosignature(body.decode(), folder.verifier.text, log.text())
    assert add_checkpoint(url, log.request(0)) == (409, b"8\n", "text/x.tlog.size")
    assert add_checkpoint(url, log.request(8, 4, proof=[]))[0] == 400
    assert add_checkpoint(url, GrowingLog(ORIGIN, log.entries).request(8))[0] == 403
    assert add_checkpoint(url, GrowingLog("unknown").grow(1).request(0))[0] == 404
    fork = GrowingLog(ORIGIN, key=log.key)
    fork.entries = [b"other"] * 20
    assert add_checkpoint(url, fork.request(8))[0] == 422
    assert add_checkpoint(url, b"")[0] == 400
    assert add_checkpoint(url, b"\xff" * 1_000)[0] == 400
    assert add_checkpoint(url, log.request(8) + b"\n" * MOST_REQUEST_BYTES)[0] == 413
    assert add_checkpoint(url, log.grow(3).request(8))[0] == 200


def test_a_damaged_record_is_answered_with_503(folder: WitnessFolder, log: GrowingLog, url: str) -> None:
    (record,) = (folder.path / "records").iterdir()
    record.write_bytes(b"")
    status, body, _ = add_checkpoint(url, log.request(0))
    assert status == 503
    assert body.startswith(b"witness-record-damaged: ")


@pytest.mark.parametrize(
    "request_line", ["GET /add-checkpoint", "PUT /add-checkpoint", "POST /", "POST /add-checkpoint/"]
)
def test_nothing_else_is_served(url: str, request_line: str) -> None:
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as connection:
        connection.sendall(
            f"{request_line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode()
        )
        assert connection.makefile("rb").readline().split()[1] in {b"404", b"405"}


def test_a_body_that_does_not_come_is_given_up(
    folder: WitnessFolder, log: GrowingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossgrade.serve._witness_app.LONGEST_BODY_S", 0.05)
    with (
        serving(folder) as url,
        socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as connection,
    ):
        connection.sendall(b"POST /add-checkpoint HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\nold 0\n")
        assert connection.makefile("rb").readline().split()[1] == b"408"
        assert add_checkpoint(url, log.request(0))[0] == 200


def test_a_connection_that_says_nothing_is_closed(
    folder: WitnessFolder, log: GrowingLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossgrade.serve._witness_app.LONGEST_CONNECTION_S", 0.05)
    with (
        serving(folder) as url,
        socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as connection,
    ):
        connection.sendall(b"POST /add-checkpoint HTTP/1.1\r\nhos")
        connection.settimeout(30)
        assert connection.recv(1) == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"POST /add-checkpoint HTTP/1.1\r\nhost: a\r\nhost: b\r\ncontent-length: 0\r\n\r\n",
        b"POST /add-checkpoint HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n",
        b"POST /add-checkpoint HTTP/1.1\r\nhost: a\r\ncontent-length: 99999999999999999999\r\n\r\nold 0\n",
        b"POST /add-checkpoint HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /add-checkpoint HTTP/1.1\r\nhost: a\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
        b"POST /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n",
        b"POST http://169.254.169.254/add-checkpoint HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
        b"POST /../../etc/passwd HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n",
    ],
    ids=range(11),
)
def test_hostile_bytes_are_refused_and_the_next_request_is_served(
    folder: WitnessFolder, log: GrowingLog, url: str, sent: bytes
) -> None:
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port)) as connection:
        with suppress(OSError):  # it may be closed at once, and then there is nothing to shut down (ENOTCONN)
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
        connection.settimeout(30)
        said = b""
        with suppress(ConnectionError):
            said = connection.recv(65_536)
    assert not said or said.split()[1][:1] == b"4", said
    assert add_checkpoint(url, log.request(0))[0] == 200


def test_callers_at_once_get_one_history(folder: WitnessFolder, log: GrowingLog, url: str) -> None:
    """Whoever comes first wins; the others are told the size, and nothing goes back."""
    log.grow(60)
    bodies = [log.request(0, size) for size in range(1, 65)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda body: add_checkpoint(url, body), bodies))
    granted = [size for size, answer in enumerate(answers, 1) if answer[0] == 200]
    assert len(granted) == 1
    assert {answer[:2] for answer in answers if answer[0] != 200} == {(409, b"%d\n" % granted[0])}
    assert folder.record(ORIGIN).checkpoint.size == granted[0]


def test_an_error_of_the_folder_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError) as caught:
        WitnessFolder.create(tmp_path / "file" / "witness", "name")
    check_error(caught.value, "witness-unwritable", tmp_path / "file" / "witness")
