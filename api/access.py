"""Who may fetch the result of a dataset. Who holds the token acts for the operator, or for the user that is named.

A stranger, who has no token, gets what is both public and downloadable, and hears of nothing else that it is there.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from api.guard import is_stranger
from api.state import BackendOf
from scray.database import Document
from scray.dataset import Dataset
from scray.errors import Ambiguous, Forbidden, NotFound, Unauthorised


def fetchable(identifier: str, request: Request, backend: BackendOf, user_email: str | None = None) -> Document:
    """The dataset with this identifier, if its result may be fetched: by strangers when it is public and downloadable,
    by a user also when it is theirs, shared with them or with their team. Raises Unauthorised, Forbidden, NotFound.
    """
    stranger = is_stranger(request)
    try:
        found = backend.catalog.find(identifier, user_email)
    except (NotFound, Ambiguous):
        if stranger:
            raise Unauthorised from None
        raise
    dataset = Dataset.read(found)
    if dataset.is_public and dataset.is_public_downloadable:
        return found
    if stranger:
        raise Unauthorised
    if user_email and not backend.catalog.belongs(found, user_email):
        raise Forbidden(f"The dataset is not one of {user_email[:80]}, nor shared with them; its owner can share it.")
    return found


Fetchable = Annotated[Document, Depends(fetchable)]
