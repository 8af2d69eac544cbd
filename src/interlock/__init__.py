"""Interlock: the control plane for software delivery done by agents."""

__version__ = "0.1.0"
