"""The report's figures. Imports analysis."""
