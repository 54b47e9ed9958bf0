"""Our exceptions: each says the cause, and carries a hint that says the cure.

VisiontaxError          anything the user can act on; the command line prints it and exits 1
├── ImageError          an image cannot be preprocessed; fails its own request and no other
├── EngineError         a request failed: the server refused it, or could not be reached
├── BrokerError         a message broker is away, or refused
├── ServerError         an inference server is missing, not ready, or died
├── SourceError         a package, model or image cannot be fetched or fails its checksum
└── ResultsError        a results folder cannot be written, read or understood
"""

import errno

DEAD_MODEL = "' is not healthy"
"""What Triton says of a Python model whose process has died, which it does not start again."""


class VisiontaxError(Exception):
    """An error with its cause (the message) and its cure (`hint`, possibly empty)."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def words(error: Exception) -> str:
    """Return what to say of an error: of one that is not ours, its kind too."""
    return str(error) if isinstance(error, VisiontaxError) else f"{type(error).__name__}: {error}"


_WRITABLE = (
    "this user must be able to write there: models, images and logs go into triton_repo/ and "
    "build/ of the checkout, results where --results says"
)
_CURES = {
    **dict.fromkeys((errno.EROFS, errno.EACCES, errno.EPERM), _WRITABLE),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "free some space and run again"),
}
"""What helps against an operating system's error, by its number."""


def complaint(error: Exception) -> str:
    """Return the lines that a command ends with: the error, and its hint where it has one."""
    said, hint = str(error), getattr(error, "hint", "")
    if isinstance(error, OSError) and error.filename is not None:
        said, hint = f"{error.filename}: {error.strerror}", _CURES.get(error.errno or 0, "")
    return f"error: {said}" + (f"\nhint: {hint}" if hint else "")


class ImageError(VisiontaxError):
    """An image cannot be preprocessed."""


class EngineError(VisiontaxError):
    """A request failed: the server refused it, or could not be reached."""


class BrokerError(VisiontaxError):
    """A message broker is away, or refused."""


class ServerError(VisiontaxError):
    """An inference server is missing, not ready, or died."""


class SourceError(VisiontaxError):
    """A package, model or image cannot be fetched or fails its checksum."""


class ResultsError(VisiontaxError):
    """A results folder cannot be written, read or understood."""
