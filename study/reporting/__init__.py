"""Tables and the report's page. Imports analysis and what that may import."""
