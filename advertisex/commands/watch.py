"""`adx watch`: the warehouse as Prometheus metrics."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advertisex import console
from advertisex.command import command, escaped
from ingestion.errors import UserError, WrongUsage
from ingestion.warehouse import Warehouse

if TYPE_CHECKING:
    from monitoring.exporter import Exporter


@click.command()
@click.option("--port", default=9877, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--address", default="127.0.0.1", show_default=True, help="0.0.0.0 for other machines' scrapes."
)
@click.option(
    "--interval",
    default=15.0,
    show_default=True,
    type=click.FloatRange(0.1),
    help="Seconds between looks at the warehouse; it is read when it has changed.",
)
@click.option("--once", is_flag=True, help="Read once and end; alone, print the metrics.")
@click.option(
    "--textfile",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a file for node_exporter instead of serving, in one step.",
)
@click.option("--push", metavar="URL", help="Push to a Pushgateway instead of serving.")
@command
def watch(
    warehouse: Warehouse,
    port: int,
    address: str,
    interval: float,
    once: bool,
    textfile: Path | None,
    push: str | None,
    as_json: bool,
) -> bool:
    """Show the pipeline's health and the funnel as Prometheus metrics."""
    from monitoring.exporter import Exporter, serve

    if textfile is not None and push is not None:
        raise WrongUsage("give --textfile or --push, not both")
    exporter = Exporter(warehouse)
    if once:
        problem = exporter.refresh()
        _hand_over(exporter, textfile, push)
        if textfile is None and push is None:
            _show(exporter, as_json)
        if problem is not None:
            raise UserError(problem)
        return True
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    if textfile is None and push is None:
        server, _ = serve(exporter, address, port)
        console.err.print(
            f"The metrics of {warehouse} are at http://{address}:{server.server_port}/metrics"
        )
    said: str | None = None
    while not stop.is_set():
        problem = exporter.refresh()
        try:
            _hand_over(exporter, textfile, push)
        except UserError as error:
            problem = problem or str(error)
        if problem != said:
            console.err.print(f"[yellow]Not read:[/] {escaped(problem)}" if problem else "Read.")
            said = problem
        stop.wait(interval)
    return True


def _hand_over(exporter: Exporter, textfile: Path | None, push: str | None) -> None:
    from monitoring import exporter as ways

    if textfile is not None:
        ways.write(exporter, textfile)
    if push is not None:
        ways.push(exporter, push)


def _show(exporter: Exporter, as_json: bool) -> None:
    from prometheus_client.exposition import generate_latest

    if not as_json:
        print(generate_latest(exporter.registry).decode(), end="")
        return
    console.as_json(
        {
            sample.name: [
                {"labels": each.labels, "value": each.value}
                for each in metric.samples
                if each.name == sample.name
            ]
            for metric in exporter.collect()
            for sample in metric.samples
        }
    )
