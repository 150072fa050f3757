"""The same weights at two quantisations: copies of a GGUF file with its matrices quantised again.

The installed model has Q4_1 weights. They are the published weights here: a Q8_0 copy keeps them to about one part in
250, and a Q4_0 copy of them is a host that saves memory.
"""

import os
from pathlib import Path

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType
from gguf.quants import dequantize, quantize

from crossgrade.providers.models import ModelShelf, models_home

MODEL = "smollm2-135m-instruct"
KINDS = {
    "q8": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    "q4": (GGMLQuantizationType.Q4_0, LlamaFileType.MOSTLY_Q4_0),
}
"""The copies that can be made, with the kind of their matrices."""

_KEPT = ("token_embd.weight", "output.weight")  # as llama.cpp does, which gives them more bits
_WHOLE = (GGMLQuantizationType.F32, GGMLQuantizationType.F16, GGMLQuantizationType.BF16)


def installed() -> Path:
    """Return the path of the installed model; raises `NotFoundError` if it is not installed."""
    return Path(ModelShelf(models_home(os.environ)).find(MODEL).path)


TOOLS_TEMPLATE = """{% if tools %}<|im_start|>system
You may call these functions: {{ tools | tojson }}
To call one, write <tool_call>{"name": its name, "arguments": its arguments}</tool_call><|im_end|>
{% endif %}"""
"""What is put before the model's own chat template, which leaves tools out, for hosts that must take them."""


def quantised_copy(source: Path, target: Path, kind: str, before_template: str = "") -> Path:
    """Write a copy of a GGUF file with its quantised matrices as `kind`, if there is none yet, and return it."""
    if target.exists():
        return target
    wanted, file_type = KINDS[kind]
    reader = GGUFReader(source)
    part = target.with_suffix(".part")
    writer = GGUFWriter(part, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in ("general.architecture", "general.file_type"):
            continue
        inner = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
        value = field.contents()
        if name == "tokenizer.chat_template":
            value = before_template + str(value)
        writer.add_key_value(name, value, field.types[0], inner)
    writer.add_file_type(file_type)
    block, _ = GGML_QUANT_SIZES[wanted]
    for tensor in reader.tensors:
        kept = tensor.tensor_type in _WHOLE or tensor.name in _KEPT or tensor.shape[0] % block
        if kept:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        else:
            data = quantize(dequantize(tensor.data, tensor.tensor_type), wanted)
            writer.add_tensor(tensor.name, data, raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    part.rename(target)
    return target
