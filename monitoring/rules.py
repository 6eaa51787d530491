"""The rules and channels of alerts: the YAML that ships, with the user's laid over it."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    ValidationError,
)

from ingestion.errors import UserError, WrongUsage

Severity = Literal["info", "warning", "critical"]
_SHIPPED = Path(__file__).parent / "alerts.yml"
_VARIABLE = re.compile(r"\$\{(\w+)\}")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}


def duration(value: object) -> dt.timedelta:
    """`30m`, `4h`, `2d`. Raises ValueError on anything else."""
    found = re.fullmatch(r"(\d+)\s*([mhd])", str(value))
    if found is None:
        raise ValueError("is no duration such as 30m, 4h or 2d")
    return dt.timedelta(**{_UNITS[found.group(2)]: int(found.group(1))})


Duration = Annotated[dt.timedelta, BeforeValidator(duration)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rule(_Strict):
    """One kind of finding."""

    severity: Severity
    explains: tuple[str, ...] = ()
    tells_end: bool = True
    repeat_after: Duration | None = None
    thresholds: dict[str, NonNegativeFloat] = Field(default_factory=dict)


class Route(_Strict):
    """Which findings go to which channels; an empty condition fits all."""

    channels: tuple[str, ...]
    severity: tuple[Severity, ...] = ()
    kind: tuple[str, ...] = ()
    stream: tuple[str, ...] = ()

    def fits(self, kind: str, severity: str, stream: str | None) -> bool:
        return (
            (not self.severity or severity in self.severity)
            and (not self.kind or kind in self.kind)
            and (not self.stream or stream in self.stream)
        )


class Rules(_Strict):
    """The whole file."""

    channels: dict[str, str]
    routes: tuple[Route, ...]
    group_by: tuple[Literal["kind", "severity", "subject"], ...]
    live: dict[str, Duration]
    tests: dict[str, str | None]
    rules: dict[str, Rule]

    @cached_property
    def urls(self) -> Mapping[str, str]:
        """The channels that are on, with their variables filled in."""
        return {
            name: _VARIABLE.sub(lambda found: os.environ[found.group(1)], url)
            for name, url in self.channels.items()
            if all(os.environ.get(variable) for variable in _VARIABLE.findall(url))
        }

    def channels_of(self, kind: str, severity: str, stream: str | None) -> tuple[str, ...]:
        """The channels, of those that are on, that a finding goes to."""
        wanted = {
            name
            for route in self.routes
            if route.fits(kind, severity, stream)
            for name in route.channels
        }
        return tuple(name for name in self.urls if name in wanted)


def read_rules() -> Rules:
    """The rules. Raises UserError that names the file, the place and what is wrong there."""
    shipped = yaml.safe_load(_SHIPPED.read_text(encoding="utf-8"))
    own = os.environ.get("ADX_ALERTS")
    if not own:
        return _checked(shipped, shipped, _SHIPPED)
    path = Path(own)
    try:
        laid = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UserError(f"cannot read ADX_ALERTS, {path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise WrongUsage(f"{path} is no YAML: {' '.join(str(error).split())}") from None
    if not isinstance(laid, dict):
        raise WrongUsage(f"{path} must hold channels, routes, rules, …, one a key")
    return _checked({**shipped, **laid, "rules": _over(shipped, laid)}, shipped, path)


def _over(shipped: dict[str, Any], laid: dict[str, Any]) -> Any:
    """The user's rules over those that ship, threshold by threshold."""
    rules = laid.get("rules") or {}
    if not isinstance(rules, dict):
        return rules
    found = dict(shipped["rules"])
    for kind, rule in rules.items():
        before = found.get(kind, {})
        if not isinstance(rule, dict):
            found[kind] = rule
            continue
        thresholds = rule.get("thresholds")
        if isinstance(thresholds, dict):
            rule = {**rule, "thresholds": {**before.get("thresholds", {}), **thresholds}}
        found[kind] = {**before, **rule}
    return found


def _checked(text: dict[str, Any], shipped: dict[str, Any], path: Path) -> Rules:
    try:
        rules = Rules.model_validate(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        words = first["msg"].removeprefix("Value error, ")
        given = (
            ""
            if first["type"] in ("missing", "extra_forbidden")
            else f" (it is {first['input']!r})"
        )
        raise WrongUsage(f"{path}: {place}: {words}{given}") from None
    for place, wrong, known in _unknown(rules, shipped):
        raise WrongUsage(f"{path}: {place}: {wrong!r} is not known; use one of {', '.join(known)}")
    return rules


def _unknown(rules: Rules, shipped: dict[str, Any]) -> Any:
    """Names that nothing answers to: place, name, and what there is."""
    from ingestion.contract import streams

    kinds = list(shipped["rules"])
    for kind, rule in rules.rules.items():
        if kind not in kinds:
            yield "rules", kind, kinds
        known = list(shipped["rules"][kind].get("thresholds", {}))
        for name in set(rule.thresholds) - set(known):
            yield f"rules.{kind}.thresholds", name, known or ["none"]
        for name in set(rule.explains) - set(kinds):
            yield f"rules.{kind}.explains", name, kinds
    for number, route in enumerate(rules.routes):
        for name in set(route.channels) - set(rules.channels):
            yield f"routes.{number}.channels", name, list(rules.channels) or ["none"]
        for name in set(route.kind) - set(kinds):
            yield f"routes.{number}.kind", name, kinds
        for name in set(route.stream) - set(streams()):
            yield f"routes.{number}.stream", name, list(streams())
    for test, told_as in rules.tests.items():
        if told_as is not None and told_as not in kinds:
            yield f"tests.{test}", told_as, kinds
    for name in set(rules.live) - set(streams()):
        yield "live", name, list(streams())
