"""Benchmarks of the project, each with its peers in the same run; `make bench-NAME` writes docs/benchmarks/."""
