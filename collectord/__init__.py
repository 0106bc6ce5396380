"""collectord: one small daemon that collects SaaS security events and loses none."""

__version__ = "0.1.0"
