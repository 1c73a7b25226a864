"""The registry's migrations. `gateway.registry.database` runs them; no alembic.ini and no command line is needed.

A revision that was released is never edited: the next one changes what it made.
"""
