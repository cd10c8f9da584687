"""Your own recordings: what lies in a folder or a table, splits that can be trusted, and what is wrong."""
