"""Contracts: what each stream must look like, read from YAML (semantics section 1).

In the folder `contracts/`, a *stream* contract lists fields with their types and other names, and
a *router* (`interactions`) says which stream each row belongs to. A *feed* contract, in
`contracts/feeds/` or wherever its user keeps it, says where the fields of a stream sit in
somebody's own layout.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import yaml

from ingestion.errors import UserError, WrongUsage

CONTRACTS = Path(__file__).parent / "contracts"
FEEDS = CONTRACTS / "feeds"
FORMATS = ("json", "csv", "avro")
TYPES = (
    "string",
    "timestamp",
    "website",
    "currency",
    "amount",
    "integer",
    "date",
    "pricing_model",
    "json",
)
_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")


class ContractError(UserError):
    """A contract that cannot be used; the message names the file, the line and the key."""


@dataclass(frozen=True)
class FieldPath:
    """Where a value sits in a record: `user.id` or `imp[0].bidfloor`; one step is a plain name."""

    text: str
    steps: tuple[str | int, ...]

    @property
    def top(self) -> str:
        """The name of the record's own field that holds the value."""
        return str(self.steps[0])

    @property
    def nested(self) -> bool:
        return len(self.steps) > 1


@dataclass(frozen=True)
class Field:
    """One field of a stream; `sources` are looked at in their order, the first not empty counts."""

    name: str
    type: str
    required: bool
    sources: tuple[FieldPath, ...]


@dataclass(frozen=True)
class Contract:
    """A stream's fields in the order in which they are judged and joined to an event's text."""

    stream: str
    format: str
    fields: tuple[Field, ...]
    identity: str | None
    reference: bool


@dataclass(frozen=True)
class Router:
    """A mixed stream: the first of `by` that is not empty (any case) names the row's stream."""

    stream: str
    format: str
    by: tuple[FieldPath, ...]
    values: tuple[tuple[str, str], ...]
    otherwise: str

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*(target for _, target in self.values), self.otherwise]))


def plain(name: str) -> FieldPath:
    return FieldPath(name, (name,))


def parse_path(text: str) -> FieldPath:
    """`imp[0].bidfloor` → steps ("imp", 0, "bidfloor"). Raises ValueError for any other text."""
    steps: list[str | int] = []
    position = 0
    while position < len(text):
        if steps and text[position] == ".":
            position += 1
            found = _STEP.match(text, position)
            if found is None or found.group(1) is None:
                raise ValueError(text)
        else:
            found = _STEP.match(text, position)
            if found is None or (steps and found.group(1) is not None):
                raise ValueError(text)
        name, index = found.group(1), found.group(2)
        steps.append(name if name is not None else int(index))
        position = found.end()
    if not steps or isinstance(steps[0], int) or '"' in text or "*" in text:
        raise ValueError(text)
    return FieldPath(text, tuple(steps))


@cache
def streams() -> dict[str, Contract | Router]:
    """Every stream that ships, by name."""
    return {path.stem: read(path) for path in sorted(CONTRACTS.glob("*.yml"))}


def stream(name: str) -> Contract:
    """The contract of a stream that has a raw table."""
    found = streams()[name]
    assert isinstance(found, Contract)
    return found


def event_streams() -> tuple[Contract, ...]:
    """The contracts of the streams that have a raw table, events and references."""
    return tuple(found for found in streams().values() if isinstance(found, Contract))


def find(name: str) -> Contract | Router:
    """The contract called `name` in `contracts/`, or the one in the YAML file `name`.

    Raises WrongUsage when there is none, ContractError when it has a mistake.
    """
    if name in streams():
        return streams()[name]
    if (FEEDS / f"{name}.yml").is_file():
        return read(FEEDS / f"{name}.yml")
    if name.endswith((".yml", ".yaml")) or "/" in name:
        return read(Path(name))
    known = ", ".join(sorted([*streams(), *(path.stem for path in FEEDS.glob("*.yml"))]))
    raise WrongUsage(
        f"no contract is called {name!r}; give one of {known}, or the path of a YAML file"
    )


def read(path: Path) -> Contract | Router:
    """The contract in a YAML file. Raises ContractError with file, line and key."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ContractError(f"{path}: cannot read the contract: {reason}") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}: " if mark is not None else ""
        problem = getattr(error, "problem", None) or "it is not YAML"
        raise ContractError(f"{path}: {line}not valid YAML: {problem}") from None
    return _Reader(path).contract(root)


class _Reader:
    """Walks the YAML's nodes rather than its values, because only nodes know their lines."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fail(self, node: yaml.Node | None, key: str, problem: str) -> ContractError:
        line = f"line {node.start_mark.line + 1}: " if node is not None else ""
        return ContractError(f"{self.path}: {line}{key}: {problem}")

    def mapping(self, node: yaml.Node | None, key: str) -> dict[str, tuple[yaml.Node, yaml.Node]]:
        if not isinstance(node, yaml.MappingNode) or not node.value:
            raise self.fail(node, key, "must be a mapping with at least one key")
        found: dict[str, tuple[yaml.Node, yaml.Node]] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                raise self.fail(name, key, "its keys must be plain names")
            if name.value in found:
                raise self.fail(name, str(name.value), "is given twice")
            found[str(name.value)] = (name, value)
        return found

    def known(
        self, found: dict[str, tuple[yaml.Node, yaml.Node]], allowed: tuple[str, ...]
    ) -> None:
        for name, (node, _) in found.items():
            if name not in allowed:
                raise self.fail(node, name, f"unknown key; it may be one of {', '.join(allowed)}")

    def text(self, node: yaml.Node, key: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag.endswith(":null"):
            raise self.fail(node, key, "must be a name")
        return str(node.value)

    def choice(self, node: yaml.Node, key: str, allowed: tuple[str, ...]) -> str:
        value = self.text(node, key)
        if value not in allowed:
            raise self.fail(node, key, f"{value!r} is not one of {', '.join(allowed)}")
        return value

    def flag(self, node: yaml.Node, key: str) -> bool:
        if not isinstance(node, yaml.ScalarNode) or not node.tag.endswith(":bool"):
            raise self.fail(node, key, "must be true or false")
        return str(node.value).lower() in ("true", "yes", "on")

    def texts(self, node: yaml.Node, key: str) -> Iterator[tuple[yaml.Node, str]]:
        items = node.value if isinstance(node, yaml.SequenceNode) else [node]
        if not items:
            raise self.fail(node, key, "must name at least one field")
        for item in items:
            yield item, self.text(item, key)

    def paths(self, node: yaml.Node, key: str) -> tuple[FieldPath, ...]:
        found = []
        for item, text in self.texts(node, key):
            try:
                found.append(parse_path(text))
            except ValueError:
                problem = f"{text!r} is not a path such as user.id or imp[0].bidfloor"
                raise self.fail(item, key, problem) from None
        return tuple(found)

    def names(self, node: yaml.Node, key: str) -> tuple[FieldPath, ...]:
        return tuple(plain(text) for _, text in self.texts(node, key))

    def contract(self, root: yaml.Node | None) -> Contract | Router:
        top = self.mapping(root, "contract")
        self.known(top, ("stream", "format", "identity", "fields", "route", "paths", "aliases"))
        for kind in ("route", "paths", "fields"):
            if kind in top:
                break
        else:
            raise self.fail(root, "contract", "needs one of the keys fields, paths or route")
        if "stream" not in top:
            raise self.fail(root, "stream", "is missing; it names the stream that this feeds")
        if kind == "paths":
            return self.feed(top)
        if self.path.parent != CONTRACTS:
            problem = "only a stream's own contract has it; a feed's layout is given with paths"
            raise self.fail(top[kind][0], kind, problem)
        stream = self.text(top["stream"][1], "stream")
        if "format" not in top:
            raise self.fail(root, "format", f"is missing; it is one of {', '.join(FORMATS)}")
        usual = self.choice(top["format"][1], "format", FORMATS)
        if kind == "route":
            self.known(top, ("stream", "format", "route"))
            return self.router(stream, usual, top["route"][1])
        self.known(top, ("stream", "format", "identity", "fields"))
        fields = tuple(
            self.field(name, node)
            for name, (_, node) in self.mapping(top["fields"][1], "fields").items()
        )
        identity = None
        if "identity" in top:
            identity = self.choice(
                top["identity"][1], "identity", tuple(field.name for field in fields)
            )
        return Contract(stream, usual, fields, identity, reference=identity is None)

    def field(self, name: str, node: yaml.Node) -> Field:
        found = self.mapping(node, name)
        self.known(found, ("type", "required", "aliases"))
        if "type" not in found:
            raise self.fail(node, name, f"needs a type, one of {', '.join(TYPES)}")
        type_ = self.choice(found["type"][1], f"{name}.type", TYPES)
        required = "required" in found and self.flag(found["required"][1], f"{name}.required")
        aliases: tuple[FieldPath, ...] = ()
        if "aliases" in found:
            aliases = self.names(found["aliases"][1], f"{name}.aliases")
        return Field(name, type_, required, (plain(name), *aliases))

    def router(self, stream: str, usual: str, node: yaml.Node) -> Router:
        found = self.mapping(node, "route")
        self.known(found, ("by", "values", "otherwise"))
        for key in ("by", "values", "otherwise"):
            if key not in found:
                raise self.fail(node, f"route.{key}", "is missing")
        values = tuple(
            (value.lower(), self.text(target, f"route.values.{value}"))
            for value, (_, target) in self.mapping(found["values"][1], "route.values").items()
        )
        otherwise = self.text(found["otherwise"][1], "route.otherwise")
        return Router(stream, usual, self.names(found["by"][1], "route.by"), values, otherwise)

    def feed(self, top: dict[str, tuple[yaml.Node, yaml.Node]]) -> Contract:
        self.known(top, ("stream", "paths", "aliases"))
        known = {contract.stream: contract for contract in event_streams()}
        stream = known[self.choice(top["stream"][1], "stream", tuple(known))]
        by_name = {field.name: field for field in stream.fields}
        others = "aliases" in top and self.flag(top["aliases"][1], "aliases")
        given: dict[str, tuple[FieldPath, ...]] = {}
        for name, (node, value) in self.mapping(top["paths"][1], "paths").items():
            if name not in by_name:
                raise self.fail(
                    node,
                    name,
                    f"is no field of {stream.stream}; its fields are {', '.join(by_name)}",
                )
            given[name] = self.paths(value, name)
        for field in stream.fields:
            if field.required and field.name not in given and not others:
                raise self.fail(
                    top["paths"][0], field.name, f"{stream.stream} requires it; say where it sits"
                )
        fields = tuple(
            replace(field, sources=given.get(field.name, field.sources if others else ()))
            for field in stream.fields
        )
        return replace(stream, fields=fields)
