from plugincore.baseplugin import BasePlugin


class Braces(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._plugin_id = "{x}"

    async def request_handler(self, **data):
        return 200, {"id": self._plugin_id, "subpath": data["subpath"]}
