"""The deterministic simulator: the engines of several hosts in one process, one virtual clock."""
