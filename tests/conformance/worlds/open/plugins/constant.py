from plugincore.baseplugin import BasePlugin


class Constant(BasePlugin):
    request_handler = 5
