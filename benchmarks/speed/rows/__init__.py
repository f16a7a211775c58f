"""The rows: each measures one claim."""
