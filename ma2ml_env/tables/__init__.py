"""Tables of results that others measured or fitted: their spaces, and how to look a code up."""
