"""Messages to channels, through apprise: in parallel, each within its time."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_CONNECT, _ANSWER, _ALL = 5, 10, 30  # seconds
_TYPES = {"critical": "failure", "warning": "warning", "info": "info", "resolved": "success"}


@dataclass(frozen=True)
class Message:
    """What is to be sent; `level` is a severity, or `resolved`."""

    id: str
    channel: str
    url: str
    level: str
    title: str
    text: str


def send(messages: Sequence[Message], done: Callable[[Message, str | None], None]) -> None:
    """Send all; `done` gets each message with the reason why it was not delivered, or None.

    It is called in this thread. After one message that a channel does not take its others are not
    tried; a channel that has not answered after 30 seconds is left behind.
    """
    results: queue.Queue[tuple[Message, str | None]] = queue.Queue()

    def work(mine: Sequence[Message]) -> None:
        problem = None
        for message in mine:
            problem = problem or _send(message)
            results.put((message, problem))

    channels: dict[str, list[Message]] = {}
    for message in messages:
        channels.setdefault(message.channel, []).append(message)
    for mine in channels.values():
        threading.Thread(target=work, args=(mine,), daemon=True).start()
    waiting = {message.id: message for message in messages}
    until = time.monotonic() + _ALL
    while waiting:
        try:
            message, problem = results.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            break
        del waiting[message.id]
        done(message, problem)
    for message in waiting.values():
        done(message, f"no answer within {_ALL} seconds")


def _send(message: Message) -> str | None:
    """Deliver one message; the reason why not, or None."""
    import apprise

    said = _Said()
    logger = logging.getLogger("apprise")
    logger.addHandler(said)
    logger.propagate = False
    try:
        channel = apprise.Apprise.instantiate(_with_timeouts(message.url))
        if channel is None:
            return "its URL is none that apprise knows"
        if channel.notify(message.text, title=message.title, notify_type=_TYPES[message.level]):
            return None
    except Exception as error:  # whatever a plugin raises, the message is kept
        return f"{type(error).__name__}: {error}"
    finally:
        logger.removeHandler(said)
    return "; ".join(said.lines) or "it was not accepted"


def _with_timeouts(url: str) -> str:
    if "cto=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}cto={_CONNECT}&rto={_ANSWER}"


class _Said(logging.Handler):
    """What apprise complains of in this thread."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []
        self.mine = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:
        if record.thread == self.mine:
            self.lines.append(record.getMessage())
