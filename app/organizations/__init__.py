"""Organisations: the options they have, and adding, changing and removing them."""
