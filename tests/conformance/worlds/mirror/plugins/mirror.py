import base64
import pickle

from conformance.values import exotic
from plugincore.baseplugin import BasePlugin

HOST = ("request", "request_headers", "log", "subpath", "client_ip")


class Mirror(BasePlugin):
    async def request_handler(self, **data):
        """``/mirror/source`` and ``/mirror/pickle`` answer with a value, ``/mirror/seen`` with what came as JSON."""
        if data["subpath"] == "seen":
            seen = {key: value for key, value in data.items() if key not in HOST}
            return 200, repr(list(seen.items())).encode("ascii", "backslashreplace")
        if data["subpath"] == "source":
            return 200, [exotic.evaluate(data["value"])]
        return 200, [pickle.loads(base64.b64decode(data["value"]))]
