"""Why a request was not answered: a code for programs, a sentence for people, and when to come back."""

from __future__ import annotations

from starlette.responses import JSONResponse

from kinema.schema import KinemaError

# code: (HTTP status, websocket close code when it ends the session)
STATUS = {
    "bad_request": (422, 1008),
    "unauthorised": (401, 1008),
    "forbidden": (403, 1008),
    "bad_type": (415, 1003),
    "too_large": (413, 1009),
    "too_slow": (408, 1008),
    "rate_limited": (429, 1013),
    "overloaded": (503, 1013),
    "late": (503, 1013),
    "stopping": (503, 1012),
    "policy_failed": (500, 1011),
    "metering_failed": (503, 1013),
}


class Refusal(KinemaError):  # noqa: N818 - it is an answer, not a fault
    """The server's no. `retry_after_s` is None where asking again would not help."""

    def __init__(self, code: str, message: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.code, self.retry_after_s = code, retry_after_s
        self.status, self.close_code = STATUS[code]

    @property
    def headers(self) -> dict[str, str]:
        """HTTP headers that say when to come back, in whole seconds and at least one."""
        if self.retry_after_s is None:
            return {}
        return {"Retry-After": str(max(1, round(self.retry_after_s + 0.5)))}

    def response(self) -> JSONResponse:
        return JSONResponse(self.to_wire(), self.status, self.headers)

    def to_wire(self) -> dict[str, object]:
        told: dict[str, object] = {"code": self.code, "message": str(self)}
        if self.retry_after_s is not None:
            told["retry_after_s"] = round(self.retry_after_s, 3)
        return told
