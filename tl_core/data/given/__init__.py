"""What people give beside images: part folders, a manifest, groups."""
