"""The report of a run as one HTML page: what is read from the store, what is said of it, and how it is drawn."""
