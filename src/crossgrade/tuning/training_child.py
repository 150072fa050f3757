"""The child process that trains a LoRA adapter: `python -m crossgrade.tuning.training_child`.

It reads one line of JSON (a `TrainingOrder`) from standard input and writes lines of JSON to standard output.
When its input closes, it saves a checkpoint after the current step and ends. The parent holds the other end,
so that it ends with the parent, even after `kill -9`. PyTorch, Transformers and PEFT are imported here only.

A training is a function of its order: the batch and the learning rate of a step depend on the seed and the
step's number alone, so that a resumed training gives the same adapter as one that was never interrupted.
"""

import json
import math
import os
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec
import numpy as np

from crossgrade.tuning._base_model import TrainingSettings
from crossgrade.tuning._checkpoints import Checkpoints, keep_file
from crossgrade.tuning._lora_file import PROJECTIONS
from crossgrade.tuning._training_set import TrainingExample, TrainingOrder

_NO_LOSS = -100
_WARM_SHARE = 0.1
_CLIP = 1.0


class TrainingFailedError(Exception):
    """The training cannot go on; `kind` is `out-of-memory`, `not-finite` or `examples-too-long`."""

    def __init__(self, kind: str, message: str, **facts: float) -> None:
        super().__init__(message)
        self.kind = kind
        self.facts = facts


def main() -> None:
    """Train until the last step, or until standard input closes."""
    order = msgspec.json.decode(sys.stdin.readline(), type=TrainingOrder)
    # Libraries write to standard output too. It is left to the lines that the parent reads.
    lines = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    begun, stop = threading.Event(), threading.Event()
    threading.Thread(target=_watch_input, args=(begun, stop), daemon=True).start()
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
    try:
        for event in train(order, stop):
            begun.set()
            _tell(lines, event)
    except TrainingFailedError as error:
        _tell(lines, {"event": "failed", "kind": error.kind, "message": str(error), **error.facts})
    except (MemoryError, RuntimeError) as error:
        if not _is_memory(error):
            raise
        _tell(lines, {"event": "failed", "kind": "out-of-memory", "message": "no memory could be allocated"})
    lines.flush()
    os._exit(0)  # the thread still reads


def train(order: TrainingOrder, stop: threading.Event) -> Iterator[dict[str, Any]]:
    """Train an adapter, from the newest checkpoint if there is one; yield what happens.

    Raises `TrainingFailedError` where it cannot go on. Checkpoints before that are kept.
    """
    import torch

    settings, folder = order.settings, Path(order.folder)
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model, tokenizer = _load(order, folder, device)
    rows, too_long = _rows(order, tokenizer)
    optimizer = torch.optim.AdamW(
        [each for each in model.parameters() if each.requires_grad],
        lr=settings.learning_rate,
        weight_decay=0.0,
    )
    checkpoints = Checkpoints(folder)
    done = _resume(checkpoints, model, optimizer)
    yield {
        "event": "loaded",
        "step": done,
        "examples": len(rows),
        "too_long": too_long,
        "mean_tokens": float(np.mean([len(each) for each, _ in rows])),
        "device": device,
        "torch": torch.__version__,
    }
    for step in range(done, settings.steps):
        batch = [rows[place] for place in batch_places(len(rows), settings, step)]
        loss = _step(model, optimizer, batch, learning_rate(settings, step), device)
        if not math.isfinite(loss):
            raise TrainingFailedError("not-finite", f"the loss of step {step + 1} is {loss}", step=step + 1)
        yield {"event": "step", "step": step + 1, "loss": loss}
        is_last = step + 1 == settings.steps
        if is_last or stop.is_set() or (step + 1) % settings.save_every == 0:
            _save(checkpoints, step + 1, model, optimizer)
            yield {"event": "saved", "step": step + 1}
        if stop.is_set() and not is_last:
            yield {"event": "stopped", "step": step + 1}
            return
    _write_adapter(model, folder)
    yield {"event": "done", "step": settings.steps, "memory_bytes": _peak_bytes()}


def batch_places(examples: int, settings: TrainingSettings, step: int) -> list[int]:
    """Return which examples a step sees: every example once before any comes again, in a new order each time.

    `step` counts from 0.
    """
    places = []
    for position in range(step * settings.batch, (step + 1) * settings.batch):
        epoch, place = divmod(position, examples)
        places.append(int(np.random.default_rng((settings.seed, epoch)).permutation(examples)[place]))
    return places


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """Return the learning rate of a step, which counts from 0: a linear rise, then a cosine to 0."""
    warm = max(1, round(_WARM_SHARE * settings.steps))
    if step < warm:
        return settings.learning_rate * (step + 1) / warm
    share = (step - warm) / max(1, settings.steps - warm)
    return settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))


def _load(order: TrainingOrder, folder: Path, device: str) -> tuple[Any, Any]:
    """Return the model with new LoRA matrices, and its tokenizer.

    The GGUF file is expanded once to 32-bit weights beside the checkpoints, for quick resumption.
    """
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source, expanded = Path(order.base), folder / "base"
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    if not (expanded / "config.json").exists():
        read = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
        _expand(read, expanded)
        del read
    model = AutoModelForCausalLM.from_pretrained(expanded, dtype=torch.float32)
    torch.manual_seed(order.settings.seed)
    config = LoraConfig(
        r=order.settings.rank,
        lora_alpha=order.settings.scale,
        lora_dropout=0.0,
        target_modules=[name.rpartition(".")[2] for name in PROJECTIONS],
        task_type="CAUSAL_LM",
    )
    adapted = get_peft_model(model, config).to(device)
    adapted.train()
    return adapted, tokenizer


def _expand(read: Any, folder: Path) -> None:
    """Keep the weights of a model that was read from a GGUF file, which refuses to be saved itself."""
    config = read.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    fresh = type(read)(config)
    fresh.load_state_dict(read.state_dict(), strict=False)
    fresh.tie_weights()
    draft = folder.with_name(".base-draft")
    fresh.save_pretrained(draft)
    draft.replace(folder)


def _rows(order: TrainingOrder, tokenizer: Any) -> tuple[list[tuple[list[int], int]], int]:
    """Return the tokens of each example with the length of its prompt, and how many were too long.

    Prompt and answer are tokenised apart: a model that is asked sees the prompt's own tokens.
    """
    decoder = msgspec.json.Decoder(TrainingExample)
    rows, too_long = [], 0
    for line in Path(order.examples).read_bytes().splitlines():
        example = decoder.decode(line)
        if example.text is not None:
            ids = tokenizer(example.text)["input_ids"]
            # A raw prompt goes on with a blank, as its examples do, unless it ends in one.
            blank = "" if example.text[-1:].isspace() else " "
            end = order.stops[0] if order.stops else tokenizer.eos_token
            answer = f"{blank}{example.answer}{end}"
        else:
            turns = [{"role": each.role, "content": each.content} for each in example.messages]
            prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
            ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
            answer = f"{example.answer}{tokenizer.eos_token}"
        whole = [*ids, *tokenizer(answer, add_special_tokens=False)["input_ids"]]
        if len(whole) > order.settings.max_tokens:
            too_long += 1
        else:
            rows.append((whole, len(ids)))
    if not rows:
        most = order.settings.max_tokens
        raise TrainingFailedError(
            "examples-too-long", f"all {too_long} examples are longer than {most} tokens"
        )
    return rows, too_long


def _step(
    model: Any, optimizer: Any, batch: Sequence[tuple[list[int], int]], rate: float, device: str
) -> float:
    """Train on a batch, and return its mean loss over the answers' tokens before the step."""
    import torch

    width = max(len(ids) for ids, _ in batch)
    inputs = torch.zeros((len(batch), width), dtype=torch.long)
    labels = torch.full((len(batch), width), _NO_LOSS, dtype=torch.long)
    mask = torch.zeros((len(batch), width), dtype=torch.long)
    for row, (ids, prompt) in enumerate(batch):
        inputs[row, : len(ids)] = torch.tensor(ids)
        labels[row, prompt : len(ids)] = torch.tensor(ids[prompt:])
        mask[row, : len(ids)] = 1
    for group in optimizer.param_groups:
        group["lr"] = rate
    causal = model.get_base_model()
    found = causal.get_decoder()(input_ids=inputs.to(device), attention_mask=mask.to(device), use_cache=False)
    # Logits of a large vocabulary are made only where an answer's token is next.
    next_tokens = labels[:, 1:].to(device)
    is_answer = next_tokens != _NO_LOSS
    logits = causal.get_output_embeddings()(found.last_hidden_state[:, :-1][is_answer])
    loss = torch.nn.functional.cross_entropy(logits.float(), next_tokens[is_answer])
    value = float(loss.detach())
    if not math.isfinite(value):
        return value
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP))
    if not math.isfinite(norm):
        return norm
    optimizer.step()
    return value


def _save(checkpoints: Checkpoints, step: int, model: Any, optimizer: Any) -> None:
    import torch
    from peft import get_peft_model_state_dict

    state = {"step": step, "adapter": get_peft_model_state_dict(model), "optimizer": optimizer.state_dict()}
    checkpoints.keep(step, lambda path: torch.save(state, path))


def _resume(checkpoints: Checkpoints, model: Any, optimizer: Any) -> int:
    """Load the newest checkpoint that can be read; return its step, 0 without one."""
    import torch
    from peft import set_peft_model_state_dict

    for step, path in checkpoints.newest_first():
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # noqa: BLE001 -- a damaged file may raise anything; the one before it is whole
            print(f"{path.name} cannot be read: {error}", file=sys.stderr)
            continue
        set_peft_model_state_dict(model, state["adapter"])
        optimizer.load_state_dict(state["optimizer"])
        return step
    return 0


def _write_adapter(model: Any, folder: Path) -> None:
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    tensors = {name: each.cpu().contiguous() for name, each in get_peft_model_state_dict(model).items()}
    keep_file(folder / "adapter.safetensors", lambda path: save_file(tensors, path))


def _peak_bytes() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _is_memory(error: Exception) -> bool:
    words = str(error).lower()
    return isinstance(error, MemoryError) or "out of memory" in words or "allocate memory" in words


def _watch_input(begun: threading.Event, stop: threading.Event) -> None:
    """Wait until the input closes, and let the training save then; before it has begun, end at once."""
    while sys.stdin.readline():
        pass
    if not begun.is_set():
        os._exit(0)
    stop.set()


def _tell(lines: TextIO, event: dict[str, Any]) -> None:
    print(json.dumps(event), file=lines, flush=True)


if __name__ == "__main__":
    main()
