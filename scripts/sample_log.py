"""Write src/crossgrade/data/demo/log.jsonl.gz: ten days of a made-up shop's LiteLLM spend log."""

import gzip
import json
import random
from pathlib import Path

DEMO = Path(__file__).parents[1] / "src" / "crossgrade" / "data" / "demo"
START = 1_794_182_400  # 2026-11-09 00:00 UTC
DAYS = 10


def main() -> None:
    """Write the log; the same bytes each time."""
    rng = random.Random(11)  # noqa: S311 -- the same log each time
    tickets = [json.loads(line) for line in (DEMO / "support.jsonl").read_text("utf-8").splitlines()]
    moods = [each for each in tickets if each["segment"] == "sentiment"]
    rows = [_mood(rng, number, rng.choice(moods)) for number in range(800)]
    rows += [_letter(rng, number) for number in range(300)]
    rows.sort(key=lambda row: row["startTime"])
    text = "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
    (DEMO / "log.jsonl.gz").write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def _row(rng: random.Random, name: tuple[str, int], model: str, tokens: tuple[int, int], usd: float) -> dict:
    app, number = name
    start = START + rng.random() * DAYS * 86_400
    took = rng.lognormvariate(-0.4, 0.4) + tokens[1] / 80
    return {
        "request_id": f"{app}-{number:05d}",
        "call_type": "acompletion",
        "spend": round(usd, 8),
        "prompt_tokens": tokens[0],
        "completion_tokens": tokens[1],
        "startTime": round(start, 3),
        "endTime": round(start + took, 3),
        "model": model,
        "custom_llm_provider": "openai",
        "team_id": app,
        "end_user": f"customer-{rng.randrange(400)}",
        "status": "success",
    }


def _mood(rng: random.Random, number: int, ticket: dict) -> dict:
    """A ticket, answered by a model that is right 97 times in 100."""
    right = ticket["target"]
    said = right if rng.random() < 0.97 else {"positive": "negative", "negative": "positive"}[right]
    question = f"{ticket['examples']}{ticket['ticket']} =>"
    messages = [{"role": "user", "content": question}]
    given = len(question) // 4 + 8
    row = _row(rng, ("mood", number), "gpt-5.4", (given, 2), given * 2.5e-6 + 2 * 15e-6)
    answer = {"choices": [{"message": {"role": "assistant", "content": said}, "finish_reason": "stop"}]}
    body = {"model": "gpt-5.4", "messages": messages, "temperature": 0, "max_tokens": 8}
    texts = {"response": answer, "proxy_server_request": body}
    return row | {name: json.dumps(value, separators=(",", ":")) for name, value in texts.items()}


def _letter(rng: random.Random, number: int) -> dict:
    """A drafted letter, whose texts the proxy did not store."""
    given, said = int(rng.lognormvariate(8.2, 0.5)), int(rng.lognormvariate(5.8, 0.4))
    return _row(rng, ("letters", number), "gpt-5.4-mini", (given, said), given * 0.75e-6 + said * 4.5e-6)


if __name__ == "__main__":
    main()
