"""A real Prometheus and a real Alertmanager with the project's configuration, and who is told.

Both run the shipped files; only what takes minutes there takes a second here, and every receiver
is a webhook of this process.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import shutil
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import yaml

from support.processes import Running
from support.servers import free_port, running
from support.warehouses import ROOT, Warehouse

SHIPPED = ROOT / "monitoring" / "prometheus"
_SECONDS = 60.0
T = TypeVar("T")


def program(name: str) -> str:
    """The path of an installed program; skips the test without it."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: prometheus, prometheus-alertmanager)")
    return found


def until(what: str, look: Callable[[], T | None], seconds: float = _SECONDS) -> T:
    """Look again and again until there is something."""
    end = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        assert time.monotonic() < end, f"{what} did not come within {seconds:.0f} s"
        time.sleep(0.1)


def get(url: str) -> str:
    with urlopen(url, timeout=10) as answer:
        return str(answer.read().decode())


# The exporter ------------------------------------------------------------------------------------


def metrics(text: str) -> dict[str, float]:
    """The samples of an exposition, by name and labels as they are written."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


@contextlib.contextmanager
def watching(warehouse: Warehouse, *arguments: str) -> Iterator[int]:
    """`adx watch` on a free port; yields the port."""
    port = free_port()
    process = warehouse.start("watch", "--port", str(port), *arguments)
    try:
        until("the exporter", lambda: _answers(process, port))
        yield port
    finally:
        process.terminate()
        assert process.wait(20) == 0, process.err


def _answers(process: Running, port: int) -> bool:
    assert process.poll() is None, process.err
    with contextlib.suppress(OSError):
        return "advertisex_warehouse_last_read" in get(f"http://127.0.0.1:{port}/metrics")
    return False


# Prometheus and Alertmanager ---------------------------------------------------------------------


@dataclass
class Told:
    """What the webhook was told: the receiver's name and Alertmanager's message."""

    url: str
    messages: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def of(self, alert: str, status: str) -> tuple[str, dict[str, Any]] | None:
        """The first word about an alert that is `firing` or `resolved`: receiver and alert."""
        for receiver, message in list(self.messages):
            for each in message["alerts"]:
                if each["labels"]["alertname"] == alert and each["status"] == status:
                    return receiver, each
        return None


@contextlib.contextmanager
def webhook() -> Iterator[Told]:
    """Listens for what Alertmanager says."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            told.messages.append((self.path.strip("/"), json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        told = Told(f"http://127.0.0.1:{server.server_address[1]}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield told
        server.shutdown()


@contextlib.contextmanager
def alertmanager(folder: Path, told: Told) -> Iterator[str]:
    """Alertmanager with the shipped routes; yields its address."""
    command = program("prometheus-alertmanager")
    config = yaml.safe_load((SHIPPED / "alertmanager.yml").read_text(encoding="utf-8"))
    config["route"] |= {"group_wait": "1s", "group_interval": "1s"}
    config["receivers"] = [
        {"name": name, "webhook_configs": [{"url": f"{told.url}/{name}"}]}
        for name in (receiver["name"] for receiver in config["receivers"])
    ]
    (folder / "alertmanager.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port = free_port()
    options = {
        "config.file": folder / "alertmanager.yml",
        "storage.path": folder / "alertmanager",
        "web.listen-address": f"127.0.0.1:{port}",
        "cluster.listen-address": "",
    }
    with running(_command(command, options), port, folder / "alertmanager.log"):
        yield f"127.0.0.1:{port}"


@dataclass
class Prometheus:
    """A server to ask."""

    url: str

    def is_ready(self) -> bool:
        with contextlib.suppress(OSError):
            return "Ready" in get(f"{self.url}/-/ready")
        return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The samples of an instant query."""
        answer = json.loads(get(f"{self.url}/api/v1/query?{urlencode({'query': expression})}"))
        assert answer["status"] == "success", answer
        found = answer["data"]["result"]
        assert isinstance(found, list)
        return found

    def alerts(self) -> dict[str, str]:
        """The alerts that are pending or firing, with that word."""
        found = json.loads(get(f"{self.url}/api/v1/alerts"))["data"]["alerts"]
        return {alert["labels"]["alertname"]: alert["state"] for alert in found}


@contextlib.contextmanager
def prometheus(
    folder: Path, exporter: int, alertmanager: str | None = None
) -> Iterator[Prometheus]:
    """Prometheus with the shipped rules, on an exporter's port."""
    command = program("prometheus")
    config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(SHIPPED / pattern) for pattern in config["rule_files"]]
    (job,) = config["scrape_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{exporter}"]}]
    targets = [alertmanager] if alertmanager else []
    config["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": targets}]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config), encoding="utf-8")
    port = free_port()
    options: Mapping[str, object] = {
        "config.file": folder / "prometheus.yml",
        "storage.tsdb.path": folder / "prometheus",
        "web.listen-address": f"127.0.0.1:{port}",
        "rules.alert.resend-delay": "1s",
    }
    with running(_command(command, options), port, folder / "prometheus.log"):
        server = Prometheus(f"http://127.0.0.1:{port}")
        until("Prometheus", server.is_ready)
        yield server


def _command(program: str, options: Mapping[str, object]) -> list[str]:
    return [program, *(f"--{name}={value}" for name, value in options.items())]
