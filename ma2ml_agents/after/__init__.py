"""What follows a search: retraining, export, fidelity."""
