"""Messages to channels, through apprise: in parallel, each within its time."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

_CONNECT, _ANSWER, _ALL = 5, 10, 20  # seconds
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

    It is called in this thread. A channel that does not answer is left behind after 20 seconds.
    """
    results: dict[str, str | None] = {}
    ready = threading.Condition()

    def work(mine: Sequence[Message]) -> None:
        for message in mine:
            problem = _send(message)
            with ready:
                results[message.id] = problem
                ready.notify()

    channels: dict[str, list[Message]] = {}
    for message in messages:
        channels.setdefault(message.channel, []).append(message)
    for mine in channels.values():
        threading.Thread(target=work, args=(mine,), daemon=True).start()
    waiting = {message.id: message for message in messages}
    with ready:
        while waiting:
            answered = ready.wait_for(lambda: waiting.keys() & results.keys(), timeout=_ALL)
            finished = [
                waiting.pop(name) for name in list(waiting) if not answered or name in results
            ]
            for message in finished:
                late = f"no answer within {_ALL} seconds"
                done(message, results.get(message.id) if answered else late)


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
