"""What the clock does: sweep, retention, alerts, tidying; and what looks after it all: doctor, key rotation."""
