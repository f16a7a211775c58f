"""Where each resource saturates as studies grow."""
