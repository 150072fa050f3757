"""LiteLLM's router on an exported config.yaml: `litellm_router.py FILE` picks for the cases on stdin.

A case is [name, tags or null]; what was picked how often of 400 times is printed as JSON.
"""

import asyncio
import collections
import json
import os
import sys
from pathlib import Path

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import yaml
from litellm import Router


async def main(config: dict) -> None:
    for each in config["model_list"]:
        each["litellm_params"]["api_key"] = "none"  # nobody is called
    router = Router(model_list=config["model_list"], **config["router_settings"])
    found = []
    for name, tags in json.load(sys.stdin):
        picked = collections.Counter()
        for _ in range(400):
            asked = {"metadata": {"tags": tags} if tags else {}}
            deployment = await router.async_get_available_deployment(
                model=name, request_kwargs=asked, messages=[{"role": "user", "content": "hi"}]
            )
            picked[deployment["litellm_params"]["model"]] += 1
        found.append(picked)
    json.dump(found, sys.stdout)


asyncio.run(main(yaml.safe_load(Path(sys.argv[1]).read_text())))
