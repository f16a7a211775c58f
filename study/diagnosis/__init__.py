"""What the doctor measures and estimates. Imports preflight and what that may import."""
