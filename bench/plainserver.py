"""The yardstick of bench/ingest.py: the least a server can do with a body and still keep it: hash, write, fsync.

`python bench/plainserver.py FOLDER|null PORT_FILE`: PUT /<name> on a free port; `null` throws the bytes away.
"""

from __future__ import annotations

import hashlib
import os
import socket
import sys
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from starlette.concurrency import run_in_threadpool

BATCH_BYTES = 1 << 20


def serve(folder: str) -> FastAPI:
    app = FastAPI()

    @app.put("/{name}")
    async def put(name: str, request: Request) -> dict[str, Any]:
        digest, held, size = hashlib.sha256(), [], 0
        with (Path(folder) / name if folder != "null" else Path(os.devnull)).open("wb", buffering=0) as file:
            async for piece in request.stream():
                held.append(piece)
                size += len(piece)
                if size >= BATCH_BYTES:
                    await run_in_threadpool(keep, file, digest, b"".join(held))
                    held, size = [], 0
            await run_in_threadpool(keep, file, digest, b"".join(held))
            if folder != "null":
                await run_in_threadpool(os.fsync, file.fileno())
        return {"sha256": digest.hexdigest()}

    def keep(file: Any, digest: Any, data: bytes) -> None:
        if folder != "null":
            digest.update(data)
            file.write(data)

    return app


if __name__ == "__main__":
    listener = socket.create_server(("127.0.0.1", 0))
    Path(sys.argv[2]).write_text(str(listener.getsockname()[1]))
    uvicorn.Server(uvicorn.Config(serve(sys.argv[1]), loop="uvloop", http="httptools", log_level="error")).run(
        [listener]
    )
