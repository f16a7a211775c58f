"""What is checked on a GPU: a module for each concern, a function for each part."""
