"""A large file to a bucket, part by part; the parts that an interrupted upload left there are used.

*What an upload that was cut off has sent is not sent again, but for the parts that were open.*
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from s3transfer.utils import ReadFileChunk  # type: ignore[import-untyped]

from scray.errors import RemoteChanged, SourceDenied
from scray.sources.bucket import translated
from scray.spans import Span, chunk_spans, hash_spans

PART_BYTES = 16 << 20
MOST_PARTS = 1000  # of one object, as the most modest of the stores allow
LINES = 6  # parts of one file under way

Where = Mapping[str, str]  # Bucket and Key


def part_spans(size: int) -> tuple[Span, ...]:
    """The parts of a file; one where it is small, larger ones where they would be too many."""
    return chunk_spans(size, max(PART_BYTES, -(-size // MOST_PARTS))) if size > PART_BYTES else (Span(0, size),)


def upload(
    client: Any, path: Path, where: Where, spans: tuple[Span, ...], fence: Callable[[], None]
) -> tuple[str, ...]:
    """Send a file in several parts; their MD5, in hex. The `fence` may raise before it becomes an object. Raises what
    boto3 does.
    """
    upload_id = _unfinished(client, where) or client.create_multipart_upload(**where)["UploadId"]
    wanted = {**where, "UploadId": upload_id}
    there = _parts(client, wanted)

    def send(number: int, span: Span) -> str:
        (digest,) = hash_spans(path, (span,), "md5")
        if there.get(number) != (digest, span.size):
            sum64 = base64.b64encode(bytes.fromhex(digest)).decode()
            with ReadFileChunk.from_filename(str(path), span.start, span.size) as body:
                client.upload_part(**wanted, PartNumber=number, Body=body, ContentMD5=sum64)
        return digest

    pool = ThreadPoolExecutor(LINES)
    try:
        digests = tuple(pool.map(send, range(1, len(spans) + 1), spans))
    finally:
        pool.shutdown(cancel_futures=True)
    parts = [{"PartNumber": number, "ETag": f'"{digest}"'} for number, digest in enumerate(digests, 1)]
    fence()
    client.complete_multipart_upload(**wanted, MultipartUpload={"Parts": parts})
    return digests


def _unfinished(client: Any, where: Where) -> str:
    """The id of the last upload of this object that was not completed; "" where there is none, or none is shown."""
    try:
        with translated(f"s3://{where['Bucket']}"):
            found = list(unfinished(client, where["Bucket"], where["Key"]))
    except SourceDenied:
        return ""
    ours = [one for one in found if one["Key"] == where["Key"]]
    return str(max(ours, key=lambda one: one["Initiated"])["UploadId"]) if ours else ""


def unfinished(client: Any, bucket: str, prefix: str) -> Iterator[Mapping[str, Any]]:
    """Key, UploadId and Initiated of the uploads under a prefix that were not completed. Raises what boto3 does."""
    for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix):
        yield from page.get("Uploads", ())


def end(client: Any, wanted: Mapping[str, str]) -> bool:
    """Give up an upload (Bucket, Key, UploadId), and the space of its parts; whether it was still there."""
    try:
        with translated(f"s3://{wanted['Bucket']}"):
            client.abort_multipart_upload(**wanted)
    except RemoteChanged:  # ended by somebody else
        return False
    return True


def _parts(client: Any, wanted: Mapping[str, Any]) -> dict[int, tuple[str, int]]:
    """Number -> MD5 and size of the parts that are there."""
    pages = client.get_paginator("list_parts").paginate(**wanted)
    return {
        int(part["PartNumber"]): (str(part["ETag"]).strip('"'), int(part["Size"]))
        for page in pages
        for part in page.get("Parts", ())
    }
