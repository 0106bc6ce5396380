"""`${env:NAME}`, `${file:PATH}` and `${credential:NAME}` in any text of a file, replaced by what they stand for.

`$${` stands for `${`. What was replaced is not looked at again.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

from collectord.config.wording import Place, Report

MAX_SECRET_BYTES = 64 * 2**10
MIN_SECRET_CHARACTERS = 6
"""Shorter ones would black out ordinary words of a log."""

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:(?P<kind>env|file|credential):(?P<name>[^{}]*)\})?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CREDENTIAL = re.compile(r"(?!\.{1,2}$)[^/\\:\x00-\x1f\x7f]{1,255}")
_PATH = re.compile(r"[^\x00-\x1f\x7f]+")
_NO_TEXT = re.compile("[\0\ud800-\udfff]")


FOLDER_ID = "collectord"
"""`LoadCredential=collectord:...` in the unit file."""


class _Missing(Exception):
    """A reference leads nowhere."""


class References:
    """Replaces references and remembers the secrets among them; each file is read once."""

    def __init__(self, folder: Path, credentials: str | None, *, allowed: bool = True) -> None:
        """`folder` is where relative paths begin; not `allowed` are references in what came over the network."""
        self._folder = folder
        self._credentials = Path(credentials) if credentials else None
        self._allowed = allowed
        self._read: dict[Path, str] = {}
        self.secrets: set[str] = set()

    def resolve(self, value: Any, place: Place, report: Report) -> Any:
        """Replace every reference in a tree; one that leads nowhere is reported and stays."""
        if isinstance(value, dict):
            return {key: self.resolve(member, (*place, key), report) for key, member in value.items()}
        if isinstance(value, list):
            return [self.resolve(item, (*place, number), report) for number, item in enumerate(value)]
        if isinstance(value, str):
            if _NO_TEXT.search(value):
                report.fault(place, "holds a NUL or half a character")
                report.unresolved.add(place)
            return self._resolve_text(value, place, report) if "${" in value else value
        return value

    def _resolve_text(self, text: str, place: Place, report: Report) -> str:
        parts: list[str] = []
        position = 0
        try:
            for match in _REFERENCE.finditer(text):
                parts += text[position : match.start()], self._replacement(match, place, report)
                position = match.end()
        except _Missing as missing:
            report.fault(place, str(missing))
            report.unresolved.add(place)
            return text
        return "".join(parts) + text[position:]

    def _replacement(self, match: re.Match[str], place: Place, report: Report) -> str:
        kind, name = match["kind"], match["name"]
        if match[0] == "$${":
            return "${"
        if not self._allowed:
            raise _Missing("references work in files only")
        if kind is None:
            raise _Missing("holds ${ but no ${env:NAME}, ${file:PATH} or ${credential:NAME}; write $${ for the text ${")
        report.referenced.add(place)
        if kind == "env":
            return _variable(name)
        path = self._credential(name) if kind == "credential" else self._file(name)
        secret = self._secret(path, f"{kind} {name}")
        if kind == "file":
            self._warn_if_shared(path, place, report)
        return secret

    def _credential(self, name: str) -> Path:
        if not _CREDENTIAL.fullmatch(name):
            raise _Missing("${credential:NAME} takes the name of a systemd credential, not a path")
        if self._credentials is None:
            raise _Missing(f"credential {name} is not there: $CREDENTIALS_DIRECTORY is not set (systemd sets it)")
        path = self._credentials / name
        # Of a folder that it loads whole, as our unit file has it, systemd puts the setting's id before each name.
        loaded = self._credentials / f"{FOLDER_ID}_{name}"
        return loaded if not path.exists() and loaded.exists() else path

    def _file(self, name: str) -> Path:
        if not _PATH.fullmatch(name):
            raise _Missing("${file:PATH} takes the path of a file")
        return self._folder / name

    def _secret(self, path: Path, said: str) -> str:
        if path not in self._read:
            self._read[path] = _contents(path, said)
        secret = self._read[path]
        if len(secret) >= MIN_SECRET_CHARACTERS:
            self.secrets.add(secret)
        return secret

    def _warn_if_shared(self, path: Path, place: Place, report: Report) -> None:
        if self._credentials and path.resolve().is_relative_to(self._credentials.resolve()):
            return  # systemd's own modes there differ by version, and it guards the folder
        if path.stat().st_mode & 0o077:
            report.warn(place, f"other users may read the secret: chmod 600 {path}")


def _variable(name: str) -> str:
    if not _VARIABLE.fullmatch(name):
        raise _Missing("${env:NAME} takes the name of an environment variable")
    value = os.environ.get(name)
    if value is None:
        raise _Missing(f"environment variable {name} is not set")
    return value


def _contents(path: Path, said: str) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise _Missing(f"{said} is no regular file")
        data = b"" if status.st_size > MAX_SECRET_BYTES else path.read_bytes()
        text = data.decode("utf-8").rstrip("\r\n")
    except FileNotFoundError:
        raise _Missing(f"{said} is not there") from None
    except OSError as error:
        raise _Missing(f"{said} cannot be read: {error.strerror}") from None
    except ValueError:
        raise _Missing(f"{said} is not UTF-8 text") from None
    if status.st_size > MAX_SECRET_BYTES:
        raise _Missing(f"{said} is larger than {MAX_SECRET_BYTES // 1024} KiB")
    if not text:
        raise _Missing(f"{said} is empty")
    if _NO_TEXT.search(text):
        raise _Missing(f"{said} holds a NUL")
    return text
