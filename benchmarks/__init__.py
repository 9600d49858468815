"""Speed of this machine and of this code, beside what people would use instead."""
