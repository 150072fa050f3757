"""Logs of any size for the benchmark, made from a seed."""

import json
import random
from pathlib import Path

_APPS = (
    (
        "support",
        "You are a support agent of Northwind. Classify the ticket into billing, refund, bug or other.",
        800,
    ),
    ("analyst", "You write SQL for the warehouse of Contoso. Answer with one query, nothing else.", 2600),
    ("contracts", "Extract the parties, dates and amounts from the contract below as JSON.", 9000),
    ("chat", "You are helpful.", 1200),
)
_QUESTIONS = (
    "My invoice {} is wrong",
    "Please refund order {}",
    "The app crashes on start {}",
    "Translate clause {}",
)
_MODELS = ("gpt-4o-2024-08-06", "gpt-4.1-mini", "gpt-5.1")
_START = 1_793_000_000


def spend_logs(path: Path, n: int) -> None:
    """LiteLLM's spend log with prompts and answers stored, about 1.7 kB a row."""
    rng = random.Random(7)
    with path.open("w") as file:
        for number in range(n):
            route, system, size = rng.choice(_APPS)
            given, said = rng.randrange(size) + 20, rng.randrange(400) + 1
            messages = [
                {"role": "system", "content": system},
                {
                    "role": "user",
                    "content": rng.choice(_QUESTIONS).format(number) + " " + "lorem ipsum " * 20,
                },
            ]
            usage = {
                "prompt_tokens": given,
                "completion_tokens": said,
                "total_tokens": given + said,
                "prompt_tokens_details": {"cached_tokens": given // 2},
                "completion_tokens_details": {"reasoning_tokens": 0},
            }
            answer = {"role": "assistant", "content": "answer " * 10}
            body = {"model": _MODELS[number % 3], "messages": messages, "temperature": 0, "max_tokens": 512}
            row = {
                "request_id": f"req-{number}",
                "call_type": "acompletion",
                "spend": given * 2.5e-6 + said * 1e-5,
                "total_tokens": given + said,
                "prompt_tokens": given,
                "completion_tokens": said,
                "startTime": _START + number * 2.5,
                "endTime": _START + number * 2.5 + 1.5,
                "completionStartTime": _START + number * 2.5 + 0.4,
                "model": _MODELS[number % 3],
                "custom_llm_provider": "openai",
                "team_id": route,
                "end_user": f"u{number % 5000}",
                "session_id": f"s{number // 4}",
                "metadata": json.dumps({"usage_object": usage, "status": "success"}),
                "messages": json.dumps(messages),
                "response": json.dumps(
                    {"choices": [{"message": answer, "finish_reason": "stop"}], "usage": usage}
                ),
                "proxy_server_request": json.dumps(body),
                "status": "success",
            }
            file.write(json.dumps(row) + "\n")


def langfuse(path: Path, n: int) -> None:
    """Langfuse's observations with input and output, about 900 bytes a row."""
    rng = random.Random(8)
    with path.open("w") as file:
        for number in range(n):
            route, system, size = rng.choice(_APPS)
            given, said = rng.randrange(size) + 20, rng.randrange(400) + 1
            row = {
                "id": f"{number:016x}",
                "trace_id": f"{number // 4:032x}",
                "type": "GENERATION",
                "start_time": f"2026-11-{number % 28 + 1:02d} 09:00:{number % 60:02d}.{number % 1_000_000:06d}",
                "end_time": f"2026-11-{number % 28 + 1:02d} 09:01:{number % 60:02d}.{number % 1_000_000:06d}",
                "completion_start_time": None,
                "level": "DEFAULT",
                "user_id": f"u{number % 5000}",
                "session_id": f"s{number // 4}",
                "tags": [route],
                "input": [
                    {"role": "system", "content": system},
                    {"role": "user", "content": rng.choice(_QUESTIONS).format(number)},
                ],
                "output": {"role": "assistant", "content": "answer " * 10},
                "metadata": {"request_id": f"req-{number}"},
                "provided_model_name": _MODELS[number % 3],
                "model_parameters": {"temperature": 0, "max_tokens": 512},
                "usage_details": {
                    "input": given,
                    "input_cached_tokens": 0,
                    "output": said,
                    "total": given + said,
                },
                "cost_details": {"total": given * 2.5e-6},
            }
            file.write(json.dumps(row) + "\n")


def own_records(path: Path, n: int) -> None:
    """The gateway's own request log, which carries no text, about 330 bytes a row."""
    with path.open("w") as file:
        for number in range(n):
            given, said = number * 7919 % 9000 + 20, number * 104_729 % 400 + 1
            file.write(
                f'{{"id":"req-{number}","at":{_START + number * 0.25},"worker":0,"key":"k1","team":"t",'
                f'"route":"{_APPS[number % 4][0]}","target":"big","model":"{_MODELS[number % 3]}",'
                f'"client_flavour":"openai","policy_version":3,"reason":"policy","status":200,'
                f'"input_tokens":{given},"output_tokens":{said},"cache_read_input_tokens":{given // 2},'
                f'"cost_usd":{given * 2.5e-6:.9f},"cost_origin":"usage","latency_ms":812.5,"added_ms":0.2,'
                f'"attempts":1,"body_bytes":2048}}\n'
            )


def secrets(n: int) -> list[tuple[str, list[str], list[str]]]:
    """Texts, each with the secrets and the look-alikes that are in it."""
    rng = random.Random(9)

    def digits(count: int) -> str:
        return "".join(rng.choice("0123456789") for _ in range(count))

    def card() -> str:
        body = "4" + digits(14)
        total = sum(
            sum(divmod(int(digit) * 2, 10)) if at % 2 == 0 else int(digit)
            for at, digit in enumerate(reversed(body))
        )
        return body + str(-total % 10)

    def iban() -> str:
        body = digits(18)
        check = 98 - int(body + "131400") % 97
        return f"DE{check:02d}{body}"

    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

    def token(count: int) -> str:
        return "".join(rng.choice(letters) for _ in range(count))

    def address() -> str:
        return ".".join(str(rng.randrange(1, 255)) for _ in range(4))

    makers = (
        lambda: (
            f"{rng.choice(('ann', 'b.lee', 'c_d'))}{digits(3)}@{rng.choice(('acme.com', 'mail.example.org'))}"
        ),
        lambda: f"+49 {digits(3)} {digits(7)}",
        lambda: f"({digits(3)}) {rng.randrange(200, 999)}-{digits(4)}",
        card,
        iban,
        lambda: f"sk-{token(40)}",
        lambda: f"ghp_{token(36)}",
        lambda: "AKIA" + "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(16)),
        address,
        lambda: f"Bearer {token(32)}",
        lambda: f"2001:db8:{rng.randrange(16, 255):x}:{rng.randrange(16, 255):x}::{rng.randrange(1, 255):x}",
    )
    alike = (
        lambda: f"order {digits(6)}",
        lambda: f"invoice INV-{digits(5)}",
        lambda: f"at {rng.randrange(24):02d}:{rng.randrange(60):02d}:{rng.randrange(60):02d}",
        lambda: f"version {rng.randrange(9)}.{rng.randrange(20)}.{rng.randrange(9)}",
        lambda: f"on 2026-{rng.randrange(1, 12):02d}-{rng.randrange(1, 28):02d}",
        lambda: f"{rng.randrange(1, 999)},{digits(3)} units at ${rng.randrange(1, 999)}.{digits(2)}",
        lambda: f"commit {''.join(rng.choice('0123456789abcdef') for _ in range(40))}",
        lambda: f"measured {digits(4)} ms over {digits(3)} rows",
        lambda: "the sk-learn package and @mentions in chat",
    )
    texts = []
    for _ in range(n):
        found = [rng.choice(makers)() for _ in range(rng.randrange(3))]
        others = [rng.choice(alike)() for _ in range(rng.randrange(1, 4))]
        parts = found + others
        rng.shuffle(parts)
        texts.append((f"Dear team, {'; '.join(parts)}. Thanks.", found, others))
    return texts
