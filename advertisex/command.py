"""What all commands of `adx` share: their options, and how an error ends them."""

from __future__ import annotations

import functools
import sys
import traceback
from collections.abc import Callable
from typing import Any

import click

from advertisex import console
from ingestion.errors import UserError, WrongUsage
from ingestion.warehouse import TARGETS, from_environment
from monitoring.logs import events


def command(function: Callable[..., bool | None]) -> Callable[..., None]:
    """The options that all commands take; errors become a message and an exit code.

    The function gets the warehouse and `as_json`, and returns False when the command failed.
    """

    @click.option("--target", type=click.Choice(TARGETS), help="Warehouse; else ADX_TARGET.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON for machines.")
    @click.option("-v", "--verbose", is_flag=True, help="Say more, and show tracebacks.")
    @functools.wraps(function)
    def run(*args: Any, target: str | None, verbose: bool, **options: Any) -> None:
        try:
            events.configure()
            done = function(from_environment(target), *args, **options)
        except UserError as error:
            console.err.print(f"[bold red]Error:[/] {escaped(str(error))}")
            sys.exit(2 if isinstance(error, WrongUsage) else 1)
        except KeyboardInterrupt:
            console.err.print("Stopped. Nothing that was not finished counts; run it again.")
            sys.exit(1)
        except click.ClickException:
            raise
        except Exception as error:
            if verbose:
                traceback.print_exc()
            words = str(error).strip().splitlines() or [type(error).__name__]
            console.err.print(
                f"[bold red]Error:[/] {type(error).__name__}: {escaped(words[0])};"
                " run again with -v for the details"
            )
            sys.exit(1)
        sys.exit(1 if done is False else 0)

    return run


def options(*options: Callable[..., Any]) -> Callable[..., Any]:
    """Several options that commands share, as one decorator."""

    def add(function: Any) -> Any:
        for option in reversed(options):
            function = option(function)
        return function

    return add


def escaped(text: str) -> str:
    return text.replace("[", r"\[")
