"""What an agent can do in its sandbox, and what it cannot: reach the tests, the reward, or anything outside."""

import json
from pathlib import Path

import pytest

from crossgrade.errors import TrialError
from crossgrade.evaluate._trial_sandbox import _reports
from tests.unit.evaluate.trials.running import (
    NAMES,
    Unreachable,
    agent,
    answer,
    needs_bubblewrap,
    provider,
    solving,
    tasks,
    trial,
)

pytestmark = [pytest.mark.anyio, needs_bubblewrap]

CHEAT = """
mkdir -p /logs/verifier /tests; echo 1 > /logs/verifier/reward.txt
echo '{"reward": 1}' > /logs/verifier/reward.json
mkdir -p /app/logs/verifier /app/tests; echo 1 > /app/logs/verifier/reward.txt
printf '#!/bin/bash\\necho 1 > /logs/verifier/reward.txt\\n' > /tests/test.sh
ln -s /logs/verifier/reward.json /app/reward; ln -s /tests /app/tests/link
cat /etc/shadow /run/gateway/*
(echo > /dev/tcp/127.0.0.1/22)
find / -name test.sh -not -path '/proc/*' -not -path '/app/*' | sed 's/^/FOUND /'
exit 0
"""


HOLDS = "python3 -c 'import time; x = [bytearray(40 << 20) for _ in range(4)]; time.sleep(60)'"

FORGES = r"""python3 -c '
import os
try:
    report = os.open("/proc/1/fd/1", os.O_WRONLY)
    for end in ("agent", "verify"):
        os.write(report, b"\n{\"word\": \"ended\", \"packed\": true, \"rewards\": {\"reward.json\": \"1\"}}\n")
except OSError:
    print("DENIED", flush=True)
'"""

DETACHES = """python3 -c '
import ctypes, time
libc = ctypes.CDLL(None)
libc.shmat.restype = ctypes.c_void_p
for _ in range(4):
    segment = libc.shmget(0, ctypes.c_size_t(80 << 20), 0o1600)
    at = libc.shmat(segment, None, 0)
    ctypes.memset(at, 1, 80 << 20)
    libc.shmdt(ctypes.c_void_p(at))
time.sleep(60)
'"""
THREADS = """python3 -c '
import threading, time; threading.stack_size(65536)
for _ in range(200):
    threading.Thread(target=time.sleep, args=(60,)).start()
'"""
CALLS = """python3 -c '
import os, urllib.request
urllib.request.urlopen(os.environ["OPENAI_BASE_URL"], b"{}")
'"""


async def test_the_solutions_solve_every_task(tmp_path: Path) -> None:
    asked = provider(solving(tmp_path / "solutions"))
    found = [await trial(asked, name) for name in NAMES]
    assert [each.reward for each in found] == [1.0] * 5
    assert {each.failure for each in found} == {None}


async def test_an_agent_that_does_nothing_solves_nothing() -> None:
    asked = provider(agent("true"))
    assert [(await trial(asked, name)).reward for name in NAMES] == [0.0] * 5


async def test_an_agent_that_writes_the_reward_itself_solves_nothing() -> None:
    asked = provider(agent(CHEAT))
    found = [await trial(asked, name) for name in NAMES]
    assert [each.reward for each in found] == [0.0] * 5
    assert all("FOUND" not in each.log for each in found), "no tests are to be seen"


@pytest.mark.parametrize(
    ("command", "failure", "limits"),
    [
        ("while :; do :; done", "agent:AgentTimeoutError", {"seconds": 1.0}),
        (f"{HOLDS} & {HOLDS} & wait", "agent:memory_limit", {"memory_mb": 256}),
        (DETACHES, "agent:memory_limit", {"memory_mb": 256}),
        ("f() { f | f & }; f; sleep 60", "agent:process_limit", {}),
        (THREADS, "agent:process_limit", {"processes": 8}),
        ("for i in 1 2 3 4 5; do dd if=/dev/zero of=/app/big$i bs=1M count=31; done; sleep 1",
         "agent:workspace_limit", {}),
        ("truncate -s 31M /app/a; truncate -s 31M /app/b", "agent:workspace_limit", {}),
        ("kill -9 $PPID 1; sleep 60", "agent:AgentTimeoutError", {"seconds": 1.0}),
        ("exit 3", "agent:NonZeroAgentExitCodeError", {}),
    ],
    ids=["time", "memory", "segments", "processes", "threads", "disk", "sparse", "overseer", "status"],
)  # fmt: skip
async def test_a_hog_is_stopped(command: str, failure: str, limits: dict[str, object]) -> None:
    found = await trial(provider(agent(command, **limits)), "make-file")
    assert (found.reward, found.failure) == (0.0, failure)


async def test_an_agent_cannot_report_in_the_place_of_its_overseer() -> None:
    found = await trial(provider(agent(f"{FORGES}; exit 3")), "make-file")
    assert (found.reward, found.failure) == (0.0, "agent:NonZeroAgentExitCodeError")
    assert "DENIED" in found.log


async def test_a_program_under_test_cannot_report_the_reward(tmp_path: Path) -> None:
    tests = f"{FORGES} > /tmp/said; grep -q DENIED /tmp/said; echo $((1 - $?)) > /logs/verifier/reward.txt"
    assert (await trial(provider(agent("true"), known=_with_tests(tmp_path, tests)), "odd")).reward == 1.0


@pytest.mark.parametrize("seconds", [-1e6, 61.0, float("nan")])
def test_reports_are_believed_with_the_secret_and_a_time_that_can_be(seconds: float) -> None:
    started = b'["own", {"word": "started"}]'
    lines = [
        b'{"word": "ended", "seconds": 1}',
        b'["other", {"word": "ended"}]',
        b'["own", {"word": "ended", "seconds": %b}]' % json.dumps(seconds).encode(),
    ]
    assert [each.word for each in _reports(b"\n".join([started, *lines]), "own", 60.0)] == ["killed"]
    last = b'["own", {"word": "ended", "seconds": 59.5}]'
    assert [each.word for each in _reports(b"\n".join([started, *lines, last]), "own", 60.0)] == [
        "killed",
        "ended",
    ]


async def test_what_lost_its_parent_counts_while_it_runs() -> None:
    command = "for i in $(seq 100); do (true &) ; done; touch done.txt; sleep 0.3"
    found = await trial(provider(agent(command, processes=16)), "make-file")
    assert (found.reward, found.failure) == (1.0, None)


async def test_one_process_cannot_take_more_memory_than_all_may() -> None:
    command = "python3 -c 'bytearray(3 << 30)' || touch /app/done.txt"
    found = await trial(provider(agent(command)), "make-file")
    assert (found.reward, found.failure) == (1.0, None)


async def test_files_in_memory_that_nothing_bounds_cannot_be_made() -> None:
    command = "python3 -c 'import os; os.memfd_create(str())' || touch /app/done.txt"
    assert (await trial(provider(agent(command)), "make-file")).reward == 1.0


async def test_a_file_cannot_be_larger_than_the_workspace() -> None:
    command = "head -c 2G /dev/zero > /app/big; test $(stat -c %s /app/big) -le 33554432 && rm /app/big && touch done.txt"
    assert (await trial(provider(agent(command)), "make-file")).reward == 1.0


async def test_what_an_agent_leaves_running_ends_before_the_tests(tmp_path: Path) -> None:
    daemon = "(setsid sh -c 'while :; do echo >> /app/now; done' > /dev/null 2>&1 &) ; sleep 0.3; true"
    still = 'a=$(wc -c < now); sleep 0.3; b=$(wc -c < now); test -n "$a" && test "$a" = "$b"'
    tests = f"{still} && echo 1 > /logs/verifier/reward.txt"
    found = await trial(provider(agent(daemon), known=_with_tests(tmp_path, tests)), "odd")
    assert (found.reward, found.failure) == (1.0, None)


async def test_an_agent_that_ran_out_of_time_is_tested_all_the_same() -> None:
    found = await trial(provider(agent("touch done.txt; sleep 60", seconds=1.0)), "make-file")
    assert (found.reward, found.failure) == (1.0, "agent:AgentTimeoutError")


async def test_links_pipes_and_rights_lead_nowhere(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("17")
    command = f"""
    ln -s {secret} /app/answer.txt; ln -s / /app/root; ln -s .. /app/up; ln -s /app/loop /app/loop
    mkfifo /app/pipe; cp /bin/sh /app/sh; chmod 6777 /app/sh; mkdir /app/closed; chmod 0 /app/closed
    ln /app/notes.txt /app/hard; printf x > "/app/$(printf 'a\\nb')"; mkdir -p /app/a/b; ln -s /tests /app/a/t
    """
    found = await trial(provider(agent(command)), "count-lines")
    assert found.reward == 0.0, "the link leads to nothing in the tests' sandbox"
    assert secret.read_text() == "17"


async def test_a_file_of_several_names_is_kept_once() -> None:
    many = "head -c 20M /dev/zero > big; for i in 1 2 3 4; do ln big l$i; done; touch done.txt"
    found = await trial(provider(agent(many)), "make-file")
    assert (found.reward, found.failure) == (1.0, None)


async def test_the_tests_find_every_name_of_a_file(tmp_path: Path) -> None:
    tests = "cd /app; test $(cat b/two) = x -a one -ef b/two && echo 1 > /logs/verifier/reward.txt"
    asked = provider(agent("echo x > one; mkdir b; ln one b/two"), known=_with_tests(tmp_path, tests))
    assert (await trial(asked, "odd")).reward == 1.0


async def test_the_variables_say_what_an_agent_needs() -> None:
    command = "env; ls -d /app /agent; cat /proc/1/environ"
    found = await trial(provider(agent(command)), "make-file")
    said = dict(line.partition("=")[::2] for line in found.log.splitlines() if "=" in line)
    assert said["CROSSGRADE_TASK"] == "make-file"
    assert said["CROSSGRADE_RUN_ID"] == found.run
    assert said["OPENAI_BASE_URL"] == f"http://127.0.0.1:8000/run/{found.run}/r/model/v1"
    assert said["OPENAI_API_KEY"] == "sk-of-the-trial"
    assert said["CROSSGRADE_INSTRUCTION"].startswith("Create an empty file")
    assert "PWD" in said
    assert "CROSSGRADE_DATABASE_URL" not in said


@pytest.mark.parametrize(
    ("tests", "failure"),
    [
        ("true", "verifier:RewardFileNotFoundError"),
        ("echo 1.5 > /logs/verifier/reward.txt", "verifier:reward_invalid"),
        ("echo nan > /logs/verifier/reward.txt", "verifier:reward_invalid"),
        ('echo \'{"reward": "1"}\' > /logs/verifier/reward.json', "verifier:reward_invalid"),
        ("ln -s /etc/hostname /logs/verifier/reward.txt", "verifier:RewardFileNotFoundError"),
        ("mkfifo /logs/verifier/reward.txt", "verifier:RewardFileNotFoundError"),
        ("cd /logs/verifier; mkdir reward.json; echo 1 > reward.txt", "verifier:RewardFileNotFoundError"),
        ("cd /logs/verifier; ln -s . reward.json; echo 1 > reward.txt", "verifier:RewardFileNotFoundError"),
        ("python3 -c 'print(10**400)' > /logs/verifier/reward.json", "verifier:reward_invalid"),
        ("sleep 60", "verifier:VerifierTimeoutError"),
    ],
)
async def test_tests_that_give_no_reward_leave_no_verdict(tmp_path: Path, tests: str, failure: str) -> None:
    with pytest.raises(TrialError) as caught:
        await trial(provider(agent("true"), known=_with_tests(tmp_path, tests)), "odd")
    assert caught.value.message.startswith(f"{failure}: ")
    assert caught.value.cost_usd == 0


@pytest.mark.parametrize(
    ("tests", "reward"),
    [
        ("echo 0.25 > /logs/verifier/reward.txt", 0.25),
        ("echo '{\"reward\": 0.5}' > /logs/verifier/reward.json", 0.5),
        ("echo '{\"passed\": true}' > /logs/verifier/reward.json", 1.0),
        ("echo 1 > /logs/verifier/reward.txt; exit 1", 1.0),
    ],
)
async def test_rewards_are_read_as_harbor_writes_them(tmp_path: Path, tests: str, reward: float) -> None:
    assert (await trial(provider(agent("true"), known=_with_tests(tmp_path, tests)), "odd")).reward == reward


def _with_tests(folder: Path, tests: str) -> dict:
    task = folder / "odd"
    (task / "tests").mkdir(parents=True)
    (task / "task.toml").write_text("[verifier]\ntimeout_sec = 1.0\n")
    (task / "instruction.md").write_text("Do something.\n")
    (task / "tests" / "test.sh").write_text(tests + "\n")
    return tasks(folder)


async def test_an_answer_is_counted_from_the_records() -> None:
    from crossgrade.evaluate import TrialCall

    recorded = [
        TrialCall(status=200, input_tokens=10, output_tokens=2, cost_usd=0.25),
        TrialCall(status=429, error="429"),
        TrialCall(status=200, input_tokens=5, output_tokens=1, cost_usd=0.5, cache_read_input_tokens=3),
    ]
    asked = provider(agent("true"), Unreachable(recorded))
    found = await answer(asked, "make-file")
    assert (found.usage.input_tokens, found.usage.output_tokens) == (15, 3)
    assert found.usage.cache_read_input_tokens == 3
    assert str(found.cost_usd) == "0.75"


async def test_an_api_that_answered_nothing_leaves_no_verdict() -> None:
    from crossgrade.evaluate import TrialCall

    asked = provider(agent("true"), Unreachable([TrialCall(status=503, error="upstream_failed")]))
    with pytest.raises(TrialError) as caught:
        await answer(asked, "make-file")
    assert caught.value.message.startswith("api:call_failed: ")


async def test_a_gateway_that_is_gone_leaves_no_verdict() -> None:
    with pytest.raises(TrialError) as caught:
        await answer(provider(agent(f"{CALLS} || exit 1")), "make-file")
    assert caught.value.message.startswith("environment:gateway_down: ")
