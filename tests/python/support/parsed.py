"""What dbt made of the project, handed from one warehouse to the next on the same engine.

dbt parses everything anew, which takes many seconds, when the profile has changed. From one test
to the next only the place of the warehouse changes: dbt gets to compare the rest. What it parsed
names the database; all names have the same length, so one can stand in the other's place.
"""

from __future__ import annotations

from pathlib import Path

from dbt.artifacts.resources.base import FileHash
from dbt.contracts.graph.manifest import ManifestStateCheck
from dbt.parser.manifest import ManifestLoader

_PLACE = {"path", "host", "port", "database"}
_FILE = "partial_parse.msgpack"
_ways: dict[tuple[str, str], tuple[bytes, bytes]] = {}


_state = ManifestLoader.build_manifest_state_check


def _state_without_place(loader: ManifestLoader) -> ManifestStateCheck:
    state: ManifestStateCheck = _state(loader)  # type: ignore[no-untyped-call]
    settings = loader.root_project.credentials.connection_info()
    compared = sorted((name, value) for name, value in settings if name not in _PLACE)
    state.profile_hash = FileHash.from_contents(repr(compared))
    return state


ManifestLoader.build_manifest_state_check = _state_without_place  # type: ignore[method-assign]


def hand_over(engine: str, target: Path, database: str) -> None:
    """Give dbt's folder what was parsed before, where it has nothing of its own."""
    for (parsed_on, way), (content, name) in _ways.items():
        file = target / way / _FILE
        if parsed_on == engine and not file.exists():
            assert len(name) == len(database)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content.replace(name, database.encode()))


def keep(engine: str, target: Path, database: str) -> None:
    """Keep what dbt has parsed for the next warehouse, with Elementary and without."""
    for way in ("", "elementary"):
        file = target / way / _FILE
        if (engine, way) not in _ways and file.exists():
            _ways[engine, way] = file.read_bytes(), database.encode()
