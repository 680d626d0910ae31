"""What everything stands on: the database's connections, wake-ups, converting processes, staging, mail."""
