"""Models, GPUs, measurements and the fit that come with the package: constants kept as data files.

Reading them is like importing a module: the same bytes every time, once a process.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from functools import lru_cache
from importlib.resources import files
from typing import Any

import msgspec

from crossgrade.domain import Architecture
from crossgrade.errors import NotFoundError, nearest
from crossgrade.hosting._config_json import read_architecture
from crossgrade.hosting._hardware import Gpu, GpuPrice
from crossgrade.hosting._points import MeasuredPoint, read_measurements
from crossgrade.hosting._validate import ServingFit

GIB = 2**30


def known_model(name: str) -> Architecture:
    """Return a model that the package knows by its short name, an alias or its Hugging Face name."""
    aliases, _ = _models()
    found = aliases.get(name.lower())
    if found is None:
        otherwise = "`crossgrade cost host --config-json FILE` reads its config.json"
        raise NotFoundError(
            f"no model named {name!r} is known",
            code="model-unknown",
            hint=_hint(name, known_models(), otherwise),
        )
    return known_models()[found]


@lru_cache(maxsize=1)
def known_models() -> Mapping[str, Architecture]:
    """Return the models whose sizes come with the package, by their short names."""
    _, rows = _models()
    return {
        name: replace(
            read_architecture(row["config"], name=name), licence=row["licence"], source=row["source"]
        )
        for name, row in rows.items()
    }


@lru_cache(maxsize=1)
def _models() -> tuple[Mapping[str, str], Mapping[str, Any]]:
    rows = _read("models.json")["models"]
    aliases = {name: name for name in rows}
    for name, row in rows.items():
        for other in (row["hf_id"], row["hf_id"].partition("/")[2], *row.get("aliases", ())):
            aliases.setdefault(other.lower(), name)
    return aliases, rows


def known_gpu(name: str) -> Gpu:
    """Return a GPU that the package knows."""
    found = known_gpus().get(name.lower())
    if found is None:
        raise NotFoundError(
            f"no GPU named {name!r} is known",
            code="hardware-unknown",
            hint=_hint(name, known_gpus(), "known ones: " + ", ".join(known_gpus())),
        )
    return found


@lru_cache(maxsize=1)
def known_gpus() -> Mapping[str, Gpu]:
    """Return the GPUs whose data sheets and hourly prices come with the package."""
    return {name: _gpu(name, row) for name, row in _read("gpus.json")["gpus"].items()}


def _gpu(name: str, row: Mapping[str, Any]) -> Gpu:
    four = row["tflops_4bit"]
    return Gpu(
        name=name,
        memory_bytes=row["memory_gib"] * GIB,
        bandwidth_bytes_s=row["bandwidth_tb_s"] * 1e12,
        flops_16bit=row["tflops_16bit"] * 1e12,
        flops_8bit=row["tflops_8bit"] * 1e12,
        flops_4bit=None if four is None else four * 1e12,
        link_bytes_s=row["link_gb_s"] * 1e9,
        domain_gpus=row["gpus_in_domain"],
        typical=_price({"kind": "typical", **row["typical"]}),
        maker=row["maker"],
        prices=tuple(_price(price) for price in row["prices"]),
        source=row["source"],
    )


def _price(row: Mapping[str, str]) -> GpuPrice:
    return GpuPrice(
        kind=row["kind"],
        usd_per_hour=Decimal(row["usd_per_gpu_hour"]),
        as_of=row["as_of"],
        source=row["source"],
    )


@lru_cache(maxsize=1)
def shipped_measurements() -> tuple[MeasuredPoint, ...]:
    """Return the measured points on which the shipped constants are fitted."""
    text = files("crossgrade").joinpath("data", "serving", "measurements.csv").read_text(encoding="utf-8")
    return read_measurements(text, file="measurements.csv")


@lru_cache(maxsize=1)
def shipped_fit() -> ServingFit:
    """Return the shipped constants with their errors."""
    return msgspec.convert(_read("fit.json"), ServingFit)


def _read(name: str) -> Any:
    return msgspec.json.decode(files("crossgrade").joinpath("data", "serving", name).read_bytes())


def _hint(name: str, known: Iterable[str], otherwise: str) -> str:
    near = nearest(name, known, 3)
    return f"did you mean {' or '.join(near)}?" if near else otherwise
