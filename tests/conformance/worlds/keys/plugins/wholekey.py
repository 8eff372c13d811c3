from plugincore.baseplugin import BasePlugin


class Wholekey(BasePlugin):
    async def handle_request(self, **data):
        return {"allowed": self._check_auth(data), "ip": self._get_client_ip(data["request"])}
