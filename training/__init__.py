"""The making of the packaged models. The package segrid never imports this."""
