"""Slow, obvious NumPy definitions that the engine is tested against."""
