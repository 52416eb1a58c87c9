"""A published dataset -> a bucket: every file of its manifest under `<prefix>/<uuid>/`, the headers last.

*A reader of the bucket sees no header before the data it names.* What is there already, byte by byte, is not sent
again. What has a second name in the result, by a link, has it in the bucket by a copy.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from scray.errors import BadParameter, ChecksumMismatch, SourceNotFound
from scray.manifest import MANIFEST, Manifest
from scray.multipart import part_spans, upload
from scray.settings import Settings
from scray.sources.bucket import profile, s3_client, translated
from scray.sources.checksum import fits
from scray.spans import hash_spans
from scray.storage import HEADER, inside, links

PORTION_BYTES = 256 << 20
PORTION_FILES = 64
AFTER_DATA = (MANIFEST, HEADER)  # in this order, by one task, at the end


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


def rounds(folder: Path) -> tuple[tuple[tuple[str, ...], ...], ...]:
    """What to send: portions of file names, each in order, in rounds, each to be finished before the next begins."""
    manifest = Manifest.from_json((folder / MANIFEST).read_bytes())
    sizes = {file.path: file.size for file in manifest.outputs}
    headers = sorted(name for name in sizes if Path(name).name == HEADER and name != HEADER)
    data = sorted(sizes.keys() - {*headers, HEADER})
    rest = tuple(name for name in AFTER_DATA if (folder / name).is_file())
    second = {name: sizes[path] for target in links(folder).items() for name, path in _under(*target, data)}
    found = [_portions(data, sizes), _portions(sorted(second), second), _portions(headers, sizes)]
    return tuple(portions for portions in [*found, (rest,)] if any(portions))


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


def send(folder: Path, uuid: str, names: tuple[str, ...], settings: Settings) -> int:
    """Send some files of a dataset and see that they arrived whole; their bytes.

    Raises SourceDenied, SourceNotFound (the bucket), SourceUnreachable, ChecksumMismatch.
    """
    target, client = Target.of(settings), _client(settings)
    return sum(_send(client, target, uuid, folder, name) for name in names)


def _send(client: Any, target: Target, uuid: str, folder: Path, name: str) -> int:
    path = inside(folder, Path(name))
    size = path.stat().st_size
    where, spans = {"Bucket": target.bucket, "Key": target.key(uuid, name)}, part_spans(size)
    there = _etag(client, where, size)
    if there and fits(there, "md5", hash_spans(path, spans, "md5")):
        return size
    first = path.relative_to(folder.resolve()).as_posix()
    with translated(f"s3://{target.bucket}"):
        if len(spans) > 1:
            digests = upload(client, path, where, spans)
        else:
            digests = hash_spans(path, spans, "md5")
            _put(client, path, where, digests[0], target.key(uuid, first))
    if not fits(_etag(client, where, size), "md5", digests):
        raise ChecksumMismatch(f"'{name}' did not arrive in the bucket as it is here.")
    return size


def _put(client: Any, path: Path, where: dict[str, str], digest: str, first: str) -> None:
    """A small file; from within the bucket where it is there under its first name."""
    if first != where["Key"]:
        client.copy_object(**where, CopySource={"Bucket": where["Bucket"], "Key": first})
        return
    with path.open("rb") as body:
        client.put_object(**where, Body=body, ContentMD5=base64.b64encode(bytes.fromhex(digest)).decode())


def _etag(client: Any, where: dict[str, str], size: int) -> str:
    """The checksum of what is there (see `RemoteFile.checksum`); "" where nothing of that size is."""
    try:
        with translated(f"s3://{where['Bucket']}/{where['Key']}"):
            head = client.head_object(**where)
    except SourceNotFound:
        return ""
    etag = str(head["ETag"]).strip('"')
    kind = "etag" if "-" in etag else "md5"
    return f"{kind}:{etag}" if int(head["ContentLength"]) == size else ""
