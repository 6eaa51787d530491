"""Run `adx` and stop at a point of it, so that a test can kill the process just there.

    python -m support.stop_at MODULE:NAME before|after N MARKER SECONDS -- load PATH

Where the function is called (before) or has returned (after) the N-th time, the file MARKER is
made. With `wait` for SECONDS the process then waits until the marker is taken away, or to be
killed; else it goes on, and kills itself that much later.
"""

from __future__ import annotations

import functools
import importlib
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any


def _die(seconds: float) -> None:
    time.sleep(seconds)
    os.kill(os.getpid(), signal.SIGKILL)


def stop_at(target: str, when: str, count: int, marker: Path, seconds: str) -> None:
    """Wrap the function `target`, e.g. `package.module:Class.method`."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    function = getattr(owner, name)
    calls = 0

    def met() -> None:
        nonlocal calls
        calls += 1
        if calls != count:
            return
        marker.touch()
        if seconds != "wait":
            threading.Thread(target=_die, args=(float(seconds),), daemon=True).start()
        while seconds == "wait" and marker.exists():
            time.sleep(0.02)

    @functools.wraps(function)
    def wrapper(*args: Any, **options: Any) -> Any:
        if when == "before":
            met()
        result = function(*args, **options)
        if when == "after":
            met()
        return result

    setattr(owner, name, wrapper)


if __name__ == "__main__":
    target, when, count, marker, seconds, _, *arguments = sys.argv[1:]
    stop_at(target, when, int(count), Path(marker), seconds)
    from advertisex.cli import main

    main(arguments)
