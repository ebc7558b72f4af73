"""Benchmarks: each is `python -m lora_bootstrap.bench.<name>` and writes a table to bench/results/."""
