"""The management API: what runs, how it is doing, and a hand on it."""

from __future__ import annotations

from collectord.management.catalogue import Catalogue
from collectord.management.listening import Listeners, serve
from collectord.management.views import Plant

__all__ = ["Catalogue", "Listeners", "Plant", "serve"]
