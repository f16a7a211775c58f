"""The files of a data folder: which are used, which are passed over, and what looks odd."""
