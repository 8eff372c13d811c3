from plugincore.baseplugin import BasePlugin


class Hidden(BasePlugin):
    async def request_handler(self, **data):
        return 200, "hidden"
