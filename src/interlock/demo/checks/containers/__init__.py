"""The chapters of the story with containers. What they observe is the engine's word and the service's answers."""
