"""How fast the product is, row by row, against a competent baseline."""
