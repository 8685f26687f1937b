"""Slow, obvious definitions against which the engine is tested."""
