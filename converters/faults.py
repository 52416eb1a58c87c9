"""What a reader library raises, told as one of scray's errors that names the file."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

from scray.errors import BadInput, ScrayError, StorageError, TooLarge, TruncatedInput

# No array that a file declares may be larger: 16 TiB, above the largest upload and below what overflows anywhere.
MAX_DECLARED_BYTES = 1 << 44

_STORAGE_ERRNOS = frozenset({errno.EIO, errno.ESTALE, errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM})


_CUT = re.compile(r"truncated file: eof = (\d+),.*stored_eof = (\d+)")  # what HDF5 says of a file that ends too early
_REASON = re.compile(r"^(?:Can't|Unable to|Link iteration failed|\w+ \w+ failed)\b[^()]*\((.+)\)$")
_MEND = "end the recording, or mend the file with `h5clear -s`, and upload it again."


@contextmanager
def reading(name: str, kind: str) -> Iterator[None]:
    """Everything a parser throws at hostile or broken bytes becomes BadInput (or TooLarge, StorageError) by name."""
    try:
        yield
    except ScrayError:
        raise
    except MemoryError as error:
        raise TooLarge(f"{name} asks for more memory than is allowed while it is read as {kind}.") from error
    except RecursionError as error:
        raise BadInput(f"{name} cannot be read as {kind}: its structures are nested without end.") from error
    except OSError as error:
        if error.errno in _STORAGE_ERRNOS:
            raise StorageError(f"Reading {name} failed: {error.strerror}.") from error
        if cut := _CUT.search(str(error)):
            raise TruncatedInput(f"{name} is cut short: it has {cut[1]} of {cut[2]} bytes.") from error
        if "already open for write" in str(error):
            raise BadInput(f"{name} was never closed by the program that wrote it: {_MEND}") from error
        raise BadInput(f"{name} cannot be read as {kind}: {_sentence(error)}") from error
    except Exception as error:
        raise BadInput(f"{name} cannot be read as {kind}: {_sentence(error)}") from error


def check_size(what: str, count: int, itemsize: int) -> None:
    """Raise TooLarge when an array declares more bytes than any input may hold."""
    if count * itemsize > MAX_DECLARED_BYTES:
        raise TooLarge(f"{what} declares {count * itemsize} bytes, more than the limit of {MAX_DECLARED_BYTES}.")


def _sentence(error: Exception) -> str:
    """What a library says; of HDF5 the reason alone, not which of its functions met it."""
    text = " ".join(str(error).split()).strip("'\"") or type(error).__name__
    text = _REASON.sub(r"\1", text)
    return text[:300].rstrip(".") + "."
