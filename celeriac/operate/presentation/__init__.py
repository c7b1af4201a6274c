"""How what was found is told, by the commands and by the console: as JSON, in words, as a refusal."""
