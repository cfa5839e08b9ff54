"""The `landworld` command and what it can do besides serving: bots, maps, replay, benches."""
