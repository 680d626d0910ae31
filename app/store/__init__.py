"""The tables. One file holds one table and the few queries on it, as functions that take a session."""
