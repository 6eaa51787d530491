"""`adx packages`: Elementary's dbt packages arrive whole or not at all.

The packages here are empty ones of the right names: what is tested is how they get there. The hub
is a folder behind a real web server, in the hub's own layout.
"""

from __future__ import annotations

import io
import json
import os
import signal
import tarfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from advertisex import plan
from monitoring import packages
from support import servers
from support.processes import Running
from support.servers import Place
from support.warehouses import ROOT

ORGANISATIONS = {"elementary": "elementary-data", "dbt_utils": "dbt-labs"}
MACRO = "{% macro nothing() %}{% endmacro %}"


def project_file(name: str, version: str) -> str:
    return f"name: {name}\nversion: {version}\nconfig-version: 2\nmacro-paths: [macros]\n"


def write_packages(folder: Path, versions: Mapping[str, str]) -> Path:
    """Both packages as folders side by side."""
    for name, version in versions.items():
        (folder / name / "macros").mkdir(parents=True)
        (folder / name / "dbt_project.yml").write_text(project_file(name, version))
        (folder / name / "macros" / "nothing.sql").write_text(MACRO)
    return folder


def put_hub(place: Place, downloads: str) -> None:
    """The packages as the hub has them, the archives below the path `downloads`."""
    names = []
    for name, version in packages.versions().items():
        path = f"{ORGANISATIONS[name]}/{name}"
        names.append(path)
        archive = f"{downloads}/{name}.tar.gz"
        described = {
            "id": f"{path}/{version}",
            "name": name,
            "version": version,
            "packages": [],
            "require_dbt_version": [],
            "downloads": {"tarball": f"{place.root}/{archive}", "format": "tgz"},
        }
        hub = {"name": name, "namespace": ORGANISATIONS[name], "versions": {version: described}}
        place.put(f"api/v1/{path}.json", json.dumps(hub).encode())
        place.put(archive, packed(name, version))
    place.put("api/v1/index.json", json.dumps(names).encode())


def packed(name: str, version: str) -> bytes:
    """A package as the archive that a Git host makes of it."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for path, text in (
            ("dbt_project.yml", project_file(name, version)),
            ("macros/nothing.sql", MACRO),
        ):
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return content.getvalue()


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Place]:
    """A web server for a hub; `put_hub` fills it."""
    (tmp_path / "hub").mkdir()
    with servers.web(tmp_path / "hub") as place:
        yield place


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    """The user's cache, empty."""
    return tmp_path / "cache"


def start(cache: Path, *arguments: str, hub: str = "http://127.0.0.1:9/") -> Running:
    """Start `adx packages` for a user with that cache; nobody listens at the default hub."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(cache), packages.HUB_VARIABLE: hub}
    del environment[packages.VARIABLE]
    return Running("advertisex", "packages", *arguments, environment=environment, folder=ROOT)


def ended(process: Running) -> tuple[int, str, str]:
    """Exit code, output and errors."""
    code = process.wait(timeout=120)
    return code, process.out, process.err


def found(cache: Path) -> list[str]:
    """Every file below the cache, scratch left out, by its path from a folder of packages."""
    folders = cache.glob("advertisex/dbt_packages/[!.]*")
    return sorted(
        file.relative_to(folder).as_posix()
        for folder in folders
        for file in folder.rglob("*")
        if file.is_file()
    )


WHOLE = sorted(
    f"{name}/{file}" for name in ORGANISATIONS for file in ("dbt_project.yml", "macros/nothing.sql")
)


def test_from_a_mirror(hub: Place, cache: Path) -> None:
    """A mirror of static files, its address without the slash that dbt wants at its end."""
    put_hub(hub, "archives")
    code, out, errors = ended(start(cache, "--json", hub=hub.root))
    assert code == 0, errors
    assert found(cache) == WHOLE
    said = json.loads(out)
    assert said["versions"] == packages.versions()
    assert Path(said["folder"]).parent == cache / "advertisex" / "dbt_packages"
    assert list(Path(said["folder"]).parent.iterdir()) == [Path(said["folder"])]
    asked = len(hub.requests)
    code, out, _ = ended(start(cache, hub=hub.root))
    assert code == 0
    assert out.startswith("Elementary is there")
    assert len(hub.requests) == asked


def test_from_a_folder(tmp_path: Path, cache: Path) -> None:
    source = write_packages(tmp_path / "source", packages.versions())
    code, _, errors = ended(start(cache, "--from", str(source)))
    assert code == 0, errors
    assert found(cache) == WHOLE


@pytest.mark.parametrize("fault", ["absent", "version", "name"])
def test_from_a_wrong_folder(fault: str, tmp_path: Path, cache: Path) -> None:
    """What is not there, of another version, or another project is said and not installed."""
    versions = packages.versions()
    source = tmp_path / "source"
    if fault == "absent":
        write_packages(source, {"elementary": versions["elementary"]})
        expected = "holds no dbt_utils/ with a dbt_project.yml"
    else:
        write_packages(source, versions)
        name, version = ("elementary", "0.24.0") if fault == "version" else ("other", "1.0.0")
        (source / "elementary" / "dbt_project.yml").write_text(project_file(name, version))
        expected = (
            f"holds elementary 0.24.0, and {versions['elementary']} is needed"
            if fault == "version"
            else "holds another project under elementary/"
        )
    code, _, errors = ended(start(cache, "--from", str(source)))
    assert code == 2
    assert expected in errors
    assert found(cache) == []


def test_hub_out_of_reach(cache: Path) -> None:
    """It is said, with the other ways; `--if-reachable` makes one line of it."""
    code, _, errors = ended(start(cache))
    assert code == 1
    assert "http://127.0.0.1:9/ cannot be reached" in errors
    assert packages.HUB_VARIABLE in errors
    assert "--from DIR" in errors
    code, out, errors = ended(start(cache, "--if-reachable"))
    assert (code, errors, out.count("\n")) == (0, "", 1)
    assert out.startswith("Elementary is left out: the dbt package hub")
    assert found(cache) == []


def test_download_that_breaks_off(hub: Place, cache: Path) -> None:
    """Nothing is installed, and a hub that has mended is asked anew."""
    put_hub(hub, "cut")
    code, _, errors = ended(start(cache, hub=hub.root))
    assert code == 1
    assert "cannot download elementary" in errors
    assert found(cache) == []
    put_hub(hub, "archives")
    code, _, errors = ended(start(cache, hub=hub.root))
    assert code == 0, errors
    assert found(cache) == WHOLE


def test_killed_half_way(hub: Place, cache: Path, tmp_path: Path) -> None:
    """Killed between the first and the second package, it leaves no folder of packages."""
    put_hub(hub, "archives")
    process = start(cache, hub=hub.root)
    until = time.monotonic() + 60
    while not any(".tar.gz" in request for request in hub.requests):
        assert process.poll() is None and time.monotonic() < until
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert found(cache) == []
    left = list(cache.glob("advertisex/dbt_packages/.installing-*"))
    assert left
    for folder in left:
        os.utime(folder, (0, 0))
    source = write_packages(tmp_path / "source", packages.versions())
    code, _, errors = ended(start(cache, "--from", str(source)))
    assert code == 0, errors
    assert found(cache) == WHOLE
    assert not list(cache.glob("advertisex/dbt_packages/.installing-*"))


def test_two_at_once(hub: Place, cache: Path) -> None:
    put_hub(hub, "archives")
    both = [ended(process) for process in [start(cache, hub=hub.root) for _ in range(2)]]
    assert [code for code, _, _ in both] == [0, 0], both
    assert found(cache) == WHOLE


def test_packages_that_have_come_are_something_to_build(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else Elementary would see nothing before the next load."""
    monkeypatch.setenv(packages.VARIABLE, "")
    without = plan.digest()
    for name in ("here", "there"):  # wherever they are
        folder = write_packages(tmp_path / name, packages.versions())
        monkeypatch.setenv(packages.VARIABLE, str(folder))
        assert plan.digest() != without
    monkeypatch.setenv(packages.VARIABLE, str(tmp_path / "nowhere"))
    assert plan.digest() == without
