"""Blueprints: the task graph of each action, each task beside the grants that it needs and nothing more."""
