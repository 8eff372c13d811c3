"""What the tests, the comparison with pluginserver and the stress test share.

``wait``, ``process``, ``plugins``, ``wire`` and ``websocket`` need the standard library alone, because the stress test
has nothing else; ``server`` needs httpx, ``ports`` psutil, and ``aiohttp_server`` runs aiohttp.
"""
