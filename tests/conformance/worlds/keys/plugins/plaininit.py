from plugincore.baseplugin import BasePlugin


class Plaininit(BasePlugin):
    def initialize(self, **kwargs):
        self.ready = True

    async def request_handler(self, **data):
        return 200, {"ready": self.ready}
