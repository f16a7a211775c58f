"""One job in its process: a network, or a sweep of frozen trials. Imports up to preflight."""
