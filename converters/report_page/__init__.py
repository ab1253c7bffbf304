"""The report as one HTML page for people: `page` makes it, `svg` and `plots` draw, the others say what is on it."""
