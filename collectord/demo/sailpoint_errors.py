"""SailPoint's errors in their four shapes (sailpoint-sentinelone.md A11)."""

from __future__ import annotations

from random import Random

from collectord.demo.exchange import Answer

EXPIRED = "JWT validation failed: JWT is expired"
BAD_REQUEST = "400.1 Bad request content"
ILLEGAL_VALUE = "400.1.3 Illegal value"
_DETAILS = {
    400: BAD_REQUEST,
    403: "403 Forbidden",
    404: "404 Not found",
    500: "500.0 Internal Fault",
    502: "502.0 Bad Gateway",
    503: "503.0 Service Unavailable",
    504: "504.0 Gateway Timeout",
}
_TEXTS = {
    400: "The request was syntactically correct but its content is semantically invalid.",
    403: "The server understood the request but refuses to authorize it.",
    404: "The server did not find a current representation for the target resource.",
}
_tracking = Random(7)


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, code: str = "", text: str = "") -> None:
        super().__init__(text or code or str(status))
        self.answer = error_answer(status, code, text)


def error_answer(status: int, code: str = "", text: str = "") -> Answer:
    """As the gateway or the service words it."""
    if status == 401:
        return Answer.json({"error": code or EXPIRED}, status)
    if status == 429:
        return Answer.json({"message": code or " Rate Limit Exceeded "}, status)
    text = text or _TEXTS.get(status, "An internal fault occurred.")
    return Answer.json(
        {
            "detailCode": code or _DETAILS.get(status, str(status)),
            "trackingId": f"{_tracking.getrandbits(128):032x}",
            "messages": [{"locale": "en-US", "localeOrigin": "DEFAULT", "text": text}],
            "causes": [],
        },
        status,
    )


def oauth_answer(status: int, error: str, description: str) -> Answer:
    """As the token endpoint words it."""
    return Answer.json({"error": error, "error_description": description}, status)
