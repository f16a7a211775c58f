"""What a study says, in sentences. Imports analysis, search, records and config."""
