"""Write the generated pages of docs/reference: cli.md from the commands, config.md from the schema.

`make docs` runs it; a test runs it with `--check`.
"""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from crossgrade.cli._frame import crossgrade
from crossgrade.config import config_schema

FOLDER = Path(__file__).parent.parent / "docs" / "reference"
GENERATED = "<!-- Written by scripts/reference.py: run `make docs` instead of editing. -->"
WIDTH = 100

CLI_HEAD = f"""\
# The command line

{GENERATED}

- Standard output carries data only. Progress, notes and errors go to standard error. Output is readable
  without colour, and colour is used only on a terminal (`NO_COLOR` turns it off).
- Commands that read take `--json`: one object with a `schema_version`. Times are RFC 3339, decimals
  (money) are strings, unknown is `null`. Fields may be added to a version, but are never renamed or removed.
- Errors name what was seen, where, and one next step. [errors.md](errors.md) lists them, and
  [exit-codes.md](exit-codes.md) lists the exit codes.
- `CROSSGRADE_CONFIG` names another configuration than `crossgrade.yaml`, `CROSSGRADE_DATABASE_URL` another
  store, `CROSSGRADE_HOME` the folder of local models; `CROSSGRADE_NO_PROGRESS` turns live progress off and
  `CROSSGRADE_LOG=debug` shows tracebacks.
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
  open: {{provider: groq, model: meta-llama/llama-4-scout-17b-16e-instruct, region: us}}
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
    "ContestantSection": "`workloads.NAME.incumbent`, `workloads.NAME.candidates[]`",
    "PromptSection": "`prompt`",
    "SettingsSection": "`settings`",
    "ScorerSection": "`workloads.NAME.scorer`",
    "RequirementsSection": "`workloads.NAME.requirements`",
    "RouteSection": "`routes.NAME`",
    "ShadowSection": "`routes.NAME.shadow`",
    "ServeSection": "`serve`",
    "LimitSection": "`serve.limits[]`",
    "IssuerSection": "`serve.issuers[]`",
    "TierRuleSection": "`serve.issuers[].rules[]`",
    "WatchSection": "`watch`",
}


def pages() -> dict[Path, str]:
    """Return the generated pages."""
    return {FOLDER / "cli.md": cli_page(), FOLDER / "config.md": config_page()}


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
        return "a section" if schema["$ref"] != "#/$defs/ContestantSection" else "a model's name or a section"
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


def main() -> None:
    """Write the pages, or with `--check` say which ones are not current."""
    for path, text in pages().items():
        if "--check" not in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            sys.exit(f"{path.name} is not current: run `make docs`")


if __name__ == "__main__":
    main()
