"""dbt in this process, with its events turned into progress and a summary."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from advertisex.plan import check_loaded, digest
from ingestion.errors import UserError
from ingestion.warehouse import PROJECT, Warehouse, duckdb_problem
from monitoring import packages, quality

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_FAILED = ("error", "fail", "runtime error")

Progress = Callable[[str, str, int, int], None]


@dataclass(frozen=True)
class NodeResult:
    """One model, seed or test that dbt ran; `status` is dbt's own word.

    A test also has its severity (`error`, `warn`), how many rows failed, the model that it is
    about, and the query of its failing rows; a model has its relation.
    """

    id: str
    name: str
    kind: str
    status: str
    seconds: float
    message: str
    model: str | None = None
    severity: str | None = None
    failures: int | None = None
    relation: str | None = None
    query: str | None = None

    @property
    def failed(self) -> bool:
        return self.status in _FAILED


@dataclass(frozen=True)
class BuildReport:
    """What one dbt command did; `target` is dbt's working folder.

    `elementary_off` says why Elementary's tests were left out, None when they ran.
    """

    nodes: tuple[NodeResult, ...]
    seconds: float
    target: Path
    elementary_off: str | None

    @property
    def ok(self) -> bool:
        return not any(node.failed for node in self.nodes)

    def count(self, kinds: Sequence[str]) -> Counter[str]:
        return Counter(node.status for node in self.nodes if node.kind in kinds)


def build(
    warehouse: Warehouse,
    *,
    select: Sequence[str] = (),
    full_refresh: bool = False,
    seeds: bool = True,
    tests: bool = True,
    progress: Progress | None = None,
) -> BuildReport:
    """Models and, if wanted, seeds and tests. `progress` gets a node's name, status and place.

    With its dbt packages installed, Elementary's tests run too, and what they and all others find
    goes to its tables. Raises UserError when there is nothing to build from, or dbt cannot start.
    """
    check_loaded(warehouse)
    if warehouse.path is not None:
        _check_memory()
    # Unit tests say nothing of the data, only of the models; `make test` runs them. To write dbt's
    # JSON, which nothing here reads, takes a tenth of a small build.
    arguments = ["--no-write-json", "build", "--exclude-resource-type", "unit_test"]
    if not seeds:
        arguments += ["--exclude-resource-type", "seed"]
    if not tests:
        arguments += ["--exclude-resource-type", "test"]
    if select:
        # Tests that look at models beside the selected ones may find these out of date, or not yet
        # built.
        arguments += ["--indirect-selection", "buildable", "--select", *select]
    if full_refresh:
        arguments.append("--full-refresh")
    began = time.perf_counter()
    os.environ["ADX_PROJECT_DIGEST"] = digest()
    elementary = packages.installed() if tests else None
    if elementary is None:
        result = _invoke(warehouse, arguments, progress)
    else:
        result = _build_with_elementary(warehouse, arguments, progress, elementary)
    nodes = tuple(_node_result(run) for run in result.results)
    return BuildReport(nodes, time.perf_counter() - began, target_path(elementary), packages.off())


def _check_memory() -> None:
    limit = os.environ.get("ADX_DUCKDB_MEMORY")
    if not limit:
        return
    try:
        duckdb.connect(config={"memory_limit": limit}).close()
    except duckdb.Error:
        raise UserError(
            f"ADX_DUCKDB_MEMORY is {limit!r}, which DuckDB does not know as an amount of memory;"
            " set it like 6GB, or not at all"
        ) from None


def _build_with_elementary(
    warehouse: Warehouse, arguments: list[str], progress: Progress | None, elementary: Path
) -> Any:
    # Parsed once and without variables: dbt parses everything anew when one has changed.
    manifest = _invoke(warehouse, ["--no-write-json", "parse"], None, elementary)
    described = quality.digest_of(manifest)
    is_described = quality.has_tables(warehouse, quality.models_of(manifest))
    if is_described:
        is_described = quality.uploaded_digest(warehouse) == described
    else:
        models = ["run", "--select", "package:elementary"]
        done = _invoke(warehouse, models, progress, elementary, manifest)
        if failed := [run for run in done.results if str(run.status) in _FAILED]:
            reason = f"{failed[0].node.name}: {_first_line(failed[0].message)}"
            raise UserError(f"Elementary's tables could not be built: {reason}")
        quality.note_digest(warehouse, described)
        is_described = True
    # Its own tables only change with its version, and what it keeps of the project with the
    # project: doing either each time would take many seconds.
    variables: dict[str, object] = {"disable_dbt_artifacts_autoupload": is_described}
    if (moment := quality.judged_at(warehouse)) is not None:
        variables["custom_run_started_at"] = moment.isoformat()
    arguments = [*arguments, "--exclude", "package:elementary", "--vars", json.dumps(variables)]
    result = _invoke(warehouse, arguments, progress, elementary, manifest)
    if not is_described:
        quality.note_digest(warehouse, described)
    return result


def _node_result(run: Any) -> NodeResult:
    node = run.node
    common = (
        node.unique_id,
        node.name,
        str(node.resource_type),
        str(run.status),
        float(run.execution_time),
        _first_line(run.message),
    )
    if node.resource_type != "test":
        return NodeResult(*common, model=node.name, relation=node.relation_name)
    about = getattr(node, "attached_node", None) or next(iter(node.depends_on.nodes), "")
    return NodeResult(
        *common,
        model=about.split(".")[-1] or None,
        severity=node.config.severity.lower(),
        failures=run.failures,
        query=node.compiled_code if str(run.status) in (*_FAILED, "warn") else None,
    )


def _first_line(message: str | None) -> str:
    lines = _COLOUR.sub("", message or "").strip().splitlines()
    return " ".join(line.strip() for line in lines[:2])


def docs(warehouse: Warehouse, folder: Path) -> Path:
    """The documentation site as one static page in `folder`; its path."""
    check_loaded(warehouse)
    _invoke(warehouse, ["docs", "generate", "--static"], None)
    folder.mkdir(parents=True, exist_ok=True)
    page = folder / "index.html"
    shutil.copyfile(target_path() / "static_index.html", page)
    return page


def target_path(elementary: Path | None = None) -> Path:
    """dbt's working folder: one for each way, so that neither has to parse what the other did."""
    chosen = Path(os.environ.get("DBT_TARGET_PATH") or PROJECT / "target").absolute()
    return chosen / "elementary" if elementary else chosen


def _invoke(
    warehouse: Warehouse,
    arguments: list[str],
    progress: Progress | None,
    elementary: Path | None = None,
    manifest: Any = None,
) -> Any:
    """The result of a dbt command. Raises UserError when dbt cannot start.

    `elementary` is the folder of its dbt packages, if they are to take part; `manifest` is what
    dbt's `parse` returned, for it not to parse again.
    """
    if warehouse.path is not None:
        os.environ["ADX_DUCKDB_PATH"] = str(warehouse.path)
    # Before dbt is imported: its clients read this once.
    os.environ.setdefault("DBT_SEND_ANONYMOUS_USAGE_STATS", "false")
    from dbt.cli.main import dbtRunner

    errors: list[str] = []

    def listen(event: Any) -> None:
        if event.info.level == "error":
            errors.append(event.info.msg)
        if progress is not None and event.info.name in (
            "LogModelResult",
            "LogTestResult",
            "LogSeedResult",
        ):
            data = event.data
            total = data.num_models if event.info.name == "LogTestResult" else data.total
            progress(data.node_info.node_name, data.status, data.index, total)

    command = [
        "--quiet",
        "--log-level-file",
        "none",
        *arguments,
        "--project-dir",
        str(PROJECT),
        "--profiles-dir",
        str(PROJECT / "profiles"),
        "--target",
        warehouse.target,
        "--target-path",
        str(target_path(elementary)),
    ]
    with (
        packages.switched(elementary),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        outcome = dbtRunner(manifest, callbacks=[listen]).invoke(command)
        _release(warehouse)
    if outcome.result is None or (outcome.exception is not None and not outcome.success):
        problem = str(outcome.exception or "") or "\n".join(errors) or "dbt gave no reason"
        if "lock on file" in problem:
            raise duckdb_problem(warehouse.path, Exception(problem))
        raise UserError(f"dbt could not run: {problem.strip()}")
    return outcome.result


def _release(warehouse: Warehouse) -> None:
    """Close the file that dbt's DuckDB adapter keeps open for the life of the process."""
    if warehouse.path is not None:
        from dbt.adapters.duckdb.connections import DuckDBConnectionManager

        DuckDBConnectionManager.close_all_connections()  # type: ignore[no-untyped-call]
