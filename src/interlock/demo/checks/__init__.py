"""The chapters of the story. Each observes from outside the control plane what became of what was asked for."""
