from plugincore.baseplugin import BasePlugin


class Openly(BasePlugin):
    async def request_handler(self, **data):
        return 200, {"in": self._plugin_id, "apikey": data.get("apikey")}
