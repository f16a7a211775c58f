"""The article's findings, measured on several seeds."""
