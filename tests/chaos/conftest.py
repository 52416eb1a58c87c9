"""The database of the tests that need one."""

from tests.integration.conftest import database, mongo, mongo_url

__all__ = ["database", "mongo", "mongo_url"]
