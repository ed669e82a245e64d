"""Encryption keys of a node's files and of backups: read from a file or a variable, created, and rotated."""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path

import structlog

from cluster.storage.sealing import KEY_BYTES, Keyring, key_id_of, key_name
from volstore.agent.settings import KEYS_VARIABLE
from volstore.private_files import create_private, replace_private

_HEADER = (
    "# Keys of volstore: the first encrypts, the others only decrypt what they encrypted before. Secret.\n"
    "# Without its key nothing can be decrypted: the other members still have a node's data, nobody has a backup's.\n"
)

_log = structlog.get_logger("volstore.encryption")


class KeysError(Exception):
    """The keys can't be used or written; the text says why, and contains none of them."""


def node_keys(file: Path | None, environ: Mapping[str, str]) -> list[bytes]:
    """The keys in `file`, otherwise those in the variable, the current one first; empty if neither is set.

    Raises KeysError.
    """
    if file is None:
        text, where = environ.get(KEYS_VARIABLE, "").replace(",", "\n"), f"variable {KEYS_VARIABLE}"
        return _parsed(text, where) if text else []
    if environ.get(KEYS_VARIABLE):
        raise KeysError(f"encryption_key_file and the variable {KEYS_VARIABLE} both give keys: give one of them")
    return _read_and_warn(file)


def backup_keys(file: Path | None) -> list[bytes]:
    """The keys for backups, the current one first; they only come from a file. Raises KeysError."""
    return [] if file is None else _read_and_warn(file)


def _read_and_warn(file: Path) -> list[bytes]:
    """Warn if other users can read the file. Raises KeysError."""
    keys = read_keys(file)
    if (mode := file.stat().st_mode & 0o777) & 0o077:
        _log.warning("keys_readable_by_others", file=str(file), mode=f"{mode:o}")
    return keys


def read_keys(file: Path) -> list[bytes]:
    """Read one base64 key per line; empty lines and lines that begin with # don't count. Raises KeysError."""
    try:
        text = file.read_text(encoding="ascii")
    except OSError as error:
        raise KeysError(f"can't read the keys in {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise KeysError(f"{file} holds no keys: it isn't text") from None
    return _parsed(text, str(file))


def names(file: Path) -> list[str]:
    """The names of the keys in the file, in order. Raises KeysError."""
    return [key_name(key_id_of(key)) for key in read_keys(file)]


def create_keys(file: Path) -> str:
    """Write a file with one new key, and return its name. Raises KeysError if the file exists or can't be written."""
    key = os.urandom(KEY_BYTES)
    try:
        create_private(file, _text([key]))
    except FileExistsError:
        raise KeysError(f"{file} exists already and is not overwritten") from None
    except OSError as error:
        raise KeysError(f"can't write {file}: {error.strerror}") from None
    return key_name(key_id_of(key))


def rotate_keys(file: Path) -> str:
    """Put a new key before the others in the file, and return its name.

    Raises KeysError; then the file is unchanged.
    """
    keys = [os.urandom(KEY_BYTES), *read_keys(file)]
    try:
        replace_private(file, _text(keys))
    except OSError as error:
        raise KeysError(f"can't write {file}: {error.strerror}") from None
    return key_name(key_id_of(keys[0]))


def _parsed(text: str, where: str) -> list[bytes]:
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        word = line.strip()
        if not word or word.startswith("#"):
            continue
        try:
            key = base64.b64decode(word, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if len(key) != KEY_BYTES:
            raise KeysError(f"{where}, line {number}: a key is {KEY_BYTES} random bytes in base64, 44 characters")
        keys.append(key)
    if not keys:
        raise KeysError(f"{where} holds no key: create one with `volstore keys create FILE`")
    try:
        Keyring(keys)
    except ValueError as error:
        raise KeysError(f"{where}: {error}") from None
    return keys


def _text(keys: list[bytes]) -> bytes:
    return (_HEADER + "".join(base64.b64encode(key).decode() + "\n" for key in keys)).encode()
