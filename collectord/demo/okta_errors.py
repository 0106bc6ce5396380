"""Okta's errors: codes, words and the usual code of a status (okta-netskope.md 1.6 [OKE])."""

from __future__ import annotations

from collectord.demo.exchange import Answer

SUMMARIES = {
    "E0000001": "Api validation failed",
    "E0000004": "Authentication failed",
    "E0000005": "Invalid session",
    "E0000006": "You do not have permission to perform the requested action",
    "E0000007": "Not found: Resource not found",
    "E0000009": "Internal Server Error",
    "E0000010": "Service is in read only mode",
    "E0000011": "Invalid token provided",
    "E0000015": "You do not have permission to access the feature you are requesting",
    "E0000022": "The endpoint does not support the provided HTTP method",
    "E0000031": "Invalid search criteria.",
    "E0000047": "API call exceeded rate limit due to too many requests.",
    "E0000053": "Invalid filter.",
}

_USUAL = {400: "E0000001", 401: "E0000011", 403: "E0000006", 404: "E0000007", 405: "E0000022", 429: "E0000047"}
_USUAL |= {500: "E0000009", 503: "E0000010"}


class OktaError(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, code: str = "", summary: str = "") -> None:
        super().__init__(summary or code or str(status))
        self.answer = error_answer(status, code, summary)


def error_answer(status: int, code: str = "", summary: str = "") -> Answer:
    """The body as documented: `errorCode` is the only key a client may switch on."""
    code = code or _USUAL.get(status, "E0000009")
    body = {
        "errorCode": code,
        "errorSummary": summary or SUMMARIES.get(code, "Unknown"),
        "errorLink": code,
        "errorId": f"oae{code[-3:]}{status}",
        "errorCauses": [],
    }
    return Answer.json(body, status)
