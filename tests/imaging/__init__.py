"""Tests of conversion; a package so that its tests share samples."""
