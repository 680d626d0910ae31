"""Benchmarks: programs that measure and print, run by hand; no test asserts a time."""
