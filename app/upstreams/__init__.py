"""Accounts at the clouds: whether one may be called now, and the calls that find out whether it works."""
