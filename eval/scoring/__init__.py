"""What samples are compared with, and everything that is measured of one sample set."""
