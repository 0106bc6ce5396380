"""How a kept source is encrypted: by a key that is derived from the user's, and is good for nothing else."""

from __future__ import annotations

import base64

from cryptography.fernet import Fernet, InvalidToken
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_PURPOSE = b"collectord: sources made by the API"


class Seal:
    """Encrypts and authenticates."""

    def __init__(self, key: str) -> None:
        derived = HKDF(SHA256(), 32, salt=None, info=_PURPOSE).derive(key.encode())
        self._fernet = Fernet(base64.urlsafe_b64encode(derived))

    def close(self, content: bytes) -> bytes:
        """Seal `content`."""
        return self._fernet.encrypt(content)

    def open(self, sealed: bytes) -> bytes | None:
        """The content; None: it was sealed with another key, or is damaged."""
        try:
            return self._fernet.decrypt(sealed)
        except InvalidToken:
            return None
