"""Files, settings and states: reading, checking and writing them."""
