"""Write the generated pages of docs/reference.

cli.md comes from the commands, config.md from the schema, the codes of errors.md, verdict.md, reasons.md and
notes.md from the code, the reference of python.md from the docstrings.

`make docs` runs it; a test runs it with `--check`.
"""

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from crossgrade import errors
from crossgrade.cli._frame import crossgrade
from crossgrade.config import config_schema
from crossgrade.store._database import CAUSES

PACKAGE = Path(errors.__file__).parent
FOLDER = Path(__file__).parent.parent / "docs" / "reference"
GENERATED = "<!-- Written by scripts/reference.py: run `make docs` instead of editing. -->"
WIDTH = 100

CLI_HEAD = f"""\
# The command line

{GENERATED}

- Standard output carries data only. Progress, notes and errors go to standard error. Output is readable
  without colour, and colour is used only on a terminal (`NO_COLOR` turns it off).
- Every command takes `--json`: one object with a `schema_version`. Times are RFC 3339, unknown is `null`.
  `serve` and `witness serve` are the exceptions, because they run until they are stopped. `serve --log-json`
  writes its log as lines of JSON. `watch` prints one look with `--once --json`.
  Fields may be added to a version, but are never renamed or removed. Prices and amounts that were paid or
  billed are strings with all their digits (`runs`, `cost`, `evaluate --dry-run`, `catalog`, `spent_usd`).
  Amounts that are estimated are numbers (the `costs` and savings of a verdict, everything of `scan`).
- Errors name what was seen, where, and one next step. Each has a stable code in brackets, and `--json` prints
  the error as an object. [errors.md](errors.md) lists them and [exit-codes.md](exit-codes.md) the exit codes.
- `CROSSGRADE_CONFIG` names another configuration than `crossgrade.yaml`, `CROSSGRADE_DATABASE_URL` another
  store, `CROSSGRADE_HOME` the folder of local models; `CROSSGRADE_NO_PROGRESS` turns live progress off and
  `CROSSGRADE_LOG=debug` shows tracebacks. `CROSSGRADE_LOG=codes` ends notes with [their codes](notes.md).
- `crossgrade help COMMAND` is `crossgrade COMMAND --help`, and `-V` is `--version`. `-q` stands before or
  after the command: it prints no notes and no progress, only data, warnings and errors.
- Completion for bash, zsh or fish: `eval "$(_CROSSGRADE_COMPLETE=bash_source crossgrade)"`. It completes
  commands and options, and the names of workloads, routes and models that crossgrade.yaml has.
"""

CONFIG_HEAD = f"""\
# crossgrade.yaml

{GENERATED}

One file configures a project. It is strict YAML 1.2. Unknown keys and wrong types are refused with their
line and column. `no` and `on` are texts. Tags, merge keys and several documents are not allowed. The file may
have up to 1 MiB and 32 levels. Paths are relative to the file and must lie inside its folder. The file never
contains secrets: `api_key_env` names the environment variable that holds a key.

`crossgrade init` writes a file with comments. `crossgrade config validate` checks the file, and
`crossgrade config schema` prints its JSON schema for completion in editors.

```yaml
models:
  current: {{provider: openai, model: gpt-4.1-mini, api_key_env: OPENAI_API_KEY}}
  open: {{provider: groq, model: openai/gpt-oss-120b, region: us}}
workloads:
  support:
    dataset: data/support.jsonl
    prompt: {{system: "Answer with one label.", user: "{{input}}"}}
    scorer: {{kind: exact, options: {{labels: [billing, other]}}, chance: 0.5}}
    incumbent: current
    candidates: [open]
```
"""

# Where each section stands in the file, in the order of the page.
SECTIONS = {
    "": "The file",
    "ModelSection": "`models.NAME`",
    "PriceSection": "`models.NAME.prices[]`",
    "WorkloadSection": "`workloads.NAME`",
    "VariantSection": "`workloads.NAME.incumbent`, `workloads.NAME.candidates[]`",
    "PromptSection": "`prompt`",
    "SettingsSection": "`settings`",
    "ScorerSection": "`workloads.NAME.scorer`",
    "RequirementsSection": "`workloads.NAME.requirements`",
    "LoggedTrafficSection": "`workloads.NAME.logged_traffic`",
    "AgentTrialsSection": "`workloads.NAME.trials`",
    "AgentSection": "`workloads.NAME.agent`",
    "AgentLimitsSection": "`workloads.NAME.agent.limits`",
    "RouteSection": "`routes.NAME`",
    "ShadowSection": "`routes.NAME.shadow`",
    "ServeSection": "`serve`",
    "LimitSection": "`serve.limits[]`",
    "IssuerSection": "`serve.issuers[]`",
    "TierRuleSection": "`serve.issuers[].rules[]`",
    "StoredResponsesSection": "`serve.stored_responses`",
    "AccessSection": "`access`",
    "AccessRuleSection": "`access.rules[]`",
    "LoginSection": "`access.rules[].login`",
    "SafetySection": "`safety`",
    "SuiteSection": "`safety.suites.NAME`",
    "GraderSection": "`safety.suites.NAME.grader`",
    "LedgerSection": "`ledger`",
    "WitnessSection": "`ledger.witnesses[]`",
    "DossierSection": "`dossier`",
    "StatementSection": "`dossier.statements[]`",
    "NotApplicableSection": "`dossier.not_applicable[]`",
    "WatchSection": "`watch`",
    "ConformWatchSection": "`watch.conform`",
    "SealedWatchSection": "`watch.sealed`",
    "RenewSection": "`watch.renew`",
    "TeamSection": "`team`",
    "PermissionSection": "`team.permitted[]`",
    "ContractSection": "`team.contracts[]`",
    "TeachingRightSection": "`team.teachers[]`",
}


CODES_HEAD = f"""\
## Codes

{GENERATED}

A code stays the same when the words of its message change. Errors on the command line end with it in
brackets, and `--json` prints it. `{{…}}` stands for what was seen.

| code | error | message |
| --- | --- | --- |
"""

# What makes an error beside its class: which one, and which argument has the words.
MAKERS = {
    "error": ("ConfigError", 1),
    "_refuse": ("ConfigError", 1),
    "bad_sample": ("DataError", 2),
    "_BinaryError": ("DataError", 0),
    "_Plain": ("the command line", 1),
    "refused": ("AccessError", 0),
}
REMARKS_HEAD = f"""\
## Codes

{GENERATED}

`{{…}}` stands for what was seen.

| code | in | sentence |
| --- | --- | --- |
"""

# The lists of a verdict, and what makes a remark: which argument is its code.
REMARKS = ("reasons", "would_change")
REMARK_MAKERS = {"Remark": 0, "remark": 1}

REASONS_HEAD = f"""\
## Codes

{GENERATED}

`{{…}}` stands for what was seen. Where a reason is the message of an error, its code is that
[error's](errors.md).

| code | sentence |
| --- | --- |
"""

PYTHON_HEAD = f"""\
## Reference

{GENERATED}
"""

# The classes that a project is used through: the title of their section, their name, what they are called.
PYTHON_KINDS = (
    ("Project", "Project", "project"),
    ("Routes", "Routing", "project.routing"),
    ("Probes", "ProjectProbes", "project.probes"),
    ("Live checks", "ProjectLive", "project.live"),
    ("Traffic", "ProjectTraffic", "project.traffic"),
    ("New offers", "ProjectRenewals", "project.renewals"),
)
# What of `crossgrade.stats` is on the page.
PYTHON_STATS = (
    "retention",
    "Retention",
    "SequentialRetention",
    "plan",
    "Plan",
    "calibrated_rate",
    "CalibratedRate",
    "calibrated_difference",
    "labels_for_limit",
)

NOTES_HEAD = f"""\
## Codes

{GENERATED}

`{{…}}` stands for what was seen.

| code | sentence |
| --- | --- |
"""

REFUSE = {"config": ("ConfigError", 2), "dialects": ("BadRequestError", 1)}


def pages() -> dict[Path, str]:
    """Return the generated pages."""
    return {
        FOLDER / "cli.md": cli_page(),
        FOLDER / "config.md": config_page(),
        FOLDER / "errors.md": errors_page(),
        FOLDER / "verdict.md": verdict_page(),
        FOLDER / "reasons.md": reasons_page(),
        FOLDER / "notes.md": notes_page(),
        FOLDER / "python.md": python_page(),
    }


def cli_page() -> str:
    """Return the reference of the commands: their help, as printed."""
    return "\n".join([CLI_HEAD, *_helps(crossgrade, "crossgrade")])


def _helps(command: click.Command, path: str) -> Iterator[str]:
    context = click.Context(command, info_name=path, terminal_width=WIDTH, max_content_width=WIDTH)
    context.help_option_names = ["-h", "--help"]
    yield f"## `{path}`\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _helps(inner, f"{path} {name}")


def config_page() -> str:
    """Return the reference of crossgrade.yaml: every key with its type, default and meaning."""
    schema = config_schema()
    parts = [CONFIG_HEAD]
    for name, title in SECTIONS.items():
        section = schema["$defs"][name] if name else schema
        mapping = next((each for each in section.get("anyOf", ()) if "properties" in each), section)
        parts.append(f"## {title}\n\n{section['description']}\n\n" + _table(mapping))
    return "\n".join(parts)


def _table(section: Mapping[str, Any]) -> str:
    rows = ["| key | value | default | meaning |", "| --- | --- | --- | --- |"]
    required = section.get("required", ())
    for key, schema in section["properties"].items():
        default = "**required**" if key in required else _default(schema)
        rows.append(f"| `{key}` | {_kind(schema)} | {default} | {schema['description']} |")
    return "\n".join(rows) + "\n"


def _default(schema: Mapping[str, Any]) -> str:
    value = schema.get("default")
    if value is None or value == []:
        return "none"
    if isinstance(value, dict):
        return "all defaults" if value else "none"
    return f"`{str(value).lower()}`" if isinstance(value, bool) else f"`{value}`"


def _kind(schema: Mapping[str, Any]) -> str:
    """Say in words what a schema accepts."""
    if "anyOf" in schema:
        kinds = dict.fromkeys(_kind(each) for each in schema["anyOf"] if each.get("type") != "null")
        return " or ".join(kind for kind in kinds if kind != "text" or len(kinds) == 1)
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "$ref" in schema:
        return "a section" if schema["$ref"] != "#/$defs/VariantSection" else "a model's name or a section"
    kinds = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}
    kind = schema.get("type", "")
    if kind == "array":
        return f"list of {_kind(schema['items'])}".replace("of a section", "of sections")
    if kind == "object":
        return "mapping"
    words = "date" if schema.get("format") == "date" else kinds.get(kind, "any")
    return words + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    names = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    bounds = [f"{sign} {_number(schema[name])}" for name, sign in names.items() if name in schema]
    return f", {' and '.join(bounds)}" if bounds else ""


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def errors_page() -> str:
    """Return the page of errors: its own words, and a table of every code."""
    own = (FOLDER / "errors.md").read_text(encoding="utf-8").partition("## Codes\n")[0]
    rows = [
        f"| `{code}` | {', '.join(sorted(kinds))} | {'<br>'.join(sorted(messages))} |"
        for code, (kinds, messages) in sorted(codes().items())
    ]
    return own + CODES_HEAD + "\n".join(rows) + "\n"


def verdict_page() -> str:
    """Return the page of the verdict's JSON: its own words, and a table of every code."""
    own = (FOLDER / "verdict.md").read_text(encoding="utf-8").partition("## Codes\n")[0]
    rows = [
        f"| `{code}` | `{place}` | {'<br>'.join(sorted(sentences))} |"
        for place in REMARKS
        for code, sentences in sorted(remark_codes(place).items())
    ]
    return own + REMARKS_HEAD + "\n".join(rows) + "\n"


def reasons_page() -> str:
    """Return the page of the reasons of results: its own words, and a table of every code."""
    own = (FOLDER / "reasons.md").read_text(encoding="utf-8").partition("## Codes\n")[0]
    rows = [f"| `{code}` | {'<br>'.join(sorted(said))} |" for code, said in sorted(reason_codes().items())]
    return own + REASONS_HEAD + "\n".join(rows) + "\n"


def notes_page() -> str:
    """Return the page of the notes on stderr: its own words, and a table of every code."""
    own = (FOLDER / "notes.md").read_text(encoding="utf-8").partition("## Codes\n")[0]
    rows = [f"| `{code}` | {'<br>'.join(sorted(said))} |" for code, said in sorted(note_codes().items())]
    return own + NOTES_HEAD + "\n".join(rows) + "\n"


def python_page() -> str:
    """Return the page of the Python API: its own words, and every public call with its docstring."""
    from crossgrade import project, stats

    own = (FOLDER / "python.md").read_text(encoding="utf-8").partition("## Reference\n")[0]
    functions = [name for name in project.__all__ if inspect.isfunction(getattr(project, name))]
    without = sorted({*functions} - {"decide_results"})
    parts = [own + PYTHON_HEAD, "## Results\n", _call("crossgrade.decide_results", project.decide_results)]
    parts += [_kind_of("crossgrade.ResultOptions", project.ResultOptions)]
    parts += ["### A verdict\n", _doc(project.ShownVerdict), *_methods(project.ShownVerdict, "verdict")]
    for title, kind, name in PYTHON_KINDS:
        parts += [f"## {title}\n", _doc(getattr(project, kind)), *_methods(getattr(project, kind), name)]
    parts += ["## Without a project\n"]
    parts += [_call(f"crossgrade.project.{name}", getattr(project, name)) for name in without]
    parts += ["## The test\n", "`crossgrade.stats` has the test itself, on arrays of scores.\n"]
    for name in PYTHON_STATS:
        found = getattr(stats, name)
        show = _kind_of if isinstance(found, type) else _call
        parts.append(show(f"crossgrade.stats.{name}", found))
        if isinstance(found, type):
            parts += _methods(found, name)
    return "\n".join(parts)


def _methods(kind: type, name: str) -> Iterator[str]:
    """Yield the public methods and properties of a class and its bases, in the order in which they stand."""
    seen: set[str] = set()
    for base in reversed([each for each in kind.__mro__ if each.__module__.startswith("crossgrade")]):
        for member, value in vars(base).items():
            if member.startswith("_") or member in seen or not _is_call(value):
                continue
            seen.add(member)
            found = inspect.getattr_static(kind, member)
            owner = kind.__name__ if isinstance(found, classmethod) else name
            yield _call(f"{owner}.{member}", getattr(found, "__func__", found))


def _is_call(value: object) -> bool:
    return isinstance(value, property | classmethod | staticmethod) or inspect.isfunction(value)


def _call(name: str, found: Any) -> str:
    """Return a heading with the call, and its docstring."""
    if isinstance(found, property):
        return f"### `{name}`\n\n{_doc(found)}"
    parts, star = [], False
    for each in inspect.signature(found).parameters.values():
        if each.name in {"self", "cls"}:
            continue
        if each.kind is each.KEYWORD_ONLY and not star:
            parts, star = [*parts, "*"], True
        default = "" if each.default is each.empty else f"={_shown_default(each.default)}"
        parts.append(each.name + default)
    return f"### `{name}({', '.join(parts)})`\n\n{_doc(found)}"


def _shown_default(value: object) -> str:
    """Return a default as it is typed; objects and functions are named by their kind."""
    if value is None or isinstance(value, bool | int | float | str | tuple):
        return repr(value)
    return "…"


def _kind_of(name: str, kind: type) -> str:
    return f"### `{name}`\n\n{_doc(kind)}"


def _doc(found: object) -> str:
    return (inspect.getdoc(found) or "") + "\n"


def note_codes() -> dict[str, set[str]]:
    """Return every code that a note of a command has, with its sentences."""
    found: dict[str, set[str]] = {}
    for path in sorted((PACKAGE / "cli").glob("*.py")):
        for function, call in _calls(ast.parse(path.read_text(encoding="utf-8")), "note", "warn", "coded"):
            for code in _literals(_code_argument(call, ""), function):
                words = _message(call.args, function).strip().replace("|", "\\|")
                found.setdefault(code, set()).add(words)
    return found


def reason_codes() -> dict[str, set[str]]:
    """Return every code that the reason of a result can have, with its sentences."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for function, call in _calls(ast.parse(path.read_text(encoding="utf-8")), "Reason"):
            code, text = call.args
            for each in _literals(code, function):
                found.setdefault(each, set()).add(_message([text], function).replace("|", "\\|"))
    return found


def _calls(tree: ast.AST, *names: str) -> Iterator[tuple[ast.AST | None, ast.Call]]:
    """Yield the calls of functions, each with the innermost function that it stands in."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    owner = {
        inner: outer for outer in ast.walk(tree) if isinstance(outer, functions) for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in names:
            yield owner.get(node), node


def remark_codes(place: str) -> dict[str, set[str]]:
    """Return every code that a list of a verdict can have, with its sentences as they stand in the code."""
    found: dict[str, set[str]] = {}
    for path, function in _remarking():
        changes = path.stem == "_changes" or function.name.endswith("_changes")
        if place != ("would_change" if changes else "reasons"):
            continue
        for call in ast.walk(function):
            if not isinstance(call, ast.Call) or getattr(call.func, "id", "") not in REMARK_MAKERS:
                continue
            code, sentence = call.args[REMARK_MAKERS[call.func.id] :]
            for each in _literals(code, function):
                found.setdefault(each, set()).update(_sentences(sentence, function))
    return found


def _remarking() -> Iterator[tuple[Path, ast.FunctionDef]]:
    """Yield every function of `decide` that may make a remark; those of changes are named so."""
    for path in sorted((PACKAGE / "decide").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name not in REMARK_MAKERS:
                yield path, node


def _sentences(sentence: ast.expr, function: ast.FunctionDef) -> Iterator[str]:
    """Yield the words that a remark can have: all that its function gives a variable."""
    choices = _assigned(sentence.id, function) if isinstance(sentence, ast.Name) else [sentence]
    yield from (_words(each).replace("|", "\\|") for each in choices)


def codes() -> dict[str, tuple[set[str], set[str]]]:
    """Return every code with the errors that have it and their messages, as they stand in the code."""
    found: dict[str, tuple[set[str], set[str]]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for code, kind, message in _codes_of(ast.parse(path.read_text(encoding="utf-8")), path):
            kinds, messages = found.setdefault(code, (set(), set()))
            kinds.add(kind)
            messages.add(message.replace("|", "\\|"))
    for _, code, meaning, _ in CAUSES:
        kinds, messages = found.setdefault(code, (set(), set()))
        kinds.add("StoreError")
        messages.add(f"{{…}} {meaning} ({{…}})")
    return found


def _codes_of(tree: ast.AST, path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield code, error and message of everything that a module raises on purpose."""
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    owner = {
        inner: outer for outer in ast.walk(tree) if isinstance(outer, functions) for inner in ast.walk(outer)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.name.endswith("Error") and node.name[0] != "_":
            yield from _own_code(node, path)
        if isinstance(node, functions):
            for default in node.args.kw_defaults:  # of `refuse`
                if isinstance(default, ast.Constant) and str(default.value).startswith("field-"):
                    yield str(default.value), "BadRequestError", _words(node.args.defaults[0])
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        makers = MAKERS | {"refuse": REFUSE.get(path.relative_to(PACKAGE).parts[0], ("", 0))}
        kind, place = makers.get(name, (name, 0))
        if kind.endswith("Error") or name in makers:
            for code in _literals(_code_argument(node, name), owner.get(node)):
                yield code.replace("_", "-"), kind, _message(node.args[place:], owner.get(node))


def _own_code(node: ast.ClassDef, path: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the code that a class has by itself."""
    module = importlib.import_module(
        ".".join(("crossgrade", *path.relative_to(PACKAGE).with_suffix("").parts))
    )
    kind = getattr(module, node.name)
    if isinstance(kind, type) and issubclass(kind, errors.CrossgradeError):
        yield kind.default_code, node.name, (ast.get_docstring(node) or "").partition("\n")[0]


def _code_argument(call: ast.Call, name: str) -> ast.expr | None:
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    if name == "_Plain":
        return call.args[0]
    if name == "refused":
        return call.args[1] if len(call.args) > 1 else None
    return named.get("code", named.get("reason") if name == "AccessError" else None)


def _literals(value: ast.AST | None, function: ast.AST | None) -> Iterator[str]:
    """Yield the texts that an expression can have: literals, choices, variables of its function."""
    if isinstance(value, ast.Constant) and isinstance(value.value, str):
        yield value.value
    elif isinstance(value, ast.IfExp):
        yield from _literals(value.body, function)
        yield from _literals(value.orelse, function)
    elif isinstance(value, ast.Name) and function is not None:
        for given in _assigned(value.id, function):
            yield from _literals(given, None)


def _assigned(name: str, function: ast.AST) -> Iterator[ast.expr]:
    for node in ast.walk(function):
        for target in node.targets if isinstance(node, ast.Assign) else ():
            if isinstance(target, ast.Name) and target.id == name:
                yield node.value
            if isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple):
                pairs = zip(target.elts, node.value.elts, strict=True)
                yield from (given for one, given in pairs if isinstance(one, ast.Name) and one.id == name)


def _message(arguments: list[ast.expr], function: ast.AST | None) -> str:
    """Return the words of the first argument, `{…}` for each value."""
    if not arguments:
        return "{…}"
    words = arguments[0]
    if isinstance(words, ast.Name) and function is not None:
        before = [given for given in _assigned(words.id, function) if given.lineno <= words.lineno]
        words = max(before, key=lambda given: given.lineno, default=words)
    return _words(words)


def _words(value: ast.expr) -> str:
    if isinstance(value, ast.JoinedStr):
        return "".join(_words(part) for part in value.values)
    if isinstance(value, ast.Constant):
        return str(value.value)
    if isinstance(value, ast.IfExp):
        return f"{_words(value.body)} / {_words(value.orelse)}"
    if isinstance(value, ast.BinOp):
        return _words(value.left) + _words(value.right)
    return "{…}"


def main() -> None:
    """Write the pages, or with `--check` say which ones are not current."""
    for path, text in pages().items():
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path.name} is not current: run `make docs`")


if __name__ == "__main__":
    main()
