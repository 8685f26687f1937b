"""A package, so that test modules and benchmarks import tests.models and tests.reference."""
