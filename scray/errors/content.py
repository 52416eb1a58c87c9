"""What is wrong with an input, a parameter or an archive."""

from __future__ import annotations

from scray.errors.base import ScrayError


class BadInput(ScrayError):
    """The input cannot be read as what it claims to be."""

    code = "bad-input"


class EmptyInput(BadInput):
    """There is nothing to convert: the input is empty."""

    code = "empty-input"


class TruncatedInput(BadInput):
    """The file ends before the data it promises."""

    code = "truncated-input"


class NothingToConvert(BadInput):
    """No array of numbers was found in the input."""

    code = "nothing-to-convert"


class WrongSensor(BadInput):
    """The content of the file does not fit the sensor that was named."""

    code = "wrong-sensor"


class MissingSource(BadInput):
    """The file refers to data in another file that is not part of the dataset."""

    code = "missing-source"


class MixedInput(BadInput):
    """The files of the dataset do not fit together."""

    code = "mixed-input"


class Unsupported(ScrayError):
    """This kind of data cannot be converted."""

    code = "unsupported"


class MissingFilter(Unsupported):
    """The data are compressed with a filter that is not available here."""

    code = "missing-filter"


class HostileInput(ScrayError):
    """The input tries to reach outside its own dataset or to exhaust the machine."""

    code = "hostile-input"


class UnsafePath(HostileInput):
    """A name in the input leads outside the dataset's own folder."""

    code = "unsafe-path"


class TooLarge(HostileInput):
    """The input declares more data than the limits allow."""

    code = "too-large"


class BadArchive(BadInput):
    """The archive is damaged."""

    code = "bad-archive"


class EncryptedArchive(BadInput):
    """The archive is encrypted; upload it without a password."""

    code = "encrypted-archive"


class ArchiveLink(HostileInput):
    """The archive holds links; pack the files themselves."""

    code = "archive-link"


class ArchiveDevice(HostileInput):
    """The archive holds a device, pipe or socket."""

    code = "archive-device"


class ArchiveBomb(TooLarge):
    """The archive unpacks to far more than any data would."""

    code = "archive-bomb"


class BadParameter(ScrayError):
    """A conversion parameter is unknown or has an impossible value."""

    code = "bad-parameter"
