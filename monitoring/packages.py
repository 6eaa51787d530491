"""Elementary's dbt packages: where they are kept, and how they get there whole or not at all.

They come from the dbt package hub, a mirror of it, or a folder. They are kept outside the project,
in the user's cache, so that the project builds without them and every clone shares them.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

from ingestion.errors import UserError, WrongUsage

VARIABLE = "ADX_DBT_PACKAGES"
HUB_VARIABLE = "DBT_PACKAGE_HUB_URL"
_HUB = "https://hub.getdbt.com/"
_PROJECT = Path(__file__).resolve().parent / "elementary"
_ANSWER = 4  # seconds that the hub has for a first answer
_DOWNLOAD = 180  # seconds for all packages
_LEFT_OVER = 3600  # seconds after which an install that never ended is cleared away


@functools.cache
def versions() -> dict[str, str]:
    """The packages by name, with the one version of each that is used."""
    listed = yaml.safe_load((_PROJECT / "packages.yml").read_text(encoding="utf-8"))["packages"]
    return {entry["package"].split("/")[1]: str(entry["version"]) for entry in listed}


def said() -> str:
    """The packages in words."""
    return " and ".join(f"{name} {version}" for name, version in versions().items())


def folder() -> Path:
    """Where the packages are or would be: ADX_DBT_PACKAGES, else the user's cache.

    A folder of the cache is named after the versions, so that it never has to change.
    """
    if chosen := os.environ.get(VARIABLE):
        return Path(chosen).absolute()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    name = "-".join(f"{name}-{version}" for name, version in versions().items())
    return cache.absolute() / "advertisex" / "dbt_packages" / name


def installed() -> Path | None:
    """The folder of the packages, None without them or when ADX_DBT_PACKAGES is set but empty."""
    if os.environ.get(VARIABLE) == "":
        return None
    place = folder()
    return place if _missing(place) is None else None


@contextlib.contextmanager
def switched(place: Path | None) -> Iterator[None]:
    """What is run inside sees the packages in `place`, or none; dbt_project.yml asks for this."""
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = str(place or "")
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def off() -> str | None:
    """Why Elementary does not watch, in a line; None when it does."""
    if installed() is not None:
        return None
    if os.environ.get(VARIABLE) == "":
        return f"Elementary is off: {VARIABLE} is set to nothing"
    return "Elementary is off: `adx packages` installs what it needs"


def install(source: Path | None = None) -> Path:
    """Install the packages from `source`, else from the hub; returns their folder.

    They are put together in a folder beside it and moved in one step: nobody ever sees half of
    them. Whoever comes second keeps what the first has installed. Raises UserError.
    """
    place = folder()
    if _missing(place) is None:
        return place
    if place.exists() and any(place.iterdir()):
        raise UserError(
            f"{place} is there but {_missing(place)}; remove it or set {VARIABLE} to another folder"
        )
    if source is None:
        _check_hub()
    try:
        _install(source, place)
    except OSError as error:
        raise UserError(
            f"cannot install into {place}: {error.strerror};"
            f" set {VARIABLE} to a folder that can be written"
        ) from None
    return place


def _install(source: Path | None, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    _clear_left_overs(place.parent)
    with tempfile.TemporaryDirectory(prefix=".installing-", dir=place.parent) as scratch:
        whole = Path(scratch) / "packages"
        if source is None:
            _download(whole, Path(scratch))
        else:
            _copy(source, whole)
        try:
            whole.rename(place)
        except OSError:
            if _missing(place) is not None:
                raise


def hub() -> str:
    """The address of the dbt package hub or its mirror."""
    return (os.environ.get(HUB_VARIABLE) or _HUB).rstrip("/") + "/"


def _missing(place: Path) -> str | None:
    """What a folder of packages lacks, None when it is whole."""
    for name, version in versions().items():
        try:
            project = yaml.safe_load((place / name / "dbt_project.yml").read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            return f"holds no {name}/ with a dbt_project.yml"
        if not isinstance(project, dict) or project.get("name") != name:
            return f"holds another project under {name}/"
        # dbt_utils never writes its version there.
        if name == "elementary" and str(project.get("version")) != version:
            return f"holds {name} {project.get('version')}, and {version} is needed"
    return None


def _copy(source: Path, whole: Path) -> None:
    if (lack := _missing(source)) is not None:
        raise WrongUsage(f"--from: {source} {lack}; give a folder with {said()} under these names")
    for name in versions():
        shutil.copytree(source / name, whole / name, ignore=shutil.ignore_patterns(".git"))


def _download(whole: Path, scratch: Path) -> None:
    project = scratch / "project"
    shutil.copytree(_PROJECT, project, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "dbt.cli.main", "--no-use-colors", "--log-level-file", "none"]
    try:
        done = subprocess.run(
            [*command, "deps", "--project-dir", str(project)],
            env={**os.environ, VARIABLE: str(whole), HUB_VARIABLE: hub()},
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=_DOWNLOAD,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"{hub()} sent no whole package in {_DOWNLOAD} s; {_OTHER_WAYS}") from None
    if done.returncode != 0 or (lack := _missing(whole)) is not None:
        lines = (done.stdout + done.stderr).strip().splitlines()
        reason = lines[-1].strip() if done.returncode != 0 and lines else f"what came {lack}"
        raise UserError(f"cannot download {said()} from {hub()}: {reason}; {_OTHER_WAYS}")


_OTHER_WAYS = (
    f"set {HUB_VARIABLE} to a mirror, or run `adx packages --from DIR` with a folder that holds"
    " elementary/ and dbt_utils/"
)


def _check_hub() -> None:
    """Raise UserError unless the hub answers in seconds; dbt itself would ask for minutes."""
    reason = _within(_ANSWER, _ask_hub)
    if reason is not None:
        raise UserError(f"the dbt package hub {hub()} cannot be reached: {reason}; {_OTHER_WAYS}")


def _ask_hub() -> str | None:
    import requests

    try:
        answer = requests.get(f"{hub()}api/v1/index.json", timeout=_ANSWER, stream=True)
    except requests.ConnectionError:
        return "no connection"
    except requests.RequestException as error:
        return type(error).__name__
    answer.close()
    return None if answer.ok else f"it answers {answer.status_code} {answer.reason}"


def _within(seconds: float, ask: Callable[[], str | None]) -> str | None:
    """What `ask` returns; looking a name up knows no limit of its own."""
    answers: list[str | None] = []
    thread = threading.Thread(target=lambda: answers.append(ask()), daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else f"no answer within {seconds} s"


def _clear_left_overs(parent: Path) -> None:
    """Remove what installs that were killed have left."""
    for left in parent.glob(".installing-*"):
        try:
            is_old = time.time() - left.stat().st_mtime > _LEFT_OVER
        except OSError:
            continue
        if is_old:
            shutil.rmtree(left, ignore_errors=True)
