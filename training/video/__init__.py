"""Makes `tiny-video`, the packaged model that follows objects through video."""
