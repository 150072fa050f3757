"""Whatever a config.json holds: sizes that make sense, or an error that names what is wrong."""

import json
import math
from importlib.resources import files

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from crossgrade.errors import DataError
from crossgrade.hosting import (
    Deployment,
    Load,
    known_gpu,
    kv_values,
    memory_fit,
    parameters,
    read_architecture,
    serve,
    shipped_fit,
)

CONFIGS = {
    name: row["config"]
    for name, row in json.loads(
        files("crossgrade").joinpath("data", "serving", "models.json").read_text(encoding="utf-8")
    )["models"].items()
}
ODD = st.one_of(
    st.integers(-2, 200), st.sampled_from([10**9, 2**63, 0.5, True, None, "x", [], {}, [1], "llama", "mamba"])
)


@st.composite
def changed_configs(draw: st.DrawFn) -> dict[str, object]:
    config = json.loads(json.dumps(CONFIGS[draw(st.sampled_from(sorted(CONFIGS)))]))
    inner = config.get("text_config", config)
    for key in draw(st.lists(st.sampled_from(sorted(inner)), max_size=3, unique=True)):
        if draw(st.booleans()):
            inner[key] = draw(ODD)
        else:
            del inner[key]
    return config


@settings(max_examples=300, deadline=None)
@given(changed_configs())
def test_a_config_is_understood_whole_or_refused(config: dict[str, object]) -> None:
    try:
        model = read_architecture(config, name="odd", file="config.json")
    except DataError:
        return
    counted = parameters(model)
    assert 0 < counted.active <= counted.total
    assert 0 <= kv_values(model, 1000) <= kv_values(model, 1000, frees_local=False)
    box = Deployment(gpu=known_gpu("gb300"), tensor_parallel=1)
    fit = memory_fit(model, box, 1500)
    assert math.isfinite(fit.missing_bytes)
    if fit.sequences:
        load = Load(input_tokens=1000, output_tokens=1000)
        served = serve(model, box, load, shipped_fit().constants, np.array([1.0, 8.0]))
        assert np.isfinite(served.output_tokens_s).all()
        assert (served.output_tokens_s > 0).all()
