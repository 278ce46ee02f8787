"""Folders at URLs such as ``s3://bucket/folder``, by pyarrow's file systems (S3, Google Cloud Storage, HDFS).

Credentials come from the environment, as each of these services has it; none are ever read from files of senas's.
"""

from pathlib import Path
from typing import Any

from search_space.errors import InputError, first_line


def is_remote(place: str) -> bool:
    """Whether a place is a URL rather than a path."""
    return "://" in place


def absolute(place: str) -> str:
    """Return a path as an absolute one without "..", and a URL as it is."""
    if is_remote(place):
        return place
    path = Path(place).expanduser().absolute()
    return str(path.resolve() if ".." in path.parts else path)


def join(place: str, name: str) -> str:
    """A name under a path or a URL, whose query says how to reach it and stays at its end."""
    path, mark, query = place.partition("?") if is_remote(place) else (place, "", "")
    return f"{path.rstrip('/')}/{name}{mark}{query}"


def upload(folder: Path, url: str) -> None:
    """Copies a folder with all that is in it to a URL, over what is there.

    Raises:
        InputError: the URL is none that can be opened.
        OSError: it cannot be written to.
    """
    from pyarrow.fs import LocalFileSystem, copy_files

    there, path = _open(url)
    there.create_dir(path, recursive=True)
    copy_files(str(folder), path, source_filesystem=LocalFileSystem(), destination_filesystem=there)


def download(url: str, folder: Path) -> None:
    """Copies what lies under a URL into a folder; nothing if nothing lies there.

    Raises:
        InputError: the URL is none that can be opened.
        OSError: it cannot be read from.
    """
    from pyarrow.fs import LocalFileSystem, copy_files

    there, path = _open(url)
    if _is_there(there, path):
        copy_files(path, str(folder), source_filesystem=there, destination_filesystem=LocalFileSystem())


def names(url: str) -> list[str]:
    """The names of what lies right under a URL.

    Raises:
        InputError: the URL is none that can be opened.
        OSError: it cannot be read from.
    """
    from pyarrow.fs import FileSelector

    there, path = _open(url)
    return [info.base_name for info in there.get_file_info(FileSelector(path, allow_not_found=True))]


def remove(url: str) -> None:
    """Removes what lies under a URL, if anything does.

    Raises:
        InputError: the URL is none that can be opened.
        OSError: it cannot be removed.
    """
    there, path = _open(url)
    if _is_there(there, path):
        there.delete_dir(path)


def _open(url: str) -> tuple[Any, str]:
    # pyarrow comes with Ray, and takes a moment to import.
    import pyarrow
    from pyarrow.fs import FileSystem

    try:
        filesystem, path = FileSystem.from_uri(url)
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        raise InputError(f"{url} is no place that can be opened: {first_line(error)}") from error
    return filesystem, path


def _is_there(filesystem: Any, path: str) -> bool:
    from pyarrow.fs import FileType

    return bool(filesystem.get_file_info(path).type != FileType.NotFound)
