"""Sizes of models as Hugging Face Transformers builds them, on a device without memory."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

_VENV = Path(__file__).parent.parent / ".venvs" / "transformers"
_PACKAGES = ("transformers==5.24.0", "torch==2.13.0")

_SCRIPT = """
import json, sys
import torch, transformers
from transformers import Llama4ForCausalLM, Llama4TextConfig

counted = {}
for name, text in json.load(sys.stdin).items():
    config = Llama4TextConfig(**{key: value for key, value in text.items() if key != "model_type"})
    with torch.device("meta"):
        model = Llama4ForCausalLM(config)
    total = sum(each.numel() for each in model.parameters())
    routed = sum(each.numel() for path, each in model.named_parameters() if ".experts." in path)
    share = config.num_experts_per_tok / config.num_local_experts
    counted[name] = [total, total - routed + round(routed * share)]
print(json.dumps({"version": transformers.__version__, "counted": counted}))
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Weights of each model, total and for one token, by a version of Transformers."""

    version: str
    counted: dict[str, tuple[int, int]]


def transformers_sizes(names: Sequence[str]) -> Sizes:
    """Return what Transformers counts for models of the package that it builds as Llama 4."""
    rows = json.loads(files("crossgrade").joinpath("data", "serving", "models.json").read_bytes())["models"]
    configs = {name: rows[name]["config"]["text_config"] for name in names}
    ran = subprocess.run(
        [str(transformers_python()), "-c", _SCRIPT],
        input=json.dumps(configs),
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(ran.stdout.splitlines()[-1])
    return Sizes(found["version"], {name: (both[0], both[1]) for name, both in found["counted"].items()})


def transformers_python() -> Path:
    """Return an interpreter that has Transformers and torch, installed once beside the benchmarks' clients."""
    python = _VENV / "bin" / "python"
    if not (_VENV / ".installed").exists():
        print(f"==> installing {' '.join(_PACKAGES)}", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(_VENV)], check=True)
        pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, *_PACKAGES], check=True)
        (_VENV / ".installed").touch()
    return python
