"""The tables. A file holds one table and its queries, or one question over several; all are functions of a session."""
