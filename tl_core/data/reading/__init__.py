"""What lies in a picture file: its kind, and levels beyond 8 bits."""
