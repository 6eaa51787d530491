"""Elementary's report as one page that needs nothing but a browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from ingestion.errors import UserError
from ingestion.warehouse import PROJECT, Warehouse
from monitoring import packages
from monitoring.tables import SCHEMA

_CONFIG = Path(__file__).resolve().parent / "elementary"
# Without the group around it, edr asks a server for its newest version before it reads its options.
_EDR = "from elementary.monitor.cli import report; report()"
_MOST_SECONDS = 600
# A browser that reads this loads nothing from anywhere, whatever the page asks for.
_HEAD = (
    '<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="'
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob: data:; worker-src blob:;"
    " style-src 'unsafe-inline'; img-src data: blob:; font-src data:"
    '">'
)
_REMOTE_LINK = re.compile(r'<link\b[^>]*\bhref="https?://[^>]*>')


def write(warehouse: Warehouse, page: Path) -> None:
    """Write the report on what Elementary has seen of a warehouse to `page`.

    An earlier page is replaced once the new one is whole. Raises UserError.
    """
    folder = packages.installed()
    if folder is None:
        raise UserError(
            f"the report needs Elementary, which is off; run `adx packages`"
            f" ({packages.VARIABLE} must not be empty), then `adx build`"
        )
    _check_seen(warehouse)
    with tempfile.TemporaryDirectory(prefix="adx-report-") as scratch:
        made = Path(scratch) / "report.html"
        _run_edr(warehouse, folder, made)
        try:
            page.parent.mkdir(parents=True, exist_ok=True)
            whole = page.with_name(f".{page.name}.{os.getpid()}")
            whole.write_text(_offline(made.read_text(encoding="utf-8")), encoding="utf-8")
            whole.replace(page)
        except OSError as error:
            raise UserError(f"cannot write the report to {page}: {error.strerror}") from None


def _check_seen(warehouse: Warehouse) -> None:
    if not warehouse.has("elementary_test_results", schema=SCHEMA):
        raise UserError(f"Elementary has seen no build of {warehouse} yet; run `adx build` first")


def _run_edr(warehouse: Warehouse, folder: Path, made: Path) -> None:
    """On a locked warehouse edr writes an empty report: only its exit code can be trusted."""
    scratch = made.parent
    own = {} if warehouse.path is None else {"ADX_DUCKDB_PATH": str(warehouse.path)}
    command = [sys.executable, "-c", _EDR, "--config-dir", str(_CONFIG)]
    command += ["--profiles-dir", str(PROJECT / "profiles")]
    command += ["--profile-target", warehouse.target, "--env", warehouse.target]
    command += ["--project-name", "AdvertiseX"]
    command += ["--target-path", str(scratch / "target"), "--file-path", str(made)]
    command += ["--exclude-elementary-models", "true", "--open-browser", "false"]
    try:
        done = subprocess.run(
            command,
            env={
                **os.environ,
                **own,
                "DBT_PACKAGES_FOLDER": str(folder),
                "DBT_TARGET_PATH": str(_target_path()),
                "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            },
            cwd=scratch,
            capture_output=True,
            text=True,
            timeout=_MOST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UserError(f"edr wrote no report within {_MOST_SECONDS} s") from None
    if done.returncode != 0 or not made.exists():
        with warehouse.connect(read_only=True):
            pass  # says so when somebody has it locked
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        reason = lines[-1].strip() if lines else f"exit code {done.returncode}"
        raise UserError(f"edr could not write the report: {reason}")


def _target_path() -> Path:
    """Where edr's own dbt project keeps what it has parsed."""
    chosen = Path(os.environ.get("DBT_TARGET_PATH") or PROJECT / "target").absolute()
    return chosen / "edr"


def _offline(html: str) -> str:
    return _HEAD + _REMOTE_LINK.sub("", html)
