"""How a route gets at the system it serves."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from api.backend import Backend


def backend_of(request: Request) -> Backend:
    """The backend that the lifespan opened."""
    backend: Backend = request.app.state.backend
    return backend


BackendOf = Annotated[Backend, Depends(backend_of)]
