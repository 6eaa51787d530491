"""Processes that run a module as `python -m` does, without the seconds that its libraries take.

A server, started with the first of them, has imported the libraries and forks each process. What
is the project's own is imported anew, in the environment and the folder that the process gets.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

_LIBRARIES = (
    "adbc_driver_manager.dbapi",
    "adbc_driver_postgresql.dbapi",
    "cramjam",
    "dbt.adapters.duckdb.impl",
    "dbt.adapters.postgres.impl",
    "dbt.cli.main",
    "dlt.destinations.impl.duckdb.duck",
    "dlt.destinations.impl.postgres.postgres",
    "dlt.pipeline",
    "duckdb",
    "fastavro",
    "numba",
    "pandas",
    "psycopg2.extras",
    "pyarrow.compute",
    "pyarrow.csv",
    "pyarrow.json",
    "rich.progress",
    "support.parsed",
)
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(list(_LIBRARIES))


def _run(
    module: str,
    arguments: tuple[str, ...],
    environment: dict[str, str],
    folder: str,
    output: tuple[str, ...],
    before: Callable[[], None] | None,
) -> None:
    """In the new process."""
    for descriptor, path in enumerate(output, start=1):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    time.tzset()
    tempfile.tempdir = None
    sys.path[:0] = [*filter(None, environment.get("PYTHONPATH", "").split(os.pathsep)), folder]
    sys.argv[:] = [module, *arguments]
    if before is not None:
        before()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        atexit._run_exitfuncs()


class Running:
    """A process of its own; like `subprocess.Popen`, with what it says in files."""

    def __init__(
        self,
        module: str,
        *arguments: str,
        environment: Mapping[str, str],
        folder: Path,
        before: Callable[[], None] | None = None,
    ) -> None:
        """Start it; `before` is called in it first."""
        self._said = tempfile.TemporaryDirectory(prefix="adx-said-", ignore_cleanup_errors=True)
        self._output = tuple(Path(self._said.name) / name for name in ("out", "err"))
        for path in self._output:
            path.touch()
        output = tuple(map(str, self._output))
        given = (module, arguments, dict(environment), str(folder), output, before)
        self._process = _CONTEXT.Process(target=_run, args=given, daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal that ended it, or None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code; raises ``subprocess.TimeoutExpired``, and leaves it running."""
        self._process.join(timeout)
        code = self.returncode
        if code is None:
            raise subprocess.TimeoutExpired(self._process.name, timeout or 0)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """What it said on standard output and on standard error, when it has ended."""
        self.wait(timeout)
        return self.out, self.err

    @property
    def out(self) -> str:
        """What it has said so far on standard output."""
        return self._output[0].read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return self._output[1].read_text(encoding="utf-8")

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)
