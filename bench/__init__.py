"""The experiments: one file each, run as python -m newtos_py.bench.NAME."""
