"""The answers of all peers, so that all of them do the same work."""

SMALL = {"message": "hello", "number": 42}
ROWS = [
    {"id": n, "name": f"sensor number {n}", "value": n * 1.25, "active": n % 2 == 0, "tags": ["indoor", "floor"]}
    for n in range(1000)
]
KEY = "a-key-of-the-benchmark"
ORIGIN = "https://app.example.org"
PREFLIGHT = (
    ("access-control-allow-origin", ORIGIN),
    ("access-control-allow-credentials", "true"),
    ("access-control-allow-methods", "GET"),
    ("access-control-allow-headers", "CONTENT-TYPE"),
    ("access-control-max-age", "3600"),
    ("vary", "Origin"),
)
JSON = ("content-type", "application/json; charset=utf-8")
