"""`adx report`: what a warehouse looks like, as a page for people."""

from __future__ import annotations

from pathlib import Path

import click

from advertisex import console
from advertisex.command import command, escaped
from ingestion.errors import WrongUsage
from ingestion.warehouse import PROJECT, Warehouse


@click.command()
@click.option("--quality", is_flag=True, help="Elementary's report on the data and its tests.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    default=PROJECT / "data" / "reports" / "quality.html",
    help="The file for the page.",
)
@command
def report(warehouse: Warehouse, quality: bool, out: Path, as_json: bool) -> None:
    """Write a report as one HTML page that needs neither a server nor the network."""
    if not quality:
        raise WrongUsage("say which report: `adx report --quality`")
    from monitoring import quality_report

    quality_report.write(warehouse, out)
    if as_json:
        console.as_json({"page": out})
    else:
        console.out.print(f"Wrote {escaped(str(out))}; open it in a browser, no server is needed.")
