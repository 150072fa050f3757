"""The child process that runs one GGUF file: `python -m crossgrade.providers.local_server`.

It reads one line of JSON from standard input, so that the API key is not in the process list. Then it runs
llama.cpp's OpenAI-compatible server on a loopback port, and writes one line of JSON with its address to
standard output. It ends when standard input closes. The parent holds the other end, so the child ends with
the parent, even after `kill -9`.
"""

import json
import os
import sys
from importlib.metadata import version
from typing import Any


def main() -> None:
    """Serve until standard input closes."""
    order = json.loads(sys.stdin.readline())
    # The engine's output goes to standard error. Standard output has only the line below.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    server = start_server(order)
    ready = {"base_url": server.listening_address, "runtime": f"xllamacpp {version('xllamacpp')}"}
    print(json.dumps(ready), file=answers, flush=True)
    while sys.stdin.readline():
        pass
    # The engine's own shutdown may wait for requests whose answers are not read any more.
    os._exit(0)


def start_server(order: dict[str, Any]) -> Any:
    """Load the model and listen on 127.0.0.1. Port 0 is a port of the server's choice.

    `order` has `path`, `adapter` (None: the model alone), `api_key`, `alias`, `port`, `threads`, `slots`,
    `context_tokens` (of each slot) and `cache_prompt`. Raises `RuntimeError` if the engine refuses the file.
    """
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = order["path"]
    if order["adapter"] is not None:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(order["adapter"], 1.0)]
    params.model_alias = {order["alias"]}
    params.hostnames = ["127.0.0.1"]
    params.port = order["port"]
    params.api_keys = [order["api_key"]]
    params.n_parallel = order["slots"]
    params.n_ctx = order["context_tokens"] * order["slots"]
    params.n_gpu_layers = 0
    # For reproducible answers nothing depends on free memory, and no computation is reused.
    params.fit_params = False
    params.cache_prompt = order["cache_prompt"]
    if not order["cache_prompt"]:
        params.cache_ram_mib = 0
        params.n_ctx_checkpoints = 0
    # Models with a sliding window need it for the prompt cache.
    params.swa_full = order["cache_prompt"]
    params.cpuparams.n_threads = order["threads"]
    params.cpuparams_batch.n_threads = order["threads"]
    params.n_threads_http = order["slots"] + 2
    params.ui = False
    params.endpoint_slots = False
    params.cache_idle_slots = False
    params.verbosity = 1
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
