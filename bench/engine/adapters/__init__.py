"""One file an engine: how a task graph is put to it, and why that is the way it does best at full durability."""
