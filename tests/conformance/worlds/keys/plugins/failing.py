from plugincore.baseplugin import BasePlugin


class Failing(BasePlugin):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        raise RuntimeError("not today")
