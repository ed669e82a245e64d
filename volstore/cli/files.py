"""Files that a command sends to a server: read whole, from stdin too, within what a server takes."""

from __future__ import annotations

import sys
from pathlib import Path

from volstore.cli.output import Failed

MAX_FILE_BYTES = 4 << 20  # what a server takes in one body unless told otherwise


def read_file(file: str) -> tuple[str, str]:
    """A file's text, and what errors call it; "-" is stdin. Raises Failed."""
    name = "stdin" if file == "-" else file
    try:
        if file == "-":
            data = sys.stdin.buffer.read(MAX_FILE_BYTES + 1)
        else:
            with Path(file).open("rb") as opened:
                data = opened.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise Failed(f"Failed to read {name}: it is larger than {MAX_FILE_BYTES} bytes")
        return data.decode("utf-8"), name
    except OSError as error:
        raise Failed(f"Failed to read {name}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise Failed(f"Failed to read {name}: byte {error.start} is not UTF-8") from None
