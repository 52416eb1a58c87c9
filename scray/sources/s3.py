"""An object of a bucket, or all objects under a prefix (Amazon S3, and stores that speak like it)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import Any

from scray.errors import SourceNotFound, SourceRefused
from scray.settings import Settings
from scray.sources import Listing, RemoteFile, Sink, Source, check_size
from scray.sources.bucket import Keys, profile, s3_client, translated
from scray.sources.patience import patiently
from scray.spans import READ_BYTES, Span
from scray.storage import safe_name, safe_relative

MOST_FILES = 1_000_000
PROBES = 16
MD5 = re.compile(r"[0-9a-f]{32}(?:-(\d{1,5}))?")


class S3Source(Source):
    """`config` is an S3Config, as a mapping: bucket, key or prefix, and keys, a profile or neither."""

    def __init__(self, config: Mapping[str, Any], settings: Settings) -> None:
        self._settings = settings
        self._bucket = config["bucket_name"]
        self._key = config["object_key"]
        self._client = s3_client(_keys(config, settings), settings)

    def probe(self) -> Listing:
        """The object of that name, else everything under it as a prefix."""
        if self._key and not self._key.endswith("/"):
            try:
                return Listing((self._file(self._key, safe_name(self._key)),))
            except SourceNotFound:
                pass
        prefix = self._key if not self._key or self._key.endswith("/") else f"{self._key}/"
        keys = list(islice(self._keys(prefix), MOST_FILES + 1))
        if not keys:
            raise SourceNotFound(f"There is nothing at {self._name(self._key)}.")
        if len(keys) > MOST_FILES:
            raise SourceRefused(f"{self._name(prefix)} holds more than {MOST_FILES:,} objects.")
        with ThreadPoolExecutor(PROBES) as pool:
            return Listing(
                tuple(pool.map(lambda key: patiently(lambda: self._file(key, key.removeprefix(prefix))), keys))
            )

    def _keys(self, prefix: str) -> Iterator[str]:
        """All objects under a prefix, but for those that stand for folders."""
        with translated(self._name(prefix)):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self._bucket, Prefix=prefix)
            for page in pages:
                yield from (row["Key"] for row in page.get("Contents", ()) if not row["Key"].endswith("/"))

    def _file(self, key: str, path: str) -> RemoteFile:
        with translated(self._name(key)):
            head = self._client.head_object(Bucket=self._bucket, Key=key)
            size, etag = int(head["ContentLength"]), str(head["ETag"])
            checksum, part_bytes = self._checksum(key, head)
        check_size(size, key, self._settings)
        return RemoteFile(str(safe_relative(path)), key, size, etag, True, checksum, part_bytes)

    def _checksum(self, key: str, head: Mapping[str, Any]) -> tuple[str, int]:
        """The ETag where it is an MD5: of the object, or of the MD5s of parts of one size."""
        text = str(head["ETag"]).strip('"')
        found = MD5.fullmatch(text)
        encrypted = str(head.get("ServerSideEncryption", "")).startswith("aws:") or head.get("SSECustomerAlgorithm")
        if not found or encrypted:
            return "", 0
        if found[1] is None:
            return f"md5:{text}", 0
        size, count = int(head["ContentLength"]), int(found[1])
        first, last = self._part_bytes(key, head, 1), self._part_bytes(key, head, count)
        return (f"etag:{text}", first) if first and first * (count - 1) + last == size else ("", 0)

    def _part_bytes(self, key: str, head: Mapping[str, Any], number: int) -> int:
        part = self._client.head_object(Bucket=self._bucket, Key=key, PartNumber=number, IfMatch=head["ETag"])
        return int(part["ContentLength"])

    def read(self, file: RemoteFile, span: Span, sink: Sink) -> None:
        wanted = f"bytes={span.start}-{span.stop - 1}"
        with translated(self._name(file.key)):
            answer = self._client.get_object(Bucket=self._bucket, Key=file.key, Range=wanted, IfMatch=file.version)
            with closing(answer["Body"]) as body:
                if answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
                    raise SourceRefused(f"{self._name(file.key)} cannot be read in ranges.")
                for data in body.iter_chunks(READ_BYTES):
                    sink(data)

    def _name(self, key: str) -> str:
        return f"s3://{self._bucket}/{key}"


def _keys(config: Mapping[str, Any], settings: Settings) -> Keys:
    if config.get("profile"):
        return profile(config["profile"], settings)
    given = ("access_key_id", "secret_access_key", "session_token", "endpoint_url", "region")
    return Keys(**{name: config.get(name) or "" for name in given})
