from plugincore.baseplugin import BasePlugin


class Example(BasePlugin):

    def request_hanlder(**args: dict) -> tuple:
        return (200, {'example': 'Hi from Example.py'})
