"""What can go wrong between scray and the places data is fetched from or copied to."""

from __future__ import annotations

from scray.errors.base import ScrayError


class SourceNotFound(ScrayError):
    """The remote source does not exist."""

    code = "source-not-found"


class SourceDenied(ScrayError):
    """The remote source refuses access: the key is wrong, or the data are not shared with it."""

    code = "source-denied"


class SourceRefused(ScrayError):
    """The remote source answered with something that cannot be imported."""

    code = "source-refused"


class SourceUnreachable(ScrayError):
    """The remote source could not be reached."""

    code = "source-unreachable"
    transient = True
    wait_seconds = 0.0  # what the source asks for before another try


class RemoteChanged(ScrayError):
    """The remote source was changed while it was fetched."""

    code = "remote-changed"


class ChecksumMismatch(ScrayError):
    """What arrived differs from the checksum that the source gives."""

    code = "checksum-mismatch"


class ForbiddenAddress(ScrayError):
    """This address may not be asked: only public ones may, and those the operator lists."""

    code = "forbidden-address"


class SealBroken(ScrayError):
    """The stored credentials cannot be opened: SECRET_KEY is not the one they were sealed with."""

    code = "seal-broken"
