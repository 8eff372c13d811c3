from plugincore.baseplugin import BasePlugin


class Nested(BasePlugin):
    async def request_handler(self, **data):
        return 200, {"id": self._plugin_id, "subpath": data["subpath"]}
