"""`crossgrade doctor`: look at the installation and the project; with `--live` ask its models too."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from crossgrade._version import __version__
from crossgrade.cli._doctor_checks import MIN_FREE_BYTES, Check, Status, node_checks, successor_checks
from crossgrade.cli._errors import EXIT_DONE, EXIT_FAILED
from crossgrade.cli._frame import DEFAULT_CONFIG, cluster_option, config_option, json_option
from crossgrade.cli._output import note, one_line, print_json, styled
from crossgrade.cli._params import complete_model
from crossgrade.cli._spending import Dollars
from crossgrade.errors import AuthError, ConfigError, CrossgradeError, UsageError

if TYPE_CHECKING:
    from decimal import Decimal

    from crossgrade.config import Config
    from crossgrade.project import LiveResult
    from crossgrade.store import CompatibilityRecord

OLD_PRICES_DAYS = 60
OLD_RECORD_DAYS = 30
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "none": "blue"}


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL…]", shell_complete=complete_model)
@cluster_option("has nodes to look at")
@click.option("--live", is_flag=True, help="Ask each MODEL (all by default) a few small questions.")
@click.option(
    "--max-cost", type=Dollars(), metavar="USD", help="Stop before `--live` costs more.  [default: 1]"
)
@click.option("--yes", is_flag=True, help="Do not ask before `--live` calls a model of unknown price.")
@config_option
@json_option
@click.option("-v", "--verbose", is_flag=True, help="Show the checks that passed too.")
def command(
    models: tuple[str, ...],
    cluster: str | None,
    config_path: str,
    *,
    live: bool,
    max_cost: "Decimal | None",
    yes: bool,
    as_json: bool,
    verbose: bool,
) -> int:
    """Check the installation and the project; change nothing.

    Names what is missing and one next step each. Keys are never shown, only the names of the
    variables that hold them. Exit code 3 when a check fails.

    With `--live`, asks each model with your own keys: usage against price, streaming, a tool, a
    schema, the batch API and the account's limits. Each record is kept with its date, and `doctor`
    and `serve` show it.
    """
    if not live and (models or max_cost is not None or yes):
        raise UsageError(
            "MODEL, `--max-cost` and `--yes` are for `--live`", code="live-not-asked", hint="add `--live`"
        )
    checks, result = run_checks(config_path, shows_records=not live), None
    if cluster is not None:
        checks += node_checks(cluster, config_path)
    if live:
        result = _ask(config_path, models, max_cost, go_on=yes)
        checks += [check for record in result.records for check in _live_checks(record)]
        checks += [
            Check(name="live", status="fail", seen=f"{name}: {why}") for name, why in result.skipped.items()
        ]
    failed = any(check.status == "fail" for check in checks)
    if as_json:
        records = {} if result is None else {"live": result.records}
        print_json({"ok": not failed, "checks": checks, **records}, schema_version=1)
    else:
        _print(checks, verbose=verbose)
    return EXIT_FAILED if failed else EXIT_DONE


def _ask(config_path: str, models: Sequence[str], max_cost: "Decimal | None", *, go_on: bool) -> "LiveResult":
    from crossgrade.cli._doctor_live import check_live, spent_words
    from crossgrade.project import Project

    with Project.open(config_path) as project:
        result = check_live(project, models, max_cost, go_on=go_on)
    note(spent_words(result), code="live-kept")
    return result


def _live_checks(record: "CompatibilityRecord") -> list[Check]:
    status: Mapping[str, Status] = {"works": "ok", "fails": "fail", "unknown": "warn", "none": "none"}
    return [
        Check(name="live", status=status[each.status], seen=f"{record.offer}: {each.name}: {each.seen}")
        for each in record.checks
    ]


def _print(checks: Sequence[Check], *, verbose: bool) -> None:
    width = max(len(check.name) for check in checks)
    for check in checks:
        if check.status == "ok" and check.name != "live" and not verbose:
            continue
        status = styled(f"{check.status:4}", sys.stdout, fg=_COLOURS[check.status])
        click.echo(f"{status}  {check.name:{width}}  {one_line(check.seen)}")
        if check.hint:
            click.echo(f"{'':4}  {'':{width}}  {one_line(check.hint)}")
    counts = {status: sum(check.status == status for check in checks) for status in _COLOURS}
    warnings = f"{counts['warn']} warning{'s' * (counts['warn'] != 1)}"
    click.echo(
        f"{counts['ok']} passed, {warnings}, {counts['fail']} failed"
        + (f", {counts['none']} skipped" if counts["none"] else "")
    )


def run_checks(
    config_path: str, environ: Mapping[str, str] = os.environ, *, shows_records: bool = True
) -> list[Check]:
    """Run every check that asks no model; one that breaks itself is reported as failed.

    `shows_records` adds what earlier live checks saw.
    """
    config: Config | None = None

    def read() -> list[Check]:
        nonlocal config
        config, found = _config(config_path, environ)
        return [found]

    checks: list[Callable[[], list[Check]]] = [
        _python,
        _packages,
        read,
        lambda: _plugins(config_path, environ),
        lambda: _datasets(config),
        lambda: _store(config),
        lambda: _routes(config, environ),
        lambda: [] if config is None else successor_checks(config, environ),
        lambda: _keys(config, environ),
        lambda: _local(config),
        _sandbox,
        lambda: _disk(config),
        _catalogue,
        lambda: _prices(config, environ),
        lambda: _records(config, environ) if shows_records else [],
        lambda: _terminal(environ),
    ]
    return [check for each in checks for check in _safely(each)]


def _safely(look: Callable[[], list[Check]]) -> list[Check]:
    try:
        return look()
    except CrossgradeError as error:
        return [Check(name="doctor", status="fail", seen=error.message, hint=error.hint)]
    except ImportError as error:
        seen = f"could not look at everything without the package {error.name}"
        return [Check(name="doctor", status="fail", seen=seen, hint=_REINSTALL)]
    except OSError as error:
        return [Check(name="doctor", status="fail", seen=str(error.strerror), hint="check permissions")]


def _python() -> list[Check]:
    seen = f"Python {sys.version.split()[0]} at {sys.executable}, {sys.platform}"
    supported = sys.platform in ("linux", "darwin")
    hint = "" if supported else "Crossgrade is tested on Linux and macOS"
    return [Check(name="python", status="ok" if supported else "warn", seen=seen, hint=hint)]


def _packages() -> list[Check]:
    versions = {name: _version(name) for name in _core_packages()}
    missing = [name for name, found in versions.items() if found is None]
    seen = ", ".join(
        [f"crossgrade {__version__}", *(f"{name} {found or 'missing'}" for name, found in versions.items())]
    )
    hint = _REINSTALL if missing else ""
    return [Check(name="packages", status="fail" if missing else "ok", seen=seen, hint=hint)]


def _core_packages() -> list[str]:
    """Return the packages that Crossgrade needs without extras, from its metadata."""
    needed = [each for each in requires("crossgrade") or () if "extra ==" not in each]
    return [found[0] for each in needed if (found := re.match(r"[\w.-]+", each))]


def _config(path: str, environ: Mapping[str, str]) -> "tuple[Config | None, Check]":
    from crossgrade.project import read_config

    if not Path(path).exists():
        seen, hint = f"no {path} here", "start a project with `crossgrade init`"
        status: Status = "none" if path == DEFAULT_CONFIG else "fail"
        return None, Check(name="config", status=status, seen=seen, hint=hint)
    try:
        config = read_config(path, environ=environ)
    except ConfigError as error:
        count = len(getattr(error, "problems", (error,)))
        more = f" (and {count - 1} more)" if count > 1 else ""
        seen = f"{error.location}: {error.message}{more}"
        return None, Check(name="config", status="fail", seen=seen, hint="see `crossgrade config validate`")
    seen = f"{path}: models {len(config.offers)}, workloads {len(config.workloads)}"
    return config, Check(name="config", status="ok", seen=seen)


def _plugins(path: str, environ: Mapping[str, str]) -> list[Check]:
    """Check the packages under `plugins`: their version, what they register, and what is broken."""
    from crossgrade.project import PluginEntry, Plugins, find_plugins, plugin_names

    if not Path(path).exists():
        return []
    checks: list[Check] = []
    entries: list[PluginEntry] = []
    for name in plugin_names(path, environ=environ):
        try:
            entries += find_plugins([name]).entries
        except ConfigError as error:
            seen = f"{error.message} [{error.code}]"
            checks.append(Check(name="plugin", status="fail", seen=seen, hint=error.hint))
    broken = dict(Plugins(entries).problems())
    for package in dict.fromkeys(each.package for each in entries):
        own = [each for each in entries if each.package == package]
        seen = f"{package} {own[0].version}: {', '.join(f'{each.kind} {each.name}' for each in own)}"
        checks.append(Check(name="plugin", status="ok", seen=seen))
        checks += [
            Check(name="plugin", status="fail", seen=f"{error.message} [{error.code}]", hint=error.hint)
            for each, error in broken.items()
            if each in own
        ]
    return checks


def _datasets(config: "Config | None") -> list[Check]:
    if config is None:
        return []
    missing = [name for name, workload in config.workloads.items() if not workload.dataset.exists()]
    missing += [name for name, suite in config.suites.items() if suite.path and not suite.path.is_file()]
    if missing:
        seen = f"no dataset file for {', '.join(missing)}"
        return [Check(name="datasets", status="fail", seen=seen, hint="see `crossgrade config validate`")]
    return [Check(name="datasets", status="ok", seen=f"{len(config.workloads)} present")]


def _store(config: "Config | None") -> list[Check]:
    if config is None:
        return []
    if "://" not in config.store and not Path(config.store).exists():
        folder = Path(config.store).parent
        writable = os.access(folder if folder.exists() else config.root, os.W_OK)
        if not writable:
            return [
                Check(
                    name="store",
                    status="fail",
                    seen=f"{folder} cannot be written",
                    hint="check its permissions",
                )
            ]
        return [Check(name="store", status="ok", seen=f"{config.store} will be made by the first run")]
    return [_stored_tables(config.store)]


def _routes(config: "Config | None", environ: Mapping[str, str]) -> list[Check]:
    """Look for live routes that today's method would not certify, or that nothing measures any more.

    The store is only read.
    """
    if config is None or not _is_readable(config):
        return []
    from crossgrade.project import Project

    with Project(config, environ) as project:
        found = [each.words for each in project.outdated_routes()]
        unmeasured = project.baselines.unmeasured(datetime.now(UTC).date())
        pairs = project.pairs()
    hint = "decide again on today's samples, or `crossgrade route abort` until then"
    checks = [Check(name="routes", status="warn", seen=each, hint=hint) for each in found]
    hint = "see `watch.sealed`; without it the certificate runs until it expires"
    return [
        *checks,
        *(
            Check(name="routes", status="warn", seen=f"{why.text} [{why.code}]", hint=hint)
            for why in unmeasured
        ),
        *(
            Check(
                name="replicas",
                status="warn" if each.differs else "ok" if each.is_compared else "none",
                seen=each.words,
                hint="take it out of the replicas and fallbacks" * each.differs,
            )
            for each in pairs
        ),
    ]


def _records(config: "Config | None", environ: Mapping[str, str]) -> list[Check]:
    """Show what each model's newest live check saw; the store is only read."""
    from crossgrade.project import Project

    if config is None:
        return []
    found: Mapping[str, CompatibilityRecord] = {}
    if _is_readable(config):
        with Project(config, environ) as project:
            found = project.live.newest(config.offers.values())
    checks = [_record(record) for record in found.values()]
    never = [name for name in config.offers if name not in found]
    if never:
        hint = f"`crossgrade doctor --live {' '.join(never)}` asks them a few small questions"
        checks.append(Check(name="record", status="none", seen=f"never asked: {', '.join(never)}", hint=hint))
    return checks


def _record(record: "CompatibilityRecord") -> Check:
    days = (datetime.now(UTC) - record.at).days
    again, old = f"`crossgrade doctor --live {record.offer}` asks it again", days > OLD_RECORD_DAYS
    ago = "today" if not days else f"{days} day{'s' * (days != 1)} ago"
    parts = [f"{record.offer}: asked {ago} ({record.at:%Y-%m-%d})"]
    failing = [each.name for each in record.failing]
    unknown = [each.name for each in record.checks if each.status == "unknown"]
    for words, names in (("failed", failing), ("unknown", unknown)):
        parts += [f"{words}: {', '.join(names)}"] if names else []
    seen = "; ".join(parts)
    return Check(
        name="record",
        status="warn" if failing or old else "ok",
        seen=seen,
        hint=again * (bool(failing) or old),
    )


def _is_readable(config: "Config") -> bool:
    """Return whether there is a store with this version's tables, which reading does not change."""
    is_there = "://" in config.store or Path(config.store).exists()
    return is_there and _stored_tables(config.store).status == "ok"


def _stored_tables(store: str) -> Check:
    """Read which tables a database has, without opening it for writing."""
    from sqlalchemy import create_engine, inspect, text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    from crossgrade.config import DATABASE_URL_VARIABLE
    from crossgrade.store import HEAD

    url = store if "://" in store else f"sqlite:///file:{store}?mode=ro&uri=true"
    place = store if "://" not in store else f"the database of {DATABASE_URL_VARIABLE} or `store`"
    try:
        engine = create_engine(url.replace("postgres://", "postgresql://", 1), poolclass=NullPool)
        with engine.connect() as connection:
            known = inspect(connection).has_table("alembic_version")
            query = text("SELECT version_num FROM alembic_version")
            tables = connection.execute(query).scalar() if known else None
    except (SQLAlchemyError, ImportError) as error:
        cause = type(getattr(error, "orig", None) or error).__name__  # its text may hold a password
        return Check(name="store", status="fail", seen=f"{place} cannot be read ({cause})", hint=_STORE_HINT)
    if tables is None:
        return Check(
            name="store", status="warn", seen=f"{place} has no tables yet", hint="the first run makes them"
        )
    if tables > HEAD:
        seen = f"{place} was written by a newer Crossgrade (tables {tables}, known {HEAD})"
        return Check(name="store", status="fail", seen=seen, hint="pip install --upgrade crossgrade")
    if tables < HEAD:
        seen = f"{place} was written by an older Crossgrade (tables {tables}, current {HEAD})"
        return Check(
            name="store", status="warn", seen=seen, hint="the next command that opens it adds to them"
        )
    return Check(name="store", status="ok", seen=f"{place} is readable, tables {tables}")


_REINSTALL = "pip install --force-reinstall crossgrade"
_STORE_HINT = "check that it is a Crossgrade database, that it runs, and who may read it"


def _keys(config: "Config | None", environ: Mapping[str, str]) -> list[Check]:
    from crossgrade.dialects import key_variable, key_variables

    if config is None:
        return []
    checks = []
    for name, offer in config.offers.items():
        try:
            found = key_variable(offer, environ)
        except AuthError:
            variables = key_variables(offer)
            seen = f"{name}: {' or '.join(variables)} is not set"
            checks.append(Check(name="key", status="fail", seen=seen, hint=f"export {variables[0]}=…"))
        else:
            if found:
                checks.append(Check(name="key", status="ok", seen=f"{name}: {found} is set"))
    return checks


def _local(config: "Config | None") -> list[Check]:
    from crossgrade.providers.models import ModelShelf

    wanted = (
        {offer.model for offer in config.offers.values() if offer.provider == "local"} if config else set()
    )
    runtime = _version("xllamacpp")
    checks = [
        Check(name="runtime", status="ok", seen=f"xllamacpp {runtime}")
        if runtime
        else Check(
            name="runtime",
            status="fail" if wanted else "none",
            seen="no local runtime (xllamacpp)",
            hint="pip install 'crossgrade[local]' to run models on this machine",
        )
    ]
    installed = {model.name: model for model in ModelShelf().installed()}
    for name, model in installed.items():
        present = Path(model.path).is_file()
        hint = "" if present else f"crossgrade models add {name}"
        seen = f"{name}: {model.size_bytes / 1e6:.0f} MB" if present else f"{name}: {model.path} is gone"
        checks.append(Check(name="model", status="ok" if present else "fail", seen=seen, hint=hint))
    for name in sorted(wanted - installed.keys()):
        if not Path(name).is_file():
            hint = f"crossgrade models add {name}"
            checks.append(Check(name="model", status="fail", seen=f"{name} is not installed", hint=hint))
    return checks


def _sandbox() -> list[Check]:
    tool = shutil.which("bwrap")
    hint = "needed only by the `code` scorer: install bubblewrap"
    if tool is None:
        return [Check(name="sandbox", status="none", seen="bubblewrap (`bwrap`) is not installed", hint=hint)]
    probe = [tool, "--unshare-all", "--ro-bind", "/", "/", "true"]
    try:
        works = subprocess.run(probe, capture_output=True, timeout=10, check=False).returncode == 0  # noqa: S603 -- a fixed command
    except (OSError, subprocess.TimeoutExpired):
        works = False
    if works:
        return [Check(name="sandbox", status="ok", seen=f"{tool} works")]
    seen = f"{tool} is there but may not make namespaces"
    return [Check(name="sandbox", status="warn", seen=seen, hint="allow unprivileged user namespaces")]


def _disk(config: "Config | None") -> list[Check]:
    folder = config.root if config else Path.cwd()
    free = shutil.disk_usage(folder).free
    enough = free >= MIN_FREE_BYTES
    hint = "" if enough else "free some space: answers are kept in the store"
    return [
        Check(name="disk", status="ok" if enough else "warn", seen=f"{free / 1e9:.1f} GB free", hint=hint)
    ]


def _catalogue() -> list[Check]:
    spec = importlib.util.find_spec("genai_prices")
    origin = Path(spec.origin) if spec and spec.origin else None
    if origin is None:
        return [Check(name="catalogue", status="fail", seen="no price data", hint="pip install genai-prices")]
    days = (datetime.now(UTC) - datetime.fromtimestamp(origin.stat().st_mtime, UTC)).days
    seen = f"genai-prices {_version('genai-prices')}, installed {days} days ago"
    if days <= OLD_PRICES_DAYS:
        return [Check(name="catalogue", status="ok", seen=seen)]
    hint = "pip install --upgrade genai-prices, or give `prices` in crossgrade.yaml"
    return [Check(name="catalogue", status="warn", seen=seen, hint=hint)]


def _prices(config: "Config | None", environ: Mapping[str, str]) -> list[Check]:
    from crossgrade.catalog import validate_price
    from crossgrade.project import Project

    if config is None:
        return []
    project, today = Project(config, environ), datetime.now(UTC).date()
    checks = []
    for name, offer in config.offers.items():
        price = project.price_of(offer)
        if price is None:
            seen = f"{name}: unknown, so a switch to or from it cannot be priced"
            hint = "give `prices` under this model in crossgrade.yaml"
            checks.append(Check(name="price", status="warn", seen=seen, hint=hint))
            continue
        doubts = validate_price(price, today=today)
        amounts = f"${price.input_per_mtok} in, ${price.output_per_mtok} out per million tokens"
        seen = f"{name}: {'; '.join(doubts) or amounts} ({price.source})"
        hint = "correct `prices` under this model in crossgrade.yaml" if doubts else ""
        checks.append(Check(name="price", status="warn" if doubts else "ok", seen=seen, hint=hint))
    for name, gone in project.gone(config.offers.values()).items():
        hint = "no verdict switches to it; if its provider still serves it, give `prices` under this model"
        checks.append(Check(name="offer", status="warn", seen=f"{name}: {gone}", hint=hint))
    return checks


def _terminal(environ: Mapping[str, str]) -> list[Check]:
    terminal = sys.stderr.isatty()
    colour = terminal and not environ.get("NO_COLOR")
    encoding = (sys.stdout.encoding or "unknown").lower()
    seen = f"{'a' if terminal else 'no'} terminal, {'colour' if colour else 'plain'}, {encoding}"
    fine = encoding.replace("-", "") == "utf8"
    return [
        Check(
            name="terminal",
            status="ok" if fine else "warn",
            seen=seen,
            hint="" if fine else "set PYTHONUTF8=1",
        )
    ]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
