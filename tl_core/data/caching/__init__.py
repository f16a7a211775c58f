"""The cache: entries that one process builds once, and tables that are kept while they grow."""
