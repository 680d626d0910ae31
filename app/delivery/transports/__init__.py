"""The ways in which an exam's images reach Aurabox, one file each."""
