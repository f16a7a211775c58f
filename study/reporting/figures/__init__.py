"""The report's figures. Imports answers and what that may import."""
