from plugincore.baseplugin import BasePlugin


class First(BasePlugin):
    async def request_handler(self, **data):
        return 200, "first"


class Second(First):
    async def request_handler(self, **data):
        return 200, "second"


class Third(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self._plugin_id = "3rd"

    async def request_handler(self, **data):
        return 200, "third"
