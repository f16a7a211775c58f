"""What networks say of each image. Imports records, intervals and the rest of analysis."""
