"""The store of a run: database, mirror, and what both hold."""
