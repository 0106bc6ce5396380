"""The files of the Collection page, read once from the package: no path of a request ever reaches the disk."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from aiohttp import web

FOLDER = Path(__file__).parent / "static"
TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".ico": "image/x-icon",
    ".js": "text/javascript",
    ".json": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webmanifest": "application/manifest+json",
    ".woff2": "font/woff2",
}
_TEXT = ("text/", "application/", "image/svg")


@dataclass(frozen=True, slots=True)
class _File:
    content: bytes
    type: str
    etag: str

    def respond(self, request: web.Request) -> web.Response:
        """The file, or that it has not changed."""
        headers = {"ETag": f'"{self.etag}"', "Cache-Control": "no-cache"}
        if any(known.value == self.etag for known in request.if_none_match or ()):
            return web.Response(status=304, headers=headers)
        charset = "utf-8" if self.type.startswith(_TEXT) else None
        return web.Response(body=self.content, content_type=self.type, charset=charset, headers=headers)


class Pages:
    """`/` and `/static/…`."""

    def __init__(self, folder: Path = FOLDER) -> None:
        files = sorted(path for path in folder.rglob("*") if path.suffix in TYPES) if folder.is_dir() else []
        self._files = {path.relative_to(folder).as_posix(): _read(path) for path in files}

    async def index(self, request: web.Request) -> web.Response:
        """The Collection page."""
        return self._file("index.html", request)

    async def static(self, request: web.Request) -> web.Response:
        """What the page needs."""
        return self._file(request.match_info["path"], request)

    def _file(self, name: str, request: web.Request) -> web.Response:
        if name not in self._files:
            raise web.HTTPNotFound
        return self._files[name].respond(request)


def _read(path: Path) -> _File:
    content = path.read_bytes()
    return _File(content, TYPES[path.suffix], blake2b(content, digest_size=16).hexdigest())
