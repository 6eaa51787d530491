"""Real receivers of alerts on this machine: a web server, and a mail server."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session


class Webhook:
    """Takes what is posted; `status` is what it answers, and it may keep the caller waiting."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 200
        self.hold = threading.Event()
        self.hold.set()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                hook.hold.wait()
                if hook.status == 200:
                    hook.received.append(json.loads(body))
                with contextlib.suppress(BrokenPipeError):
                    self.send_response(hook.status)
                    self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self._server.server_address[1]}/alerts?cto=1&rto=1"

    @property
    def titles(self) -> list[str]:
        return [message["title"] for message in self.received]

    def close(self) -> None:
        self.hold.set()
        self._server.shutdown()
        self._server.server_close()


class _Inbox:
    def __init__(self) -> None:
        self.received: list[Message] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.received.append(message_from_bytes(envelope.content))
        return "250 OK"


class MailServer:
    """Takes mail for anybody."""

    def __init__(self, port: int) -> None:
        self._inbox = _Inbox()
        self._controller = Controller(self._inbox, hostname="127.0.0.1", port=port)
        self._controller.start()
        self.url = (
            f"mailto://127.0.0.1:{port}?from=adx@example.org&to=team@example.org&mode=insecure"
        )

    @property
    def received(self) -> list[Message]:
        return self._inbox.received

    def close(self) -> None:
        self._controller.stop()


@contextlib.contextmanager
def webhook() -> Iterator[Webhook]:
    server = Webhook()
    try:
        yield server
    finally:
        server.close()


@contextlib.contextmanager
def mail_server(port: int) -> Iterator[MailServer]:
    server = MailServer(port)
    try:
        yield server
    finally:
        server.close()
