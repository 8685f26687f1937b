"""Measurements on the user's own machine and images: settings, precisions, batches, stages."""
