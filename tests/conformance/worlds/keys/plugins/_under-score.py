from plugincore.baseplugin import BasePlugin


class Under(BasePlugin):
    async def request_handler(self, **data):
        return 200, {"module": __name__, "file": __file__.rpartition("/")[2], "package": __package__ or ""}
