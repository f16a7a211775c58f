"""Networks, their weights and their heads."""
