"""How the packaged models were made. Never imported by the segrid package."""
