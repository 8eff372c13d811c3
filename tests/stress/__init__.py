"""A stress test: every kind of traffic at once against one server process, and nothing may hang, get lost or grow.

``make stress`` runs it for ten minutes; ``make stress SECONDS=60 SEED=… PYTHON=…`` does otherwise. See the page on
`architecture <../../docs/architecture.md#tests>`_.
"""
