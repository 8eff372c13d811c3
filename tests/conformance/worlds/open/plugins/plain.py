import textwrap

from plugincore.baseplugin import BasePlugin


class Plain(BasePlugin):
    def request_handler(self, **data):
        found = {}
        exec("def main(plugin, data):\n" + textwrap.indent(data["source"], "    "), {}, found)
        return found["main"](self, data)
