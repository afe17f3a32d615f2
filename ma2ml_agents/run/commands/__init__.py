"""The commands of `ma2ml`: a frozen dataclass each, with its options as fields and `run(console)`."""
