"""Where logs live: what lies behind a URL is loaded as its local copy is, from real servers."""

from __future__ import annotations

import contextlib
import functools
import gzip
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import landing
from ingestion.remote.names import public
from support import servers
from support.servers import Place
from test_bad_input import CLICKS, click, polite, users

EXAMPLE = landing.ROOT / "tests" / "fixtures" / "worked_example" / "landing"
KINDS: dict[str, Callable[[Path], AbstractContextManager[Place]]] = {
    "s3": servers.s3,
    "gs": servers.gs,
    "az": servers.az,
    "http": servers.web,
    "https": functools.partial(servers.web, tls=True),
    "sftp": servers.sftp,
}
STREAMED = [kind for kind in KINDS if kind != "https"]


class Everywhere:
    """The servers, each started with the first test that needs it."""

    def __init__(self, folder: Callable[[str], Path]) -> None:
        self.folder = folder
        self.stack = contextlib.ExitStack()
        self.places: dict[str, Place] = {}

    def __getitem__(self, kind: str) -> Place:
        if kind not in self.places:
            self.places[kind] = self.stack.enter_context(KINDS[kind](self.folder(kind)))
        return self.places[kind]


@pytest.fixture(scope="module")
def everywhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Everywhere]:
    found = Everywhere(tmp_path_factory.mktemp)
    with found.stack:
        yield found


@pytest.fixture
def warehouse(tmp_path: Path) -> Path:
    return tmp_path / "storage.duckdb"


def adx(place: Place, *arguments: str, warehouse: Path, **environment: str) -> landing.Ran:
    environment = {**place.environment, **environment}
    return landing.adx(*arguments, warehouse=warehouse, timeout=300, **environment)


def load(place: Place, *arguments: str, warehouse: Path, **environment: str) -> landing.Ran:
    return adx(place, "load", *arguments, warehouse=warehouse, **environment)


def url(place: Place, path: str) -> str:
    """A URL of what was put there; a folder's ends with a slash, which a web server needs."""
    return f"{place.root}/{path}"


def contents(warehouse: Path, root: str) -> dict[str, Any]:
    """What was loaded, by the name below the root, without what differs from load to load."""
    lineage = {"_file", "file", "_dlt_load_id", "load_id", "_loaded_at", "loaded_at"}

    def plain(row: dict[str, Any] | None) -> dict[str, Any]:
        return {key: value for key, value in (row or {}).items() if key not in lineage}

    return {
        name.removeprefix(root): (
            {stream: [plain(row) for row in rows] for stream, rows in found.accepted.items()},
            [plain(row) for row in found.rejected],
            plain(found.file),
        )
        for name, found in landing.read_raw(warehouse).items()
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_is_loaded_as_its_local_copy_is(
    everywhere: Everywhere, kind: str, warehouse: Path, tmp_path: Path
) -> None:
    place, local = everywhere[kind], tmp_path / "local"
    packed = gzip.compress(CLICKS + click("p1") + click("p2"), mtime=0)
    files = {str(path.relative_to(EXAMPLE)): path.read_bytes() for path in EXAMPLE.rglob("*.*")}
    files |= {
        "clicks/packed.csv.gz": packed,
        "clicks/damaged.csv.gz": packed[:-12],
        "clicks/with space & ünïcode.csv": CLICKS + click("named"),
        "clicks/empty.csv": b"",
        "clicks/_hidden.csv": CLICKS + click("hidden"),
        ".tmp/clicks/hidden.csv": CLICKS + click("hidden too"),
        "truth.json": b"{}",
    }
    for name, content in files.items():
        place.put(f"same/{name}", content)
        (local / name).parent.mkdir(parents=True, exist_ok=True)
        (local / name).write_bytes(content)
    other = tmp_path / "local.duckdb"
    polite(landing.adx("load", local, warehouse=other), 0)
    ran = load(place, url(place, "same/"), warehouse=warehouse)
    polite(ran, 0)
    expected = contents(other, f"{local}/")
    found = contents(warehouse, url(place, "same/"))
    if kind in ("http", "https"):  # a URL's own way to write these characters
        name = "clicks/with%20space%20%26%20%C3%BCn%C3%AFcode.csv"
        found["clicks/with space & ünïcode.csv"] = found.pop(name)
    assert found == expected
    assert len(expected) == 10
    again = json.loads(load(place, url(place, "same/"), "--json", warehouse=warehouse).out)
    assert {file["status"] for file in again["files"]} == {"skipped"}
    assert [file["file"] for file in again["files"]] == sorted(
        (file["file"] for file in again["files"]), key=lambda name: name.split("/")
    )


@pytest.mark.parametrize("kind", KINDS)
def test_files_and_patterns(everywhere: Everywhere, kind: str, warehouse: Path) -> None:
    place = everywhere[kind]
    for name in ("clicks/a1.csv", "clicks/a2.csv", "clicks/b1.csv", "deep/er/clicks/a3.csv"):
        place.put(f"some/{name}", CLICKS + click(f"{kind}-{name}"))

    def loaded(*paths: str) -> list[str]:
        polite(load(place, *(url(place, path) for path in paths), warehouse=warehouse), 0)
        return sorted(name.rpartition("some/")[2] for name in landing.read_raw(warehouse))

    assert loaded("some/clicks/a1.csv") == ["clicks/a1.csv"]
    assert loaded("some/c*/a[12].csv") == ["clicks/a1.csv", "clicks/a2.csv"]
    assert loaded("some/**/a*.csv") == ["clicks/a1.csv", "clicks/a2.csv", "deep/er/clicks/a3.csv"]
    ran = load(place, url(place, "some/clicks/z*.csv"), warehouse=warehouse)
    polite(ran, 1, "z*.csv", "no file matches")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_there_does_not_keep_the_rest(
    everywhere: Everywhere, kind: str, warehouse: Path
) -> None:
    place = everywhere[kind]
    place.put("here/clicks/a.csv", CLICKS + click("a"))
    ran = load(
        place,
        url(place, "nothing/clicks/x.csv"),
        url(place, "here/"),
        url(place, "nowhere/"),
        warehouse=warehouse,
    )
    polite(ran, 1, "nothing/clicks/x.csv", "nowhere", "no such")
    assert [users(found) for found in landing.read_raw(warehouse).values()] == [["a"]]


READ = """
import hashlib, json, resource, sys
from ingestion.discovery import find_files
from ingestion.readers.source import Source
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
(found,), problems = find_files(sys.argv[1:], "clicks")
with found.path.open() as file:
    file.read(1)
before = peak()
source, digest = Source(found.path), hashlib.sha256()
for piece in source.pieces():
    digest.update(piece)
json.dump([source.size, source.content_hash, digest.hexdigest(), peak() - before], sys.stdout)
"""


@pytest.mark.parametrize("kind", STREAMED)
def test_a_large_file_is_streamed(everywhere: Everywhere, kind: str) -> None:
    """200 MB, and the memory of a few blocks."""
    place = everywhere[kind]
    block = hashlib.sha256(kind.encode()).digest() * 2**15
    content = b"".join(index.to_bytes(8) + block for index in range(200))
    place.put("large/clicks/large.csv", content)
    out = subprocess.run(
        [sys.executable, "-c", READ, url(place, "large/clicks/large.csv")],
        env={**os.environ, **place.environment},
        cwd=landing.ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    size, stored, read, megabytes = json.loads(out)
    digest = hashlib.sha256(content).hexdigest()
    assert (size, stored, read) == (len(content), digest, digest)
    assert megabytes < 80


def test_small_objects_cost_one_request_each(everywhere: Everywhere, warehouse: Path) -> None:
    """A listing, a GET an object and no HEAD; the same again to find that all are known."""
    place, count = everywhere["s3"], 3_000 if landing.LONG else 60
    for number in range(count):
        place.put(f"many/clicks/0{number}.csv", CLICKS + click(f"u{number}"))
    with servers.wire(urlsplit(place.environment["AWS_ENDPOINT_URL"]).port or 0) as between:
        endpoint = f"http://127.0.0.1:{between.port}"
        for status in ("loaded", "skipped"):
            between.requests.clear()
            ran = load(
                place, "s3://logs/many", "--json", warehouse=warehouse, AWS_ENDPOINT_URL=endpoint
            )
            polite(ran, 0)
            assert {file["status"] for file in json.loads(ran.out)["files"]} == {status}
            gets = [line for line in between.requests if "/logs/many/clicks/0" in line]
            assert len(gets) == count and all(line.startswith("GET") for line in gets)
            # The listing comes in pages of a thousand.
            assert len(between.requests) <= count + 4 + count // 1000, between.requests
    assert len(landing.read_raw(warehouse)) == count


def test_a_connection_that_is_lost_in_a_large_object(
    everywhere: Everywhere, warehouse: Path
) -> None:
    place = everywhere["s3"]
    rows = b"".join(click(f"user-{number}") for number in range(600_000))
    place.put("lost/clicks/a.csv", CLICKS + click("a"))
    place.put("lost/clicks/b_large.csv", CLICKS + rows)
    place.put("lost/clicks/c.csv", CLICKS + click("c"))
    with servers.wire(urlsplit(place.environment["AWS_ENDPOINT_URL"]).port or 0) as between:
        between.limit = 12 * 2**20
        began = time.monotonic()
        ran = load(
            place,
            "s3://logs/lost",
            warehouse=warehouse,
            AWS_ENDPOINT_URL=f"http://127.0.0.1:{between.port}",
        )
    polite(ran, 1, "b_large.csv", "lost")
    assert time.monotonic() - began < 90
    assert not any("user-" in user for found in landing.read_raw(warehouse).values()
                   for user in users(found))  # fmt: skip
    polite(load(place, "s3://logs/lost", warehouse=warehouse), 0)
    loaded = landing.read_raw(warehouse)
    assert len(users(loaded["s3://logs/lost/clicks/b_large.csv"])) == 600_000
    assert len(loaded) == 3


@pytest.mark.parametrize("size", (10, 400_000))
def test_a_web_connection_that_is_lost(everywhere: Everywhere, warehouse: Path, size: int) -> None:
    place = everywhere["http"]
    rows = b"".join(click(f"user-{number}") for number in range(size))
    place.put(f"broken{size}/cut/clicks/b.csv", CLICKS + rows)
    place.put(f"broken{size}/clicks/c.csv", CLICKS + click("c"))
    ran = load(place, url(place, f"broken{size}/"), warehouse=warehouse)
    polite(ran, 1, "b.csv", "lost")
    assert [users(found) for found in landing.read_raw(warehouse).values()] == [["c"]]


WRONG: dict[str, tuple[str, str, dict[str, str], tuple[str, ...]]] = {
    "another user": (
        "s3", "s3://logs/x/",
        {"AWS_ACCESS_KEY_ID": "other", "AWS_SECRET_ACCESS_KEY": "other-secret"},
        ("access denied", "AWS_ACCESS_KEY_ID"),
    ),
    "a wrong secret": (
        "s3", "s3://logs/x/", {"AWS_SECRET_ACCESS_KEY": "wrong"}, ("access denied",),
    ),
    "no credentials": (
        "s3", "s3://logs/x/",
        {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true",
         "HOME": "/nonexistent"},
        ("no credentials", "AWS_ACCESS_KEY_ID"),
    ),
    "no S3 server": (
        "s3", "s3://logs/x/", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"},
        ("cannot reach", "127.0.0.1:9"),
    ),
    "no such bucket": ("s3", "s3://no-such-bucket/x/", {}, ("no such", "bucket")),
    "no Google server": (
        "gs", "gs://logs/x/", {"STORAGE_EMULATOR_HOST": "http://127.0.0.1:9"},
        ("cannot reach", "127.0.0.1:9"),
    ),
    "no Azure account": (
        "http", "az://logs/x/", {}, ("no credentials", "AZURE_STORAGE_CONNECTION_STRING"),
    ),
    "no Azure server": (
        "http", "az://logs/x/",
        {"AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=http;AccountName=a;"
         "AccountKey=c2VjcmV0LXdvcmQ=;BlobEndpoint=http://127.0.0.1:9/a;"},
        ("cannot reach",),
    ),
    "forbidden": ("http", "{root}/forbidden/clicks/a.csv", {}, ("access denied",)),
    "a forbidden folder": ("http", "{root}/forbidden/", {}, ("access denied",)),
    "a page": ("http", "{root}/some/clicks", {}, ("web page", "ends with /")),
    "no web server": ("http", "http://127.0.0.1:9/clicks/a.csv", {}, ("cannot reach",)),
    "no such host": ("http", "http://nowhere.invalid/clicks/a.csv", {}, ("cannot reach",)),
    "an unknown authority": (
        "https", "{root}/clicks/a.csv", {"SSL_CERT_FILE": "/dev/null"},
        ("certificate", "SSL_CERT_FILE"),
    ),
    "an unknown key": ("sftp", "{root}/x/", {"HOME": "/nonexistent"}, ("known_hosts",)),
    "another SFTP user": (
        "sftp", "{other}/x/", {"HOME": "{folder}/../stranger"}, ("access denied", "keys"),
    ),
    "no SFTP server": ("sftp", "sftp://loader@127.0.0.1:9/x/", {}, ("cannot reach",)),
    "an unknown scheme": ("http", "ftp://example.com/x", {}, ("ftp://", "s3://")),
    "no bucket": ("http", "s3:///x", {}, ("bucket",)),
    "a port that is none": ("http", "http://127.0.0.1:99999/clicks/a.csv", {}, ()),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_what_is_wrong_is_said(everywhere: Everywhere, warehouse: Path, case: str) -> None:
    kind, path, environment, words = WRONG[case]
    place = everywhere[kind]
    place.put("some/clicks/index.txt", b"")
    place.put("forbidden/clicks/a.csv", CLICKS)
    other = place.root.replace("loader@", "nobody:secret-word@")
    began = time.monotonic()
    wrong = path.format(root=place.root, other=other)
    settings = {name: value.format(folder=place.folder) for name, value in environment.items()}
    ran = load(place, wrong, "--stream", "clicks", warehouse=warehouse, **settings)
    polite(ran, 1, *words)
    assert time.monotonic() - began < 40
    assert "secret" not in ran.said.replace("AWS_SECRET_ACCESS_KEY", "")


def test_secrets_stay_out_of_the_warehouse(everywhere: Everywhere, warehouse: Path) -> None:
    place = everywhere["http"]
    for name in ("private/clicks/a.csv", "open/clicks/b.csv", "open/clicks/c.csv"):
        place.put(name, CLICKS + click(name))
    host = place.root.removeprefix("http://")
    ran = load(
        place,
        f"http://user:pass-word@{host}/private/",
        f"http://{host}/open/clicks/b.csv?id=7",
        f"http://{host}/open/clicks/c.csv?id=8&X-Amz-Signature=0123abcd",
        f"http://user:wrong-word@{host}/private/clicks/a.csv",
        warehouse=warehouse,
    )
    polite(ran, 0)
    assert sorted(landing.read_raw(warehouse)) == [
        f"http://{host}/open/clicks/b.csv?id=7",
        f"http://{host}/open/clicks/c.csv",
        f"http://{host}/private/clicks/a.csv",
    ]
    for secret in ("pass-word", "wrong-word", "0123abcd"):
        assert secret not in ran.said
        assert secret.encode() not in warehouse.read_bytes()


def test_urls_that_differ_only_in_secrets(everywhere: Everywhere, warehouse: Path) -> None:
    """They have one name in the warehouse: the second is not left out in silence."""
    place = everywhere["http"]
    place.put("signed/clicks/a.csv", CLICKS + click("signed"))
    link = f"{place.root}/signed/clicks/a.csv"
    ran = load(
        place,
        f"{link}?part=1&sig=0123abcd",
        f"{link}?part=2&sig=4567abcd",
        f"{link}?part=1&sig=0123abcd",
        warehouse=warehouse,
    )
    polite(ran, 1, f"Not loaded: {link}:", "same name", "run of its own")
    assert ran.said.count("Not loaded") == 1
    assert list(landing.read_raw(warehouse)) == [link]


@pytest.mark.parametrize("kind", ("s3", "http", "sftp"))
def test_rejects_are_replayed_from_where_the_file_lies(
    everywhere: Everywhere, kind: str, warehouse: Path
) -> None:
    place = everywhere[kind]
    good = CLICKS + b"".join(click(f"{kind}-{n}") for n in range(3))
    bad = good.replace(click(f"{kind}-1"), b"x\n")
    place.put("mended/clicks/a.csv", bad)
    name = url(place, "mended/clicks/a.csv")
    polite(load(place, name, warehouse=warehouse), 0)
    place.put("mended/clicks/a.csv", good)

    folder = url(place, "mended/")
    ran = adx(place, "rejects", "--replay", "--json", "--file", folder, warehouse=warehouse)
    polite(ran, 0)
    told = json.loads(ran.out)
    assert told["replayed"] == [{"stream": "clicks", "reason": "malformed", "records": 1}]
    (found,) = landing.read_raw(warehouse).values()
    assert [row["user_id"] for row in found.accepted["clicks"]] == [f"{kind}-{n}" for n in range(3)]
    assert found.rejected == []


def test_a_reject_whose_url_leads_nowhere_any_more(everywhere: Everywhere, warehouse: Path) -> None:
    place = everywhere["http"]
    place.put("gone/clicks/a.csv", CLICKS + click("stays") + b"x\n")
    name = url(place, "gone/clicks/a.csv")
    polite(load(place, name, warehouse=warehouse), 0)
    assert place.folder is not None
    (place.folder / "gone" / "clicks" / "a.csv").unlink()
    ran = adx(place, "rejects", "--replay", warehouse=warehouse)
    polite(ran, 0, f"Not replayed: 1 of {name}", "cannot be read (no such file", "adx load")


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("s3://bucket/a?b/c#d.csv", "s3://bucket/a?b/c#d.csv"),
        ("sftp://me:pw@host:22/x@y.csv", "sftp://me@host:22/x@y.csv"),
        ("abfs://box@acc.dfs.core.windows.net/x", "abfs://box@acc.dfs.core.windows.net/x"),
        ("https://me:pw@host/x.csv#part", "https://host/x.csv"),
        ("https://host/x.csv?day=1&part=2", "https://host/x.csv?day=1&part=2"),
        ("https://host/x.csv?sv=1&se=2&sig=abc", "https://host/x.csv"),
        ("https://host/x.csv?access_token=abc", "https://host/x.csv"),
        ("https://host/x.csv?t=0123456789abcdef0123456789abcdef", "https://host/x.csv"),
        ("https://host/x.csv?0123456789", "https://host/x.csv"),
    ],
)
def test_a_url_without_secrets(given: str, shown: str) -> None:
    assert public(given) == shown


def test_links_on_an_sftp_server(everywhere: Everywhere, warehouse: Path) -> None:
    """As locally: links to files are read, links to folders are not followed."""
    place = everywhere["sftp"]
    assert place.folder is not None
    place.put("links/clicks/a.csv", CLICKS + click("a"))
    place.put("elsewhere/b.csv", CLICKS + click("b"))
    clicks = place.folder / "links" / "clicks"
    (clicks / "b.csv").symlink_to(place.folder / "elsewhere" / "b.csv")
    (clicks / "round").symlink_to(place.folder / "links")
    (clicks / "nowhere.csv").symlink_to("not-there")
    ran = load(place, url(place, "links/"), warehouse=warehouse)
    polite(ran, 1, "nowhere.csv", "no such")
    assert sorted(map(users, landing.read_raw(warehouse).values())) == [["a"], ["b"]]


def test_local_files_import_none_of_it(tmp_path: Path) -> None:
    path = tmp_path / "clicks" / "a.csv"
    path.parent.mkdir()
    path.write_bytes(CLICKS)
    program = (
        "import sys; from ingestion.discovery import find_files;"
        " from ingestion.readers.source import Source;"
        " (found,), _ = find_files([sys.argv[1]], None); list(Source(found.path).pieces());"
        " print({'fsspec', 'aiohttp', 's3fs', 'ingestion.remote'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, cwd=landing.ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
