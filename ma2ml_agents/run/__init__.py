"""What a user runs: search, retrain, export, report and the command line."""
