"""The TAP driver: a link to the Linux host's own network."""
