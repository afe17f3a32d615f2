"""Training for real: data, augmentation, networks, MACs and the loop. torch lives here."""
