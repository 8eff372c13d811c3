from plugincore.baseplugin import BasePlugin


class Silent(BasePlugin):
    pass
