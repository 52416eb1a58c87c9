"""Uploads to a disk that gets full at the n-th page, or the n-th file, for every n; a process with a mount of its own.

`unshare --user --map-root-user --mount python -m tests.upload_filler WAY KIND MONGO_URL DATABASE FOLDER`; WAY is how
the file is sent. Prints a JSON line an n, until nothing fails any more.
"""

from __future__ import annotations

import base64
import hashlib
import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
from pymongo import MongoClient

from tests import disk_filler
from tests.api_server import EMAIL, FORM, Api, serving, until

FIRST = (1 << 20) + (1 << 16)  # bytes that come while there is room: a piece that is written at once, and a bit
CONTENT = random.Random(1).randbytes(FIRST + (1 << 16))
MOST = 60
TUS = {"Tus-Resumable": "1.0.0"}
BOUNDARY = "limit"
Shrink = Callable[[], None]


def form(api: Api, name: str, shrink: Shrink) -> httpx.Response:
    """In one request, whose body is on its way when the disk gets full."""
    fields = {**FORM, "dataset_name": name}
    parts = [f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    file = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x.tif"\r\n\r\n'
    begin, end = (
        "".join([*parts, file]).encode() + CONTENT[:FIRST],
        CONTENT[FIRST:] + f"\r\n--{BOUNDARY}--\r\n".encode(),
    )

    def body() -> Iterator[bytes]:
        yield begin
        incoming = api.data / "upload" / ".incoming"
        until(lambda: any(part.stat().st_size >= 1 << 20 for part in incoming.iterdir()), what="the first bytes")
        shrink()
        yield end

    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}", "Content-Length": str(len(begin + end))}
    return api.http.post("/api/upload/upload", content=body(), headers=headers)


def tus(api: Api, name: str, shrink: Shrink) -> httpx.Response:
    """A file that grows; the disk gets full between two requests, and the client goes on where it was."""
    values = {**FORM, "dataset_name": name, "filename": "x.tif"}
    told = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in values.items())
    length = {"Upload-Length": str(len(CONTENT))}
    place = api.http.post("/api/upload/tus", headers={**TUS, **length, "Upload-Metadata": told})
    assert place.status_code == 201, place.text
    go_on(api, place.headers["location"], FIRST).raise_for_status()
    shrink()
    return go_on(api, place.headers["location"])


def go_on(api: Api, place: str, end: int = len(CONTENT)) -> httpx.Response:
    offset = int(api.http.head(place, headers=TUS).headers["upload-offset"])
    headers = {**TUS, "Content-Type": "application/offset+octet-stream", "Upload-Offset": str(offset)}
    return api.http.patch(place, headers=headers, content=CONTENT[offset:end])


def chunks(api: Api, name: str, shrink: Shrink) -> httpx.Response:
    """A file whose room was taken at its beginning: a disk that gets full after that changes nothing for it."""
    size = {"filename": "x.tif", "file_size": len(CONTENT), "file_hash": hashlib.sha256(CONTENT).hexdigest()}
    begun = api.http.post("/api/upload/large/initiate", json={**FORM, "dataset_name": name, **size}).json()
    shrink()
    place = f"/api/upload/large/chunk/{begun['upload_id']}/0"
    sent = api.http.post(place, files={"chunk": ("c", CONTENT)}, data={"chunk_hash": size["file_hash"]})
    return sent if sent.is_error else api.http.post(f"/api/upload/large/complete/{begun['upload_id']}")


WAYS = {"form": form, "tus": tus, "chunks": chunks}


def again(api: Api, way: str, name: str, reply: httpx.Response) -> httpx.Response:
    """With room, as a client goes on: a form anew, a session where it stopped."""
    if way == "form":
        return form(api, name, lambda: None)
    if way == "tus":
        return go_on(api, str(reply.request.url))
    upload_id = reply.request.url.path.split("/")[5]
    if "/chunk/" in reply.request.url.path:
        digest = {"chunk_hash": hashlib.sha256(CONTENT).hexdigest()}
        api.http.post(reply.request.url.path, files={"chunk": ("c", CONTENT)}, data=digest).raise_for_status()
    return api.http.post(f"/api/upload/large/complete/{upload_id}")


def fill(api: Api, way: str, kind: str, number: int) -> dict[str, Any]:
    """One upload; what became of it, and what of the one after it, with room."""

    def shrink() -> None:
        if kind == "files":
            disk_filler.leave_files(number)
        else:
            used = sum(path.stat().st_blocks * 512 for path in disk_filler.DISK.rglob("*") if path.is_file())
            disk_filler.mount(size=str(used + (number + 1) * disk_filler.PAGE_BYTES))

    name = f"{way}{number}"
    reply = WAYS[way](api, name, shrink)
    disk_filler.mount(**PLENTY)
    left = stored(api)
    open_files = [path.name for path in (api.data / "upload" / ".incoming").iterdir()] if way == "form" else []
    retried = again(api, way, name, reply) if reply.is_error else reply
    found = {
        "status": reply.status_code,
        "code": reply.json()["code"] if reply.is_error else "",
        "left": len(left) - (not reply.is_error),
        "open": open_files,
        "again": retried.status_code,
        "stored": [content == CONTENT for content in stored(api)],
    }
    clear(api)
    return found


def stored(api: Api) -> list[bytes]:
    """Every file that has its place."""
    return [content for name, content in api.files().items() if not name.startswith(".")]


def clear(api: Api) -> None:
    for path in (api.data / "upload").iterdir():
        if not path.name.startswith("."):
            shutil.rmtree(path)
    for path in (api.data / "upload" / ".incoming").iterdir():
        path.unlink()
    api.database.visstoredatas.delete_many({"user_email": EMAIL})
    api.database.uploads.delete_many({})


PLENTY = {"size": "200m", "nr_inodes": "4096"}


def main(way: str, kind: str, mongo_url: str, name: str, folder: Path) -> None:
    disk_filler.DISK = folder / "upload"
    disk_filler.DISK.mkdir(parents=True)
    disk_filler.mount(**PLENTY)
    with MongoClient[dict[str, Any]](mongo_url) as client, serving(mongo_url, client[name], folder) as api:
        for number in range(MOST):
            found = fill(api, way, kind, number)
            print(json.dumps(found), flush=True)
            if found["status"] < 300:
                break


if __name__ == "__main__":
    way, kind, mongo_url, name, folder = sys.argv[1:]
    main(way, kind, mongo_url, name, Path(folder))
