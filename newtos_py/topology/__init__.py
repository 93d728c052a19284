"""The TOML topology: parse it, validate it, plan which server runs on which core."""
