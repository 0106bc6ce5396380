"""What was decided through the API and outlives the process: sources made there, and which sources are paused.

A source is kept encrypted as a whole, since its secrets are in it. The key is not in the state directory: whoever gets
hold of that alone reads nothing.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from collectord.errors import ConfigError, Fault

if TYPE_CHECKING:
    import sqlite3

    from collectord.sealing import Seal
    from collectord.settings import Environment
    from collectord.store import Store

CREDENTIALS = ("source_key", "collectord_source_key")
"""As a credential is called alone, and as one of the folder that our unit file loads."""
MIN_KEY_CHARACTERS = 32


class KeyMissing(Exception):
    """There is no key, so nothing can be kept; the message says how to give one."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One source as it is kept."""

    revision: str
    """Another one after each change."""
    document: dict[str, Any]
    """In the shape of a source file's `source`, its secrets in clear."""


def find_key(environment: Environment) -> str | None:
    """The key, as systemd or the shell gives it; None: there is none. Blocks; raises ConfigError."""
    folder = environment.credentials_directory
    paths = [Path(folder) / name for name in CREDENTIALS] if folder else []
    path = next((path for path in paths if path.exists()), None)
    try:
        key = path.read_text("utf-8").strip() if path else None
    except (OSError, ValueError) as error:
        raise ConfigError([Fault("credential source_key", "file", f"cannot be read: {type(error).__name__}")]) from None
    if key is None and environment.collectord_source_key is not None:
        key = environment.collectord_source_key.get_secret_value().strip()
    if key is not None and len(key) < MIN_KEY_CHARACTERS:
        reason = f"must have at least {MIN_KEY_CHARACTERS} characters: make one with openssl rand -base64 32"
        raise ConfigError([Fault("credential source_key", "file", reason)])
    return key


class KeptSources:
    """What is kept, in memory as in the store."""

    def __init__(self, store: Store, key: str | None) -> None:
        self.sources: dict[str, Kept] = {}
        """By name."""
        self.unreadable: list[str] = []
        """Names of sources that this key does not open."""
        self.paused: set[str] = set()
        self._store = store
        self._seal = None if key is None else _seal(key)

    async def load(self) -> None:
        """Read what past runs have kept."""
        rows, paused = await self._store.read(_load)
        self.paused.update(paused)
        for name, revision, sealed in rows:
            document = self._open(name, sealed)
            if document is None:
                self.unreadable.append(name)
            else:
                self.sources[name] = Kept(revision, document)

    def require_key(self) -> None:
        """Raises KeyMissing where nothing could be kept."""
        if self._seal is None:
            raise KeyMissing(
                "sources made here are kept encrypted, and there is no key: make one (openssl rand -base64 32), give it"
                " as the systemd credential source_key, or as COLLECTORD_SOURCE_KEY, and restart collectord"
            )

    async def keep(self, name: str, document: dict[str, Any]) -> Kept:
        """Keep a source, in place of the one of this name; raises KeyMissing and StoreError."""
        self.require_key()
        assert self._seal is not None
        kept = Kept(secrets.token_hex(16), document)
        sealed = self._seal.close(json.dumps([name, document]).encode())
        row = (name, kept.revision, sealed)
        await self._store.write(
            lambda connection: connection.execute("INSERT OR REPLACE INTO kept_source VALUES (?,?,?)", row)
        )
        self.sources[name] = kept
        return kept

    async def forget(self, name: str) -> None:
        """Keep a source no more; raises StoreError."""
        await self._store.write(lambda connection: _forget(connection, name), urgent=True)
        self.sources.pop(name, None)
        self.paused.discard(name)
        if name in self.unreadable:
            self.unreadable.remove(name)

    async def pause(self, name: str) -> None:
        """Let a source be paused until it is resumed, in later runs as well; raises StoreError."""
        await self._store.write(
            lambda connection: connection.execute("INSERT OR IGNORE INTO paused VALUES (?)", (name,)), urgent=True
        )
        self.paused.add(name)

    async def resume(self, name: str) -> None:
        """Let a source be paused no more; raises StoreError."""
        if name in self.paused:
            await self._store.write(lambda connection: _resume(connection, name), urgent=True)
            self.paused.discard(name)

    def _open(self, name: str, sealed: bytes) -> dict[str, Any] | None:
        content = None if self._seal is None else self._seal.open(sealed)
        owner, document = ("", {}) if content is None else json.loads(content)
        return document if owner == name else None


def _seal(key: str) -> Seal:
    # Imported here: it takes 8 MB, and most daemons have no key.
    from collectord.sealing import Seal

    return Seal(key)


def _load(connection: sqlite3.Connection) -> tuple[list[tuple[str, str, bytes]], list[str]]:
    rows = connection.execute("SELECT name, revision, sealed FROM kept_source ORDER BY name").fetchall()
    return rows, [name for (name,) in connection.execute("SELECT source FROM paused")]


def _resume(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("DELETE FROM paused WHERE source = ?", (name,))


def _forget(connection: sqlite3.Connection, name: str) -> None:
    connection.execute("DELETE FROM kept_source WHERE name = ?", (name,))
    _resume(connection, name)
