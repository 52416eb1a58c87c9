"""The HTTP front: thin routes over the ground floor; it knows no Ray and no source format."""
