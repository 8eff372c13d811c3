from plugincore.baseplugin import BasePlugin


class Lead(BasePlugin):
    async def request_handler(self, **data):
        return 200, {"subpath": data["subpath"]}
