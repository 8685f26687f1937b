"""What goes into a video session and what comes out of it: frames, and files of tracked objects."""
