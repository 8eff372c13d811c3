"""The form of all errors of the server."""

from __future__ import annotations

import json
import re
from typing import Any


def without_ids(body: Any) -> Any:
    """Return the body of an error without `code` and `request_id`, which must be there; other bodies as they are."""
    if isinstance(body, str | bytes):
        return json.dumps(without_ids(json.loads(body)))
    if not isinstance(body, dict) or "error" not in body:
        return body
    assert list(body)[-2:] == ["code", "request_id"], body
    assert re.fullmatch(r"[a-z][a-z0-9_]*", body["code"]), body
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", body["request_id"]), body
    return {name: value for name, value in body.items() if name not in ("code", "request_id")}
