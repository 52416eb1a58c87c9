"""Datasets under the addresses where programs of the portal ask for them; `/api/v1/datasets` says more."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel

from api.datasets import SHOWN, SHOWN_IN_LISTS, DatasetAnswer, show
from api.state import BackendOf
from scray.database import Document
from scray.errors import BadRequest

router = APIRouter(prefix="/api", tags=["datasets"])


class Datasets(BaseModel):
    """`total` counts all that fit, not only these."""

    success: bool = True
    datasets: list[dict[str, Any]]
    total: int


@router.get("/upload/datasets/{identifier}")
def look_up(identifier: str, backend: BackendOf, user_email: str | None = None) -> DatasetAnswer:
    """The dataset with this uuid, else id, else slug, else name; `user_email` prefers one's own."""
    found = backend.catalog.find(identifier, user_email)
    return DatasetAnswer(identifier=identifier, resolved_uuid=found["uuid"], dataset=_whole(found, SHOWN))


@router.get("/datasets")
def of_user(
    backend: BackendOf,
    user_email: str | None = None,
    user_id: str | None = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 500,
    offset: Annotated[int, Query(ge=0, lt=1 << 31)] = 0,
) -> Datasets:
    """The datasets of a user (an e-mail address), those shared with them and those of their team, the last touched
    first.
    """
    user = user_email or user_id
    if not user:
        raise BadRequest("user_email or user_id parameter is required")
    found, total = backend.catalog.datasets(backend.catalog.reached_by(user), limit=limit, offset=offset)
    return Datasets(datasets=[_whole(document, SHOWN_IN_LISTS) for document in found], total=total)


def _whole(document: Document, fields: tuple[str, ...]) -> dict[str, Any]:
    return {"_id": str(document["_id"]), **show(document, fields)}
