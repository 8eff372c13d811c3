from plugincore.baseplugin import BasePlugin


class Failinginit(BasePlugin):
    async def initialize(self, **kwargs):
        raise RuntimeError("not today")

    async def request_handler(self, **data):
        return 200, "never"
