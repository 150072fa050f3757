"""A small agent: it asks the model for a shell command, runs it, and asks again if it fails.

It needs Python only. The sandbox says by variables where the model is and what the task is.
"""

import json
import os
import subprocess
import urllib.request
from pathlib import Path

TURNS = 3
SHOWN = 500
EXAMPLES = [
    ("Create an empty folder with the name logs. Files: none.", "mkdir logs"),
    ("Write the word yes to reply.txt. Files: none.", "echo yes > reply.txt"),
    ("Rename the file old.csv to new.csv. Files: old.csv.", "mv old.csv new.csv"),
    ("Write the number of words of essay.txt to size.txt. Files: essay.txt.", "wc -w < essay.txt > size.txt"),
    ("Write the number of lines of a.log to n.txt. Files: a.log.", "wc -l < a.log > n.txt"),
    ("Create an empty file with the name x.txt. Files: none.", "touch x.txt"),
]


def ask(messages: list[dict[str, str]]) -> str:
    """Return what the model answers."""
    body = {
        "model": os.environ["CROSSGRADE_MODEL"],
        "messages": messages,
        "temperature": 0,
        "max_tokens": 50,
        "stop": ["<|im_end|>", "<end_of_turn>"],
    }
    request = urllib.request.Request(  # noqa: S310 - the sandbox says where the model is
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json", "authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"},
    )
    with urllib.request.urlopen(request, timeout=100) as response:  # noqa: S310 - the same
        return str(json.load(response)["choices"][0]["message"]["content"] or "")


def command_in(answer: str) -> str:
    """Return the first line of an answer that is no fence and no prompt, as a command."""
    for line in answer.strip().splitlines():
        command = line.strip().removeprefix("$ ").strip("`")
        if command and command not in ("sh", "bash"):
            return command
    return ""


def main() -> None:
    """Work on the task: ask for a command, and again with what it printed if it fails."""
    messages = [{"role": "system", "content": "Answer with one shell command and nothing else."}]
    for task, command in EXAMPLES:
        messages += [{"role": "user", "content": task}, {"role": "assistant", "content": command}]
    files = ", ".join(sorted(each.name for each in Path().iterdir())) or "none"
    messages.append({"role": "user", "content": f"{os.environ['CROSSGRADE_INSTRUCTION']} Files: {files}."})
    for _ in range(TURNS):
        command = command_in(ask(messages))
        print(f"$ {command}", flush=True)
        done = subprocess.run(  # noqa: S603 - this is what the sandbox is for
            ["/bin/sh", "-c", command],
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=30,
        )
        said = (done.stdout + done.stderr)[-SHOWN:]
        print(said, flush=True)
        if done.returncode == 0:
            return
        messages.append({"role": "assistant", "content": command})
        messages.append({"role": "user", "content": f"That failed: {said}"})


if __name__ == "__main__":
    main()
