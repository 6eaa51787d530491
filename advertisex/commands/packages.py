"""`adx packages`: Elementary's dbt packages into the user's cache."""

from __future__ import annotations

from pathlib import Path

import click

from advertisex import console
from advertisex.command import command, escaped
from ingestion.errors import UserError, WrongUsage
from ingestion.warehouse import Warehouse
from monitoring import packages as dbt_packages


@click.command()
@click.option(
    "--from",
    "source",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    metavar="DIR",
    help="A folder that holds elementary/ and dbt_utils/; else the dbt package hub, or its mirror"
    " at DBT_PACKAGE_HUB_URL.",
)
@click.option("--if-reachable", is_flag=True, help="Without a hub say so in a line, and succeed.")
@command
def packages(warehouse: Warehouse, source: Path | None, if_reachable: bool, as_json: bool) -> None:
    """Install Elementary's dbt packages, which watch the data when they are there."""
    if source is not None and if_reachable:
        raise WrongUsage("--from and --if-reachable do not go together")
    before = dbt_packages.installed()
    try:
        place = dbt_packages.install(source)
    except UserError as error:
        if not if_reachable:
            raise
        if as_json:
            console.as_json({"folder": None, "reason": str(error)})
        else:
            console.out.print(f"Elementary is left out: {escaped(str(error))}")
        return
    if as_json:
        console.as_json({"folder": place, "versions": dbt_packages.versions()})
    elif before is not None:
        console.out.print(f"Elementary is there: {dbt_packages.said()} in {escaped(str(place))}")
    else:
        console.out.print(f"Installed {dbt_packages.said()} in {escaped(str(place))}")
