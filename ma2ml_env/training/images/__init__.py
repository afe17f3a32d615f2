"""What is done to images: augmentation, batches, mixing."""
