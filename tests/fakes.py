"""Fakes of our own contracts: a vendor's stream and a sink that do what a script says."""

from __future__ import annotations

from collectord.records import Metadata

METADATA = Metadata(collector="soc-1", source="okta-prod", category=None, stream="events", receipt_ms=1788220802000)
