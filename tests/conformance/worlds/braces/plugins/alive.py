from plugincore.baseplugin import BasePlugin


class Alive(BasePlugin):
    async def request_handler(self, **data):
        return 200, "alive"
