"""Shows a study in the browser; reads the database and writes nothing."""
