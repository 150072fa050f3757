"""Options and lookups that the subcommands of `crossgrade cost` about own GPUs share."""

import re
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from crossgrade.errors import DataError, UsageError, unreadable

if TYPE_CHECKING:
    from crossgrade.domain import Architecture
    from crossgrade.hosting import Deployment, GpuPrice, Load, ServingFit

FunctionT = TypeVar("FunctionT", bound=Callable[..., Any])

_SPEC = re.compile(r"(?P<model>[^@]+)@(?P<gpu>[a-z0-9-]+?)x(?P<n>\d{1,4})(:(?P<precision>[a-z0-9]+))?")
MAX_CONFIG_BYTES = 4 * 2**20
MAX_FIT_BYTES = 4 * 2**20


def deployment_options(function: FunctionT) -> FunctionT:
    """Add the options that describe a deployment; `deployment` makes one of them."""
    options = (
        click.option("--gpu", default="h100", show_default=True, metavar="NAME", help="Kind of GPU."),
        click.option("--tp", type=click.IntRange(1, 1024), metavar="N",
                     help="GPUs that share each layer.  [default: the cheapest a token]"),
        click.option("--replicas", type=click.IntRange(1, 1024), default=1, show_default=True, metavar="N",
                     help="Groups of such GPUs that serve apart and share experts."),
        click.option("--precision", metavar="NAME",
                     help="Width of the weights.  [default: as published, or fp8 for wider ones]"),
        click.option("--kv-bits", type=int, default=8, show_default=True, metavar="N",
                     help="Width of the cache; it changes the answer by half."),
        click.option("--engine", default="vllm", show_default=True, metavar="NAME",
                     help="vllm, sglang or trtllm."),
        click.option("--keeps-chunks", is_flag=True,
                     help="The engine keeps what local layers no longer see."),
        click.option("--usd-per-gpu-hour", metavar="USD",
                     help="Rent of one GPU.  [default: the packaged typical rent]"),
    )  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def deployment_spec(text: str) -> tuple[str, str, int, str | None]:
    """Return model, kind of GPU, number of GPUs and width of MODEL@GPUxN[:PRECISION]; raises `UsageError`."""
    parts = _SPEC.fullmatch(text.lower())
    if parts is None:
        raise UsageError(
            f"{text[:60]!r} is no deployment",
            code="deployment-invalid",
            hint="write MODEL@GPUxN or MODEL@GPUxN:PRECISION: llama-4-scout@h100x4:fp8",
        )
    return parts["model"], parts["gpu"], int(parts["n"]), parts["precision"]


def named_deployment(name: str | None, options: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Return the model of MODEL@GPUxN[:PRECISION], and the options with what it says of GPUs and width.

    A plain MODEL leaves both as given. Raises `UsageError` where the options say it too.
    """
    if name is None or "@" not in name:
        return name, options
    model, gpu, count, precision = deployment_spec(name)
    context = click.get_current_context()
    said = ("gpu", "tp", "replicas") if precision is None else ("gpu", "tp", "replicas", "precision")
    for option in said:
        if context.get_parameter_source(option) is click.core.ParameterSource.COMMANDLINE:
            raise UsageError(
                f"`{name}` and `--{option}` both say how the model is deployed",
                code="deployment-twice",
                hint=f"leave out `--{option}`",
            )
    return model, {**options, "gpu": gpu, "tp": count, "precision": precision or options["precision"]}


def model_of(name: str | None, config_json: Path | None) -> "Architecture":
    """Return the model that was named, or the one of a `config.json`."""
    from crossgrade.hosting import known_model, read_architecture

    if (name is None) == (config_json is None):
        if name is None:
            raise UsageError(
                "Missing MODEL", code="model-not-named", hint="name a model, or give `--config-json FILE`"
            )
        raise UsageError(
            "MODEL and `--config-json` exclude each other",
            code="model-not-named",
            hint="leave one of them out",
        )
    if config_json is None:
        assert name is not None
        return known_model(name)
    data = bounded_bytes(config_json, MAX_CONFIG_BYTES)
    return read_architecture(parsed(data, config_json), name=config_json.stem, file=str(config_json))


def deployment_of(
    model: "Architecture", load: "Load", fit: "ServingFit", options: dict[str, Any]
) -> "Deployment":
    """Return the deployment that the options describe; without `--tp` the one whose tokens cost least."""
    from crossgrade.hosting import Deployment, cheapest_deployment, default_precision, known_gpu

    replicas = options["replicas"]
    asked = Deployment(
        gpu=known_gpu(options["gpu"]),
        precision=options["precision"] or default_precision(model),
        tensor_parallel=options["tp"] or 1,
        attention_replicas=replicas,
        expert_parallel=replicas * (options["tp"] or 1) if replicas > 1 else 1,
        engine=options["engine"],
        kv_bits=options["kv_bits"],
        frees_local=not options["keeps_chunks"],
    )
    if options["tp"] is not None or replicas > 1:
        return asked
    return cheapest_deployment(model, asked, load, fit.constants) or asked


def rent_of(options: dict[str, Any]) -> "GpuPrice":
    """Return the rent that was given, or the packaged one with its date and source."""
    from crossgrade.hosting import GpuPrice, known_gpu

    said = options["usd_per_gpu_hour"]
    if said is None:
        return known_gpu(options["gpu"]).typical
    usd = dollars_of(said, "--usd-per-gpu-hour")
    return GpuPrice(kind="given", usd_per_hour=usd, as_of="", source="--usd-per-gpu-hour")


def dollars_of(said: str, option: str) -> Decimal:
    """Read an amount of US dollars above 0."""
    try:
        usd = Decimal(said)
    except ArithmeticError:
        raise UsageError(
            f"{option} is {said[:40]!r}, which is no number",
            code="option-not-a-number",
            hint="give US dollars as a number: 2.35",
        ) from None
    if not (usd.is_finite() and 0 < usd < 1_000_000):
        raise UsageError(
            f"{option} is {said}", code="amount-invalid", hint="give an amount above 0 in US dollars"
        )
    return usd


def fit_of(path: Path | None) -> "ServingFit":
    """Return the fit in a file that `crossgrade cost calibrate` wrote, or the shipped one."""
    from crossgrade.hosting import ServingFit, shipped_fit

    if path is None:
        return shipped_fit()
    import msgspec

    data = bounded_bytes(path, MAX_FIT_BYTES)
    try:
        return msgspec.convert(parsed(data, path), ServingFit)
    except msgspec.ValidationError as error:
        raise DataError(
            f"this is no fit: {error}",
            code="fit-invalid",
            file=path,
            hint="write one with `crossgrade cost calibrate`",
        ) from None


def bounded_bytes(path: Path, most: int) -> bytes:
    """Read a file that must not be larger than `most` bytes."""
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise unreadable(path, error, hint="check the path") from None
    if len(data) > most:
        raise DataError(
            f"larger than {most:,} bytes",
            code="file-too-large",
            file=path,
            hint="this is not the file that is expected",
        )
    return data


def parsed(data: bytes, path: Path) -> Any:
    """Parse JSON of a file."""
    import msgspec

    try:
        return msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise DataError(f"not JSON: {error}", code="not-json", file=path) from None
