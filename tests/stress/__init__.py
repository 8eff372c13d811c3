"""A stress test: every kind of traffic at once against one server process, and nothing may hang, get lost or grow.

``make stress`` runs it for ten minutes, ``make stress SECONDS=60 SEED=… PYTHON=…`` as long as wanted, and
``tests/python/test_stress.py`` for a few seconds. See docs/architecture.md.
"""
