//! Frames, read as text.
