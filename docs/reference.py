"""Write the reference pages from the code: routes, verbs and flags, keys and settings.

``python -m docs.reference`` writes ``docs/reference/*.md``; with ``--check`` it only says which are
stale, and returns 1 if any is.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer

from continualml import cli, settings
from continualml.app.api import main as api
from continualml.settings import Settings

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs/reference"
EXAMPLE = ROOT / "examples/electricity/continual.toml"
_MADE = "<!-- Written by docs/reference.py from the code; change it there. -->\n"
_OPEN = {"/livez", "/readyz"}
_LIMITS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "less than {}",
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
}
_TYPES = {
    "str": "text",
    "int": "number",
    "float": "number",
    "Path": "path",
    "list[str]": "text",
    "list[Path]": "path",
}
_KEYS = {
    "ConfigFile": "The file",
    "ModelTable": "A model: `[models.NAME]`",
    "FeatureTable": "A feature: `[models.NAME.features]`",
    "PolicyTable": "A policy: `[models.NAME.policy]`",
    "StrategyTable": "A strategy: `[[models.NAME.policy.strategies]]`",
    "LearnerTable": "A learner",
}


def pages() -> dict[str, str]:
    """Return every page by its file's name."""
    return {
        "http.md": "\n".join(_http()),
        "command-line.md": "\n".join(_command_line()),
        "configuration.md": "\n".join(_configuration()),
    }


def _http() -> Iterator[str]:
    document = api.create(settings.load(EXAMPLE)).openapi()
    parts = document["components"]["schemas"]
    yield f"# HTTP, route by route\n\n{_MADE}"
    yield "Bodies are JSON. A token goes in the header `Authorization: Bearer …`; every route but"
    yield "`/livez`, `/readyz`, `/ping` and `/v2/health/…` wants one. Errors are problem documents"
    yield "(RFC 9457), see [Problem](#problem). A running server shows the same at `/docs` and"
    yield "`/openapi.json`.\n"
    for path, item in document["paths"].items():
        for method, operation in item.items():
            yield f"## `{method.upper()} {path}`\n"
            yield f"{operation['summary']}.\n"
            if parameters := operation.get("parameters"):
                rows = [(p["name"], p["in"], *_said(p["schema"])) for p in parameters]
                yield from _table(("parameter", "in", "type", "default"), rows)
            if body := operation.get("requestBody"):
                content = body["content"]["application/json"]
                name = content["schema"]["$ref"].rpartition("/")[2]
                yield f"Body: [{name}](#{name.lower()}), such as\n"
                yield f"```json\n{json.dumps(content['example'])}\n```\n"
            told = {s: a["description"] for s, a in sorted(operation["responses"].items())}
            if len(told) > 1 and body:
                yield from _table(("status", "when"), list(told.items()))
    yield "## Bodies\n"
    for name in (
        *("PredictBody", "Instance", "LabelsBody", "LabelItem", "GenerateBody"),
        *("TryBody", "JobBody", "LoginBody", "VouchedBody"),
        *("InferBody", "Tensor", "Output", "Invocations", "Problem"),
    ):
        yield f"### {name}\n"
        yield f"{_plain(parts[name]['description'])}\n"
        required = parts[name].get("required", ())
        rows = [
            (
                f"`{key}`",
                _kind(one),
                "required" if key in required else _default(one),
                one.get("description", ""),
            )
            for key, one in parts[name]["properties"].items()
        ]
        yield from _table(("field", "type", "default", ""), rows)


def _command_line() -> Iterator[str]:
    yield f"# Every verb and flag\n\n{_MADE}"
    yield "What the verbs are for is in [the command line](../command-line.md).\n"
    for name, command in _verbs("continual", typer.main.get_command(cli.app)):
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        flags = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
        named = "".join(f" {(p.metavar or p.name or '').upper()}" for p in arguments)
        yield f"## {name}\n"
        yield f"{_plain(command.help or '')}\n"
        yield f"```text\n{name}{named}{' [flags]' if flags else ''}\n```\n"
        rows = [
            (
                ", ".join(f"`{o}`" for o in [*p.opts, *p.secondary_opts]),
                _takes(p),
                "required" if p.required else _shown(p.default),
                _plain(p.help or ""),
            )
            for p in flags
        ]
        yield from _table(("flag", "takes", "default", ""), rows)


def _verbs(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Walk through the verbs; a verb of verbs is told by its own."""
    verbs = getattr(command, "commands", None)
    if verbs is None:
        yield name, command
        return
    for word, one in verbs.items():
        yield from _verbs(f"{name} {word}", one)


def _takes(flag: Any) -> str:
    if flag.is_flag:
        return ""
    bounds = [f"at least {flag.min}"] * (flag.min is not None)
    bounds += [f"at most {flag.max}"] * (flag.max is not None)
    return ", ".join(
        [
            _TYPES.get(kind := str(flag.bare_type()), kind),
            *bounds,
            *["several times"] * flag.multiple,
        ]
    )


def _configuration() -> Iterator[str]:
    document = settings.schema()
    yield f"# Every key and setting\n\n{_MADE}"
    yield "What they mean is in [the configuration](../configuration.md).\n"
    yield "## continual.toml\n"
    tables = {"ConfigFile": document, **document["$defs"]}
    for name in dict.fromkeys([*_KEYS, *tables]):
        part = tables[name]
        yield f"### {_KEYS.get(name, name)}\n"
        yield f"{_plain(part['description'])}\n"
        required = part.get("required", ())
        rows = [
            (f"`{key}`", _kind(one), "required" if key in required else _default(one))
            for key, one in part["properties"].items()
        ]
        yield from _table(("key", "type", "default"), rows)
    yield "## Settings\n"
    yield "Each is an environment variable. In `[settings]` of the file its key is the same name in"
    yield "small letters, without `CONTINUAL_`.\n"
    described = Settings.model_json_schema()["properties"]
    told = list[tuple[str, ...]]()
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        names = getattr(alias, "choices", None) or [f"CONTINUAL_{name.upper()}"]
        # The schema goes by the first alias.
        one = described.get(name) or described[names[0]]
        said = ", ".join(f"`{n}`" for n in reversed(names))
        told.append((said, _kind(one), _default(one), field.description or ""))
    yield from _table(("variable", "type", "default", ""), told)


def _said(one: dict[str, Any]) -> tuple[str, str]:
    return _kind(one), _default(one)


def _kind(one: dict[str, Any]) -> str:
    """Say in words what a JSON Schema lets in."""
    if "$ref" in one:
        return str(one["$ref"]).rpartition("/")[2]
    if "anyOf" in one:
        return " or ".join(dict.fromkeys(_kind(o) for o in one["anyOf"] if o != {"type": "null"}))
    if "enum" in one or "const" in one:
        return " or ".join(f"`{value}`" for value in one.get("enum", [one.get("const")]))
    kind = one.get("type", "any")
    said = " or ".join(kind) if isinstance(kind, list) else str(kind)
    if kind == "array":
        said = f"list of {_kind(one['items'])}"
    elif kind == "object" and isinstance(one.get("additionalProperties"), dict):
        said = f"table of {_kind(one['additionalProperties'])}"
    limits = [words.format(_number(one[key])) for key, words in _LIMITS.items() if key in one]
    return ", ".join([said, *limits])


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.15g}"


def _default(one: dict[str, Any]) -> str:
    return _shown(one.get("default"))


def _shown(value: object) -> str:
    if value is None or value == "" or value is ... or callable(value):
        return ""
    if isinstance(value, dict):
        return "its own defaults"
    return f"`{json.dumps(value) if isinstance(value, bool | list | tuple) else value}`"


def _plain(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Make a Markdown table; nothing where there is no row."""
    lines = [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    if not lines:
        return
    yield f"| {' | '.join(head)} |"
    yield f"| {' | '.join('---' for _ in head)} |"
    yield from lines
    yield ""


def main() -> int:
    """Write the pages, or say which are stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = [
        PAGES / name
        for name, text in pages().items()
        if not (PAGES / name).exists() or (PAGES / name).read_text("utf-8") != text
    ]
    for path in stale:
        if check:
            print(f"{path} is stale: python -m docs.reference")  # noqa: T201  a program
        else:
            path.parent.mkdir(exist_ok=True)
            path.write_text(pages()[path.name], encoding="utf-8")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
