"""A published dataset -> a bucket: every file of its manifest under `<prefix>/<uuid>/`, the headers last.

*A reader of the bucket sees no header before the data it names.* What is there already, byte by byte, is not sent
again. What has a second name in the result, by a link, has it in the bucket by a copy. What a newer result replaces
(its heads) is sent behind a fence: nobody who has lost the right to copy puts an older one in its place.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scray.errors import BadParameter, ChecksumMismatch, SourceNotFound
from scray.manifest import MANIFEST, Manifest
from scray.multipart import end, part_spans, unfinished, upload
from scray.settings import Settings
from scray.sources.bucket import profile, s3_client, translated
from scray.sources.checksum import fits
from scray.spans import hash_spans
from scray.storage import HEADER, inside, links

PORTION_BYTES = 256 << 20
PORTION_FILES = 64
UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TOLD = ("metadata.json", "preview.png")
LAST = (MANIFEST, HEADER)  # in this order, at the end

Fence = Callable[[], None]  # raises where the right to copy is lost


@dataclass(frozen=True)
class Target:
    """Where datasets go: `s3://bucket/prefix`, as the operator has set it."""

    bucket: str
    prefix: str
    endpoint: str

    @classmethod
    def of(cls, settings: Settings) -> Target:
        """From SCRAY_PUBLISH_URL and SCRAY_PUBLISH_PROFILE; BadParameter for another kind of address."""
        parts = urlsplit(settings.publish_url)
        if parts.scheme != "s3" or not parts.netloc:
            raise BadParameter("SCRAY_PUBLISH_URL must be like s3://bucket/prefix.")
        keys = profile(settings.publish_profile, settings)
        prefix = parts.path.strip("/")
        return cls(parts.netloc, f"{prefix}/" if prefix else "", keys.endpoint_url or settings.s3_endpoint)

    def key(self, uuid: str, name: str) -> str:
        return f"{self.prefix}{uuid}/{name}"

    def link(self, uuid: str) -> str:
        """Where the header is read over HTTP, if the bucket lets everybody read."""
        key = self.key(uuid, HEADER)
        if self.endpoint:
            return f"{self.endpoint.rstrip('/')}/{self.bucket}/{key}"
        return f"https://{self.bucket}.s3.amazonaws.com/{key}"


def look(settings: Settings) -> Target:
    """Where datasets go, once the bucket has answered. Raises BadParameter, SourceDenied, SourceNotFound,
    SourceUnreachable.
    """
    target = Target.of(settings)
    with translated(f"s3://{target.bucket}"):
        _client(settings).head_bucket(Bucket=target.bucket)
    return target


def _client(settings: Settings) -> Any:
    return s3_client(profile(settings.publish_profile, settings), settings, trusted=True, summed=True)


@dataclass(frozen=True)
class Outgoing:
    """What is sent, by name. `rounds` are data, in portions for any worker, each round to be finished before the next
    begins. `heads`, in any order, and then the `last`, in theirs, are replaced by the next result under their names:
    they are for the owner of the copy alone.
    """

    rounds: tuple[tuple[tuple[str, ...], ...], ...]
    heads: tuple[str, ...]
    last: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Everything, as one after the other would send it."""
        return (
            *(name for portions in self.rounds for portion in portions for name in portion),
            *self.heads,
            *self.last,
        )


def outgoing(folder: Path) -> Outgoing:
    """What is to be sent of a result."""
    manifest = Manifest.from_json((folder / MANIFEST).read_bytes())
    sizes = {file.path: file.size for file in manifest.outputs}
    last = tuple(name for name in LAST if (folder / name).is_file())
    heads = sorted(name for name in sizes if name in TOLD or (Path(name).name == HEADER and name != HEADER))
    data = sorted(sizes.keys() - {*heads, HEADER})
    second = {name: sizes[path] for target in links(folder).items() for name, path in _under(*target, data)}
    rounds = [_portions(data, sizes), _portions(sorted(second), second)]
    return Outgoing(tuple(filter(None, rounds)), tuple(heads), last)


def _under(link: str, target: str, names: list[str]) -> Iterator[tuple[str, str]]:
    """The second names of files below a folder that has a link; a bucket knows no links. Second name, first name."""
    for name in names:
        if Path(name).is_relative_to(target):
            yield (Path(link) / Path(name).relative_to(target)).as_posix(), name


def _portions(names: list[str], sizes: dict[str, int]) -> tuple[tuple[str, ...], ...]:
    found: list[list[str]] = []
    held = 0
    for name in names:
        if not found or held + sizes[name] > PORTION_BYTES or len(found[-1]) == PORTION_FILES:
            found.append([])
            held = 0
        found[-1].append(name)
        held += sizes[name]
    return tuple(map(tuple, found))


def send(folder: Path, uuid: str, names: tuple[str, ...], settings: Settings, fence: Fence | None = None) -> int:
    """Send some files of a dataset and see that they arrived whole; their bytes.

    A `fence` is asked right before a file gets its place in the bucket; and what somebody else has put there since is
    not replaced, where the store knows conditional writes. Raises what the fence does, RemoteChanged, SourceDenied,
    SourceNotFound (the bucket), SourceUnreachable, ChecksumMismatch.
    """
    target, client = Target.of(settings), _client(settings)
    return sum(_send(client, target, uuid, folder, name, fence) for name in names)


def _send(client: Any, target: Target, uuid: str, folder: Path, name: str, fence: Fence | None) -> int:
    path = inside(folder, Path(name))
    size = path.stat().st_size
    where, spans = {"Bucket": target.bucket, "Key": target.key(uuid, name)}, part_spans(size)
    there = _there(client, where)
    if there.size == size and fits(there.checksum, "md5", hash_spans(path, spans, "md5")):
        return size
    first = target.key(uuid, path.relative_to(folder.resolve()).as_posix())
    with translated(f"s3://{target.bucket}"):
        if len(spans) > 1:
            digests = upload(client, path, where, spans, fence or _no_fence)
        else:
            digests = hash_spans(path, spans, "md5")
            if first != where["Key"]:  # it is there under its first name
                client.copy_object(**where, CopySource={"Bucket": target.bucket, "Key": first})
            else:
                _put(client, path, where, digests[0], there, fence)
    there = _there(client, where)
    if there.size != size or not fits(there.checksum, "md5", digests):
        raise ChecksumMismatch(f"'{name}' did not arrive in the bucket as it is here.")
    return size


def _no_fence() -> None: ...


def _put(client: Any, path: Path, where: Mapping[str, str], digest: str, there: _There, fence: Fence | None) -> None:
    """A small file; behind a fence in the place of what is `there`, and of nothing else."""
    md5 = base64.b64encode(bytes.fromhex(digest)).decode()

    def put(condition: Mapping[str, str]) -> None:
        if fence:
            fence()
        with path.open("rb") as body:
            client.put_object(**where, Body=body, ContentMD5=md5, **condition)

    try:
        put(there.unchanged if fence else {})
    except client.exceptions.ClientError as error:
        if not fence or error.response["Error"]["Code"] != "NotImplemented":
            raise
        put({})  # the store knows no such condition


@dataclass(frozen=True)
class _There:
    """An object of the bucket; nothing where its size is negative. `tag` is its ETag as the store gives it."""

    tag: str = ""
    size: int = -1

    @property
    def checksum(self) -> str:
        """See `RemoteFile.checksum`."""
        text = self.tag.strip('"')
        return f"{'etag' if '-' in text else 'md5'}:{text}"

    @property
    def unchanged(self) -> dict[str, str]:
        """The condition that nobody has replaced it (RFC 9110, 13.1)."""
        return {"IfMatch": self.tag} if self.tag else {"IfNoneMatch": "*"}


def _there(client: Any, where: Mapping[str, str]) -> _There:
    try:
        with translated(f"s3://{where['Bucket']}/{where['Key']}"):
            head = client.head_object(**where)
    except SourceNotFound:
        return _There()
    return _There(str(head["ETag"]), int(head["ContentLength"]))


def clear(settings: Settings, goes_on: Callable[[str, datetime], bool], uuid: str = "") -> int:
    """End the uploads of parts that were begun for copies nobody goes on with, of one dataset or of all; how many.

    `goes_on` is asked with the dataset and the beginning of each, after it was found. Objects whose key does not begin
    with a UUID are none of ours. Raises SourceDenied (some keys may not list), SourceNotFound, SourceUnreachable.
    """
    target, client = Target.of(settings), _client(settings)
    ended = 0
    with translated(f"s3://{target.bucket}"):
        for one in unfinished(client, target.bucket, target.key(uuid, "") if uuid else target.prefix):
            dataset = one["Key"].removeprefix(target.prefix).partition("/")[0]
            if UUID.fullmatch(dataset) and not goes_on(dataset, one["Initiated"]):
                ended += end(client, {"Bucket": target.bucket, "Key": one["Key"], "UploadId": one["UploadId"]})
    return ended
