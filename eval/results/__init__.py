"""What trials leave: file formats, the training log, and data frames of a whole comparison."""
