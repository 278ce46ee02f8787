"""Standard streams that a command can write to whatever they are: closed, without a reader, or of a small encoding."""

import codecs
import errno
import io
import os
import sys
from pathlib import Path
from typing import Any

_PLAIN = str.maketrans("▁▂▃▄▅▆▇█·±…", "12345678-~.")
"""What is printed where an encoding lacks a character of tables and curves; others become question marks."""


class _Output(io.FileIO):
    """The file of a stream, which drops what is written after its reader has gone."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "wb", closefd=False)
        self._gone = (errno.EPIPE, errno.EIO) if self.isatty() else (errno.EPIPE,)

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in self._gone:
                raise
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # for the processes that are started from here, too
            os.close(nowhere)
            return memoryview(data).nbytes


def secure_streams() -> None:
    """Make writing to stdout and stderr, and reading stdin, safe for this process.

    A closed stream becomes the null device, so that no file that is opened later takes its place. An output whose
    reader has gone (a pipe, a lost terminal) drops the rest, and a character that its encoding lacks is replaced. Other
    errors, such as a full disk, are raised.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free one, which is this one
            os.set_inheritable(descriptor, True)
    if sys.stdin is None:
        sys.stdin = io.StringIO()
    codecs.register_error("senas", _replacement)
    sys.stdout, sys.stderr = _secured(sys.stdout, 1), _secured(sys.stderr, 2)


def write_utf8(text: str) -> None:
    """Write a text for programs to stdout: as UTF-8, whatever the encoding of the stream."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode())


def _secured(stream: Any, descriptor: int) -> io.TextIOWrapper:
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    stream.flush()
    return io.TextIOWrapper(
        io.BufferedWriter(_Output(descriptor)),
        encoding=stream.encoding,
        errors="senas",
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


def _replacement(error: UnicodeError) -> tuple[str | bytes, int]:
    """The bytes of a file name that are no text as they are; a plain character for any other."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    try:
        return text.encode("ascii", "surrogateescape"), error.end
    except UnicodeEncodeError:
        return "".join(c if c.isascii() else "?" for c in text.translate(_PLAIN)), error.end
