"""What no client may do to any vendor: checked on every request, in one place.

Sources: okta-netskope.md 1.1 (identifying User-Agent, Accept), DESIGN promise 4 (a credential is never in a URL),
reliability.md 5.2 (cookies, redirects).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from urllib.parse import unquote_plus

from collectord.demo.exchange import Call

PRODUCT = "collectord/"
_SHORTEST_SECRET = 6


def manners(call: Call, accept: str) -> Iterator[str]:
    """Faults in what every request must have or must not have; `accept` is the type this vendor speaks."""
    agent = call.headers.get("User-Agent", "")
    if not agent.startswith(PRODUCT):
        yield f"User-Agent {agent!r} does not identify collectord"
    if accept not in call.headers.get("Accept", ""):
        yield f"Accept is {call.headers.get('Accept', '')!r}, not {accept}"
    if "Cookie" in call.headers:
        yield "a cookie was sent"
    if call.method == "GET" and call.body:
        yield "a GET with a body"
    repeated = [name for name, count in Counter(name for name, _ in call.pairs).items() if count > 1]
    if repeated:
        yield f"parameters given twice: {', '.join(repeated)}"


def leaks(call: Call, secrets: Iterable[str]) -> Iterator[str]:
    """Credentials where logs of proxies and servers would keep them; a very short one proves nothing."""
    target = unquote_plus(call.target)
    if any(secret in target for secret in secrets if len(secret) >= _SHORTEST_SECRET):
        yield "a credential stands in the URL"


def host(call: Call, port: int) -> Iterator[str]:
    """A Host header that is not ours: the client mixed up two origins."""
    told = call.headers.get("Host", "")
    if told.rpartition(":")[2] != str(port):
        yield f"Host is {told!r}, this is port {port}"
