"""Read MIDI files as pieces, write them, and transpose pieces."""
