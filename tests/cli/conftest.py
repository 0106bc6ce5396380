"""The site of the daemon's tests: commands are tried on a real daemon."""

from tests.daemon.conftest import portal, server, site

__all__ = ["portal", "server", "site"]
