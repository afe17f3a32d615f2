"""Network sources. Each file imports torch alone, so that an exported model can carry a copy of it."""
