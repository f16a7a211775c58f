"""Tables and the report's page. Imports answers and what that may import."""
