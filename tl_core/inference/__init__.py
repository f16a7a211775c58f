"""A trained model as a tool, and as files."""
